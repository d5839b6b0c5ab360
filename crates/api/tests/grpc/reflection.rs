//! What tools ask that know nothing of us: which services there are, and how they are called; and
//! whether we are well.

use proto::{
    Message,
    health::{HealthCheckRequest, HealthCheckResponse},
};

use crate::{
    client::{Client, refused},
    member::Member,
};

/// As `grpc.reflection` has it, of either version.
#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(oneof = "Question", tags = "4, 7")]
    question: Option<Question>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Question {
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Told {
    #[prost(message, optional, tag = "4")]
    files: Option<Files>,
    #[prost(message, optional, tag = "6")]
    services: Option<Services>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
}

/// The first fields of a `FileDescriptorProto`.
#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
}

#[test]
fn all_services_are_told_of_in_both_versions() {
    let member = Member::start();
    let client = Client::connect(&member);
    for version in ["v1", "v1alpha"] {
        let own = format!("grpc.reflection.{version}.ServerReflection");
        let mut stream = client.open::<Asked, Told>(&format!("/{own}/ServerReflectionInfo"));
        let ask = |question| Asked { question: Some(question) };
        stream.send(&ask(Question::ListServices(String::new())));
        let told = stream.next().unwrap().unwrap().services.unwrap();
        let mut names: Vec<_> = told.services.into_iter().map(|one| one.name).collect();
        names.sort_unstable();
        let expected = [
            "etcdserverpb.Auth",
            "etcdserverpb.Cluster",
            "etcdserverpb.KV",
            "etcdserverpb.Lease",
            "etcdserverpb.Maintenance",
            "etcdserverpb.Watch",
            "grpc.health.v1.Health",
            &own,
            "v3electionpb.Election",
            "v3lockpb.Lock",
        ];
        assert_eq!(names, expected);
        for (symbol, package) in [
            ("etcdserverpb.KV", "etcdserverpb"),
            ("etcdserverpb.KV.Range", "etcdserverpb"),
            ("mvccpb.KeyValue", "mvccpb"),
            ("v3lockpb.Lock", "v3lockpb"),
        ] {
            stream.send(&ask(Question::FileContainingSymbol(symbol.to_owned())));
            let files = stream.next().unwrap().unwrap().files.unwrap().files;
            assert_eq!(File::decode(&files[0][..]).unwrap().package, package, "{symbol}");
        }
    }
}

#[test]
fn health_is_told_of_the_server_and_of_one_service() {
    let member = Member::start();
    let client = Client::connect(&member);
    let check = |service: &str| {
        let asked = HealthCheckRequest { service: service.to_owned() };
        client.call::<_, HealthCheckResponse>("/grpc.health.v1.Health/Check", &asked)
    };
    assert_eq!(check("").unwrap().status, 1);
    assert_eq!(check("etcdserverpb.KV").unwrap().status, 1);
    refused(check("nope"), 5, "unknown service");
    let watch = |service: &str| {
        let mut stream =
            client.open::<HealthCheckRequest, HealthCheckResponse>("/grpc.health.v1.Health/Watch");
        stream.send(&HealthCheckRequest { service: service.to_owned() });
        stream.close();
        stream
    };
    assert_eq!(watch("nope").next().unwrap().unwrap().status, 3);
    let mut watching = watch("");
    assert_eq!(watching.next().unwrap().unwrap().status, 1);
    member.stop.send_replace(true);
    assert_eq!(watching.next().unwrap().unwrap().status, 2);
}
