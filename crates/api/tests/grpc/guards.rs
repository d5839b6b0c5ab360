//! What is asked of every call before its service sees it.

use std::io::Write as _;

use bytes::Bytes;
use proto::etcdserverpb::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, WatchRequest, WatchResponse,
};

use crate::{
    client::{Client, Failed, framed, refused},
    member::Member,
};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";

fn range(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }
}

#[test]
fn what_is_not_there_is_refused_in_grpc_gos_words() {
    let member = Member::start();
    let client = Client::connect(&member);
    let ask = |method: &str| -> Result<RangeResponse, Failed> { client.call(method, &range("a")) };
    for (method, text) in [
        ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
        ("/nope.X/Y", "unknown service nope.X"),
        ("/nope", "malformed method name: \"/nope\""),
    ] {
        refused(ask(method), 12, text);
    }
    ask(RANGE).unwrap();
}

#[test]
fn metadata_are_taken_as_etcds_clients_send_them() {
    let member = Member::start();
    let client = Client::connect(&member);
    let ask = |metadata: &[(&str, &[u8])]| -> Result<RangeResponse, Failed> {
        client.call_with(metadata, RANGE, &range("a"))
    };
    ask(&[("hasleader", b"true"), ("client-api-version", b"3.5")]).unwrap();
    ask(&[("client-api-version", b"3.5"), ("token", b"whatever")]).unwrap();
    ask(&[]).unwrap();
    let wrong = ask(&[("client-api-version", b"\xff\xfe")]);
    refused(wrong, 3, "etcdserver: invalid client api version");
    let mut watch = client.begin::<WatchRequest, WatchResponse>(
        &[("hasleader", b"true")],
        "/etcdserverpb.Watch/Watch",
    );
    assert!(watch.is_silent(std::time::Duration::from_millis(50)));
    drop(watch);
    let metrics = member.get("/metrics").text();
    let has = |line: &str| assert!(metrics.lines().any(|one| one == line), "{line}\n{metrics}");
    has("etcd_server_client_requests_total{client_api_version=\"3.5\",type=\"unary\"} 2");
    has("etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"} 1");
    has("etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"stream\"} 1");
}

/// The gateway's calls are calls.
#[test]
fn what_comes_through_the_gateway_is_asked_the_same_and_counted_too() {
    let member = Member::start();
    let ask = |path: &str, body: &str, header: &[u8]| {
        let mut wire = member.connect();
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
        let head = [head.as_bytes(), b"Grpc-Metadata-Client-Api-Version: ", header, b"\r\n\r\n"];
        wire.send([&head.concat()[..], body.as_bytes()].concat());
        wire.answer()
    };
    ask("/v3/kv/range", "{\"key\":\"YQ==\"}", b"3.5").expect(200);
    ask("/v3/kv/range", "{}", b"3.5").expect(400);
    let wrong = ask("/v3/kv/range", "{\"key\":\"YQ==\"}", b"\xff").expect(400);
    assert_eq!(wrong.json()["message"], "etcdserver: invalid client api version");
    let metrics = member.get("/metrics").text();
    let has = |line: &str| assert!(metrics.lines().any(|one| one == line), "{line}\n{metrics}");
    has("etcd_server_client_requests_total{client_api_version=\"3.5\",type=\"unary\"} 2");
    has("grpc_server_handled_total{grpc_code=\"InvalidArgument\",grpc_method=\"Range\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1");
}

#[test]
fn calls_are_counted_by_how_they_end() {
    let member = Member::start();
    let client = Client::connect(&member);
    drop::<RangeResponse>(client.call(RANGE, &range("a")).unwrap());
    let empty: Result<RangeResponse, Failed> = client.call(RANGE, &range(""));
    refused(empty, 3, "etcdserver: key is not provided");
    let put = PutRequest { key: "a".into(), lease: 7, ..PutRequest::default() };
    let put: Result<PutResponse, Failed> = client.call(PUT, &put);
    refused(put, 5, "etcdserver: requested lease not found");
    let mut watch = client.open::<WatchRequest, WatchResponse>("/etcdserverpb.Watch/Watch");
    assert!(watch.is_silent(std::time::Duration::from_millis(50)));
    drop(watch);
    let line = |code: &str, method: &str, service: &str, kind: &str, count: u32| {
        format!(
            "grpc_server_handled_total{{grpc_code=\"{code}\",grpc_method=\"{method}\",\
             grpc_service=\"{service}\",grpc_type=\"{kind}\"}} {count}"
        )
    };
    let expected = [
        line("OK", "Range", "etcdserverpb.KV", "unary", 1),
        line("InvalidArgument", "Range", "etcdserverpb.KV", "unary", 1),
        line("NotFound", "Put", "etcdserverpb.KV", "unary", 1),
        line("Canceled", "Watch", "etcdserverpb.Watch", "bidi_stream", 1),
        "grpc_server_started_total{grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",\
         grpc_type=\"unary\"} 2"
            .to_owned(),
    ];
    crate::member::eventually("all are counted", || {
        let metrics = member.get("/metrics").text();
        expected.iter().all(|line| metrics.lines().any(|one| one == line))
    });
}

