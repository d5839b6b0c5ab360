//! Messages that leave the process: what stands in the raft log, and what goes over gRPC.
//!
//! Fields are only ever added; a number is never used for another meaning. Those of gRPC are etcd's
//! own, by package; they are made of the files in `proto/`, and serde gives them the form that they
//! have in the JSON of the gateway. The services are made where they are served and called.

pub mod command;

/// All of the packages below, as a `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A package: its messages, and their JSON.
macro_rules! package {
    ($name:ident) => {
        #[allow(
            missing_docs,
            clippy::all,
            clippy::pedantic,
            clippy::restriction,
            unused_qualifications,
            reason = "it is generated"
        )]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".serde.rs"));
        }
    };
}

package!(mvccpb);
package!(authpb);
package!(etcdserverpb);
package!(v3lockpb);
package!(v3electionpb);

pub use prost::Message;
