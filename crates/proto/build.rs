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
    for entry in fs::read_dir(&out)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".serde.rs") {
            fs::write(&path, with_open_enumerations(&fs::read_to_string(&path)?))?;
        }
    }
    Ok(())
}

/// pbjson takes the numbers of an enumeration that have names. Those of proto3 are open: see
/// `src/open.rs`.
fn with_open_enumerations(code: &str) -> String {
    let lines = code.lines().map(|line| {
        let Some((front, rest)) = line.split_once("map_.next_value::<") else {
            return line.to_owned();
        };
        if let Some(kind) = rest.strip_suffix(">()? as i32);") {
            return format!("{front}map_.next_value::<crate::open::Open<{kind}>>()?.0);");
        }
        let list = rest.strip_prefix("Vec<").and_then(|rest| rest.split_once(">>()?.into_iter()"));
        match list {
            Some((kind, ".map(|x| x as i32).collect());")) => format!(
                "{front}map_.next_value::<Vec<crate::open::Open<{kind}>>>()?.into_iter()\
                 .map(|x| x.0).collect());"
            ),
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
