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
            fs::write(&path, with_open_values(&fs::read_to_string(&path)?)?)?;
        }
    }
    Ok(())
}

/// How pbjson reads the value of a field, and how proto3 wants it read: see `src/open.rs`.
fn with_open_values(code: &str) -> Result<String, String> {
    code.lines().map(with_open_value).collect::<Result<Vec<_>, _>>().map(|lines| lines.join("\n"))
}

fn with_open_value(line: &str) -> Result<String, String> {
    let Some((front, rest)) = line.split_once("map_.next_value") else {
        return Ok(line.to_owned());
    };
    let rest = rest
        .replace("::pbjson::private::NumberDeserialize<", "crate::open::Number<")
        .replace("::pbjson::private::BytesDeserialize<", "crate::open::Base64<");
    let rest = if rest.starts_with("::<serde::de::IgnoredAny>()?")
        || rest.starts_with("::<::std::option::Option<")
        || rest.starts_with("::<crate::open::")
        // An `Option` of a message.
        || rest == "()?;"
    {
        rest
    } else if rest.starts_with("()?") {
        rest.replacen("()?", "::<crate::open::Given<_>>()?.0", 1)
    } else if let Some((kind, end)) = in_brackets(&rest, "::<Vec<", ">>()?") {
        let kind = if end.contains("x as i32") {
            format!("crate::open::Open<{kind}>")
        } else {
            kind.to_owned()
        };
        let end = end.replace("x as i32", "x.0");
        format!("::<crate::open::Given<Vec<{kind}>>>()?.0{end}")
    } else if let Some((kind, " as i32);")) = in_brackets(&rest, "::<", ">()?") {
        format!("::<crate::open::Open<{kind}>>()?.0);")
    } else {
        return Err(format!("no rule for what pbjson makes: {}", line.trim()));
    };
    Ok(format!("{front}map_.next_value{rest}"))
}

/// What is between the two, and what comes behind.
fn in_brackets<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(open)?.split_once(close)
}