fn gzipped(message: &[u8]) -> Bytes {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(message).unwrap();
    framed(1, &out.finish().unwrap())
}

#[test]
fn messages_may_be_compressed_with_gzip_and_with_nothing_else() {
    let member = Member::start();
    let client = Client::connect(&member);
    let message = |key: &str| proto::Message::encode_to_vec(&range(key));
    let gzip: &[(&str, &[u8])] = &[("grpc-encoding", b"gzip")];
    let answer: RangeResponse =
        client.call_raw(gzip, RANGE, gzipped(&message(&"a".repeat(9_000)))).unwrap();
    assert_eq!(answer.count, 0);
    // Not each message must be.
    let plain = framed(0, &message("a"));
    drop::<RangeResponse>(client.call_raw(gzip, RANGE, plain.clone()).unwrap());
    drop::<RangeResponse>(
        client.call_raw(&[("grpc-encoding", b"identity")], RANGE, plain).unwrap(),
    );
    let deflated: Result<RangeResponse, Failed> =
        client.call_raw(&[("grpc-encoding", b"deflate")], RANGE, gzipped(&message("a")));
    let text = "grpc: Decompressor is not installed for grpc-encoding \"deflate\"";
    refused(deflated, 12, text);
    // A small message that becomes a large one.
    let bomb = gzipped(&message(&"a".repeat(64 << 20)));
    assert!(bomb.len() < 1 << 20);
    let burst: Result<RangeResponse, Failed> = client.call_raw(gzip, RANGE, bomb);
    burst.unwrap_err();
}

#[test]
fn a_request_that_is_too_large_is_refused_with_etcds_code_or_grpc_gos() {
    let mut config = api::Config::default();
    config.grpc.request_bytes_max = 1_500_000;
    let member = Member::start_with(config);
    let client = Client::connect(&member);
    let put = |bytes: usize| -> Result<PutResponse, Failed> {
        let put =
            PutRequest { key: "a".into(), value: vec![0; bytes].into(), ..Default::default() };
        client.call(PUT, &put)
    };
    put(1_400_000).unwrap();
    refused(put(1_600_000), 3, "etcdserver: request is too large");
    let Failed { code, text } = put(2_100_000).unwrap_err();
    assert_eq!(code, 8, "{text}");
    assert!(text.starts_with("grpc: received message larger than max (21000"), "{text}");
    assert!(text.ends_with(" vs. 2024288)"), "{text}");
    // A range, which is read in another way, is refused in the same words.
    let range = RangeRequest { key: vec![b'a'; 2_100_000].into(), ..Default::default() };
    let large: Result<RangeResponse, Failed> = client.call(RANGE, &range);
    let text = "grpc: received message larger than max (2100005 vs. 2024288)";
    refused(large, 8, text);
}

#[test]
fn an_answer_later_than_the_client_waits_is_not_given() {
    let member = Member::start();
    let client = Client::connect(&member);
    let late: Result<RangeResponse, Failed> =
        client.call_with(&[("grpc-timeout", b"0n")], RANGE, &range("a"));
    // It may have been quicker than the clock.
    if let Err(failed) = late {
        assert_eq!((failed.code, failed.text.as_str()), (4, "context deadline exceeded"));
    }
    drop::<RangeResponse>(
        client.call_with(&[("grpc-timeout", b"10S")], RANGE, &range("a")).unwrap(),
    );
}

/// They are many, and what was sent of them comes after their answers: neither does any harm to others
/// on their connection.
#[test]
fn refusals_before_the_body_is_read_do_not_end_the_connection() {
    const REFUSED: usize = 6_000;
    const AT_ONCE: usize = 300;
    let member = Member::start();
    let client = Client::connect(&member);
    let put = PutRequest { key: "a".into(), value: vec![0; 20_000].into(), ..Default::default() };
    let body = framed(0, &proto::Message::encode_to_vec(&put));
    let wrong = [
        (PUT, ("client-api-version", &b"\xff\xfe"[..]), 3),
        (PUT, ("grpc-encoding", b"deflate"), 12),
        ("/etcdserverpb.KV/Nope", ("x", b"y"), 12),
    ];
    for _ in 0..REFUSED / AT_ONCE {
        let calls: Vec<_> = wrong
            .iter()
            .cycle()
            .take(AT_ONCE)
            .map(|(method, metadata, code)| {
                let mut call = client.begin::<PutRequest, PutResponse>(&[*metadata], method);
                call.send_raw(body.clone());
                call.close();
                (call, *code)
            })
            .collect();
        for (mut call, code) in calls {
            let failed = call.next().unwrap().unwrap_err();
            assert_eq!(failed.code, code, "{}", failed.text);
        }
    }
    drop::<PutResponse>(client.call(PUT, &put).unwrap());
}
