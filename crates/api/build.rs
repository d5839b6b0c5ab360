//! Makes the servers' side of the v3 API's services, and the table of their methods; their messages
//! are `proto`'s.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use tonic_prost_build::FileDescriptorSet;

/// Its services are made elsewhere.
const REFLECTION: [&str; 2] = ["grpc.reflection.v1", "grpc.reflection.v1alpha"];

#[allow(clippy::disallowed_methods, reason = "a build script has no disk of its own to simulate")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let descriptors = FileDescriptorSet::decode(proto::DESCRIPTORS)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("methods.rs"), methods(&descriptors))?;
    let packages = ["mvccpb", "authpb", "etcdserverpb", "v3lockpb", "v3electionpb"];
    let builder = tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .codec_path("crate::v3::codec::Codec");
    let with_path = |builder: tonic_prost_build::Builder, package: &str| {
        builder.extern_path(format!(".{package}"), format!("::proto::{package}"))
    };
    let builder = builder.extern_path(".grpc.health.v1", "::proto::health");
    packages.into_iter().fold(builder, with_path).compile_fds(descriptors)?;
    Ok(())
}

/// The table, as an expression of Rust, in order of services and names.
fn methods(descriptors: &FileDescriptorSet) -> String {
    let mut rows: Vec<(String, String, &str)> = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            let path = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let kind = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => "Unary",
                    (false, true) => "ServerStream",
                    (true, _) => "BidiStream",
                };
                rows.push((path.clone(), method.name().to_owned(), kind));
            }
        }
    }
    for package in REFLECTION {
        let service = format!("{package}.ServerReflection");
        rows.push((service, "ServerReflectionInfo".to_owned(), "BidiStream"));
    }
    rows.sort_unstable();
    let row = |(service, name, kind): (String, String, &str)| {
        format!("Method {{ service: {service:?}, name: {name:?}, kind: Kind::{kind} }},\n")
    };
    format!("&[\n{}]", rows.into_iter().map(row).collect::<String>())
}
