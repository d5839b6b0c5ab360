//! Makes Rust of the messages in `proto/`, without protoc.

use std::{env, error::Error, fs, path::PathBuf};

/// All of them; the files that they import are found from here.
const ROOT: &str = "proto";
const FILES: [&str; 11] = [
    "mvccpb/kv.proto",
    "authpb/auth.proto",
    "etcdserverpb/kv.proto",
    "etcdserverpb/watch.proto",
    "etcdserverpb/lease.proto",
    "etcdserverpb/cluster.proto",
    "etcdserverpb/maintenance.proto",
    "etcdserverpb/auth.proto",
    "v3lockpb/v3lock.proto",
    "v3electionpb/v3election.proto",
    "grpc/health.proto",
];

#[allow(clippy::disallowed_methods, reason = "it is cargo's own directory")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let descriptors = protox::compile(FILES, [ROOT])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let bytes = prost::Message::encode_to_vec(&descriptors);
    fs::write(out.join("descriptors.bin"), &bytes)?;
    // Keys and values are slices of what came in.
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    // JSON as etcd's gateway has it.
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .build(&[".mvccpb", ".authpb", ".etcdserverpb", ".v3lockpb", ".v3electionpb"])?;
    Ok(())
}
