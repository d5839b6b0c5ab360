//! The servers' side of the services, as `build.rs` makes it.

/// A package's services.
macro_rules! services {
    ($name:ident: $file:literal) => {
        #[allow(
            clippy::all,
            clippy::pedantic,
            clippy::restriction,
            unreachable_pub,
            unused_qualifications,
            reason = "it is generated"
        )]
        pub(crate) mod $name {
            include!(concat!(env!("OUT_DIR"), "/", $file));
        }
    };
}

services!(etcdserverpb: "etcdserverpb.rs");
services!(v3lockpb: "v3lockpb.rs");
services!(v3electionpb: "v3electionpb.rs");
services!(health: "grpc.health.v1.rs");
