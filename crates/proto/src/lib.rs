//! Messages that leave the process: what stands in the raft log, and what goes over gRPC.
//!
//! Fields are only ever added; a number is never used for another meaning. Those of gRPC are etcd's
//! own, by package; they are made of the files in `proto/`, and serde gives them the form that they
//! have in the JSON of the gateway. The services are made where they are served and called.

pub mod between;
pub mod command;
mod glance;
mod loggable;
mod open;
pub mod profile;

/// All of the packages below, as a `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A package: its messages, and their JSON if they have a place in the gateway.
macro_rules! package {
    ($name:ident: $($file:literal),+) => {
        #[allow(
            missing_docs,
            clippy::all,
            clippy::pedantic,
            clippy::restriction,
            unused_qualifications,
            reason = "it is generated"
        )]
        pub mod $name {
            $(include!(concat!(env!("OUT_DIR"), "/", $file));)+
        }
    };
}

package!(mvccpb: "mvccpb.rs", "mvccpb.serde.rs");
package!(authpb: "authpb.rs", "authpb.serde.rs");
package!(etcdserverpb: "etcdserverpb.rs", "etcdserverpb.serde.rs");
package!(v3lockpb: "v3lockpb.rs", "v3lockpb.serde.rs");
package!(v3electionpb: "v3electionpb.rs", "v3electionpb.serde.rs");
package!(health: "grpc.health.v1.rs");

pub use glance::{Glance, glance};
pub use loggable::Loggable;
pub use prost::Message;
