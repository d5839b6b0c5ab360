//! Traces, as a collector of OpenTelemetry takes them in.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::Signal;
use prost::Message as _;

use super::process::{PATIENCE, Server, etcd, run};

/// What a member sends, as far as it matters here (`opentelemetry/proto/collector/trace/v1`).
#[derive(Clone, PartialEq, prost::Message)]
struct Sent {
    #[prost(message, repeated, tag = "1")]
    of_resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfResource {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    of_scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

/// A collector that takes all, and hands it on.
fn collect() -> (SocketAddr, Receiver<Sent>) {
    let (give, sent) = channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let give = give.clone();
                let service = service_fn(move |request| take(request, give.clone()));
                let builder = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    (address, sent)
}

async fn take(
    request: Request<Incoming>,
    give: Sender<Sent>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    // The test may be over.
    drop(give.send(Sent::decode(&body[5..]).unwrap()));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)];
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)));
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(body).unwrap())
}

/// The next span of this name, with what is said of where it is from.
fn span(sent: &Receiver<Sent>, name: &str) -> (Span, Resource) {
    loop {
        let sent = sent.recv_timeout(PATIENCE).unwrap();
        for OfResource { resource, of_scopes } in sent.of_resources {
            let spans = of_scopes.into_iter().flat_map(|scope| scope.spans);
            if let Some(span) = spans.into_iter().find(|span| span.name == name) {
                return (span, resource.unwrap());
            }
        }
    }
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.text.as_deref());
    value.unwrap_or_else(|| panic!("no {key} in {attributes:?}"))
}

fn number(attributes: &[Attribute], key: &str) -> i64 {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    found.and_then(|attribute| attribute.value.as_ref()?.number).unwrap()
}

/// Asks through the gateway; its client sends this header along.
fn ask(server: &Server, path: &str, body: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {header}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const PUT: &str = "etcdserverpb.KV/Put";

#[test]
fn calls_are_followed_and_a_client_s_trace_goes_on() {
    let (address, sent) = collect();
    let server = Server::start(&[
        "--enable-distributed-tracing",
        &format!("--distributed-tracing-address={address}"),
        "--distributed-tracing-service-name=a service",
        "--distributed-tracing-instance-id=member a",
        "--distributed-tracing-sampling-rate=1000000",
    ]);
    let trace =
        "Grpc-Metadata-traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    ask(&server, "/v3/kv/put", r#"{"key":"aw==","value":"dg=="}"#, trace);
    let (put, resource) = span(&sent, PUT);
    assert_eq!(text(&resource.attributes, "service.name"), "a service");
    assert_eq!(text(&resource.attributes, "service.instance.id"), "member a");
    assert_eq!(put.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(put.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    // A server's.
    assert_eq!(put.kind, 2);
    assert!(put.start > 0 && put.start <= put.end, "{put:?}");
    assert_eq!(text(&put.attributes, "rpc.system"), "grpc");
    assert_eq!(text(&put.attributes, "rpc.service"), "etcdserverpb.KV");
    assert_eq!(text(&put.attributes, "rpc.method"), "Put");
    assert_eq!(number(&put.attributes, "rpc.grpc.status_code"), 0);
    ask(&server, "/v3/kv/put", "{}", "");
    let (refused, _) = span(&sent, PUT);
    assert_eq!(number(&refused.attributes, "rpc.grpc.status_code"), 3);
    assert_eq!(refused.parent_span_id, [0_u8; 0]);
}

#[test]
fn without_a_rate_only_what_a_client_traces_is_traced_and_the_last_span_is_sent_at_the_end() {
    let (address, sent) = collect();
    let mut server = Server::start(&[
        "--enable-distributed-tracing",
        &format!("--distributed-tracing-address={address}"),
    ]);
    let put = r#"{"key":"aw==","value":"dg=="}"#;
    ask(&server, "/v3/kv/put", put, "");
    let not_sampled =
        "Grpc-Metadata-traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";
    ask(&server, "/v3/kv/put", put, not_sampled);
    let sampled =
        "Grpc-Metadata-traceparent: 00-2af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    ask(&server, "/v3/kv/put", put, sampled);
    server.signal(Signal::SIGTERM);
    server.wait(PATIENCE);
    let (put, resource) = span(&sent, PUT);
    assert_eq!(put.trace_id[0], 0x2a);
    assert_eq!(text(&resource.attributes, "service.name"), "etcd");
    assert!(sent.try_recv().is_err(), "there was more");
}

#[test]
fn a_collector_that_is_not_there_holds_nobody_up() {
    let mut server = Server::start(&[
        "--enable-distributed-tracing",
        "--distributed-tracing-address=127.0.0.1:1",
        "--distributed-tracing-sampling-rate=1000000",
    ]);
    for _ in 0..50 {
        let answer = ask(&server, "/v3/kv/put", r#"{"key":"aw==","value":"dg=="}"#, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    server.wait_for("failed to export traces");
    server.signal(Signal::SIGTERM);
    server.wait(PATIENCE);
}

#[test]
fn an_address_without_a_port_is_refused_and_no_data_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(etcd(dir.path())
        .args(["--enable-distributed-tracing", "--distributed-tracing-address=localhost"]));
    assert!(!ran.status.success());
    assert!(ran.stderr.contains("expected host:port (localhost)"), "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "data was made");
}

#[test]
fn a_rate_beyond_all_is_refused_in_etcd_s_words() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(etcd(dir.path()).arg("--distributed-tracing-sampling-rate=1000001"));
    assert!(!ran.status.success());
    assert!(
        ran.stderr.contains("tracing sampling rate must be less than 1000000"),
        "{}",
        ran.stderr
    );
}
