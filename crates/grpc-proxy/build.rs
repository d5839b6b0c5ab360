//! Makes the servers' side of the services that are not passed on as they are; their messages are
//! `proto`'s.

use std::error::Error;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let descriptors = tonic_prost_build::FileDescriptorSet::decode(proto::DESCRIPTORS)?;
    let packages = ["mvccpb", "authpb", "etcdserverpb", "v3lockpb", "v3electionpb"];
    let builder = tonic_prost_build::configure().build_client(false).build_transport(false);
    let with_path = |builder: tonic_prost_build::Builder, package: &str| {
        builder.extern_path(format!(".{package}"), format!("::proto::{package}"))
    };
    let builder = builder.extern_path(".grpc.health.v1", "::proto::health");
    packages.into_iter().fold(builder, with_path).compile_fds(descriptors)?;
    Ok(())
}
