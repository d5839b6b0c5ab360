//! What is too large is refused with an answer that its sender gets to read.

use base::limits::{KEY_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX};

use crate::{
    member::Member,
    wire::{FORM, Wire, request},
};

/// Sends all of it before reading, as most clients do, and expects a whole answer, not a reset.
#[track_caller]
fn is_refused_and_closed(member: &Member, bytes: &[u8]) {
    let mut wire = member.connect();
    wire.send(bytes);
    let answer = wire.try_answer("GET").unwrap_or_else(|error| panic!("no answer: {error}"));
    assert!(matches!(answer.status, 414 | 431), "{} {}", answer.status, answer.text());
    assert!(wire.is_at_end(), "nothing more can be asked here");
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let member = Member::start();
    for length in [REQUEST_HEAD_BYTES_MAX + 1, 300_000, 4 << 20] {
        let long = "x".repeat(length);
        let line = request("GET", &format!("/v2/keys/{long}"), None);
        is_refused_and_closed(&member, &line);
        let query = request("PUT", &format!("/v2/keys/a?value={long}"), None);
        is_refused_and_closed(&member, &query);
        let header = format!("GET /v2/keys/ HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n");
        is_refused_and_closed(&member, header.as_bytes());
    }
    let many: String = (0..=REQUEST_HEADERS_MAX).map(|at| format!("X-{at}: y\r\n")).collect();
    let many = format!("GET /v2/keys/ HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    is_refused_and_closed(&member, many.as_bytes());
    member.get("/v2/keys/a").expect(404);
}

#[test]
fn heads_and_keys_within_the_bounds_are_taken() {
    let member = Member::start();
    let mut wire = member.connect();
    let key = "k".repeat(KEY_BYTES_MAX - 4096);
    wire.ask("PUT", &format!("/v2/keys/{key}"), Some("value=1")).expect(201);
    wire.ask("GET", &format!("/v2/keys/{key}"), None).expect(200);
    let headers: String =
        (2..REQUEST_HEADERS_MAX).map(|at| format!("X-{at}: {}\r\n", "y".repeat(500))).collect();
    wire.send(format!("GET /v2/keys/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
    wire.answer().expect(200);
}

#[test]
fn a_form_that_is_too_large_is_refused_and_the_connection_stays() {
    let member = Member::start();
    let index = member.index();
    let mut wire = member.connect();
    let value = "x".repeat(2 * REQUEST_BYTES_MAX);
    let form = format!("value={value}");
    wire.ask("PUT", "/v2/keys/a", Some(&form)).expect(413);
    wire.ask("POST", "/v2/keys/a", Some(&form)).expect(413);
    wire.ask("GET", "/v2/keys/a", None).expect(404);
    // The same in chunks.
    wire.send(format!(
        "PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n"
    ));
    for chunk in form.as_bytes().chunks(100_000) {
        wire.send(format!("{:x}\r\n", chunk.len()));
        wire.send(chunk);
        wire.send("\r\n");
    }
    wire.send("0\r\n\r\n");
    wire.answer().expect(413);
    wire.ask("GET", "/v2/keys/a", None).expect(404);
    // A body where none belongs.
    wire.ask("DELETE", "/v2/keys/a", Some(&form)).expect(413);
    wire.ask("GET", "/v2/keys/a", Some(&form)).expect(413);
    assert_eq!(member.index(), index);
}

/// Sends a head, then parts of a body for as long as they are taken; the answer is there to be
/// read, though the body never ends.
#[track_caller]
fn floods(wire: &mut Wire, head: &str, part: &[u8]) -> u16 {
    wire.send(head);
    let mut sent = 0;
    while std::io::Write::write_all(&mut wire.stream, part).is_ok() {
        sent += part.len();
        assert!(sent < 1 << 30, "a gigabyte was read for nothing");
        if sent > 64 << 20 {
            break;
        }
    }
    wire.answer().status
}

/// Who speaks to the gateway reads JSON, whatever goes wrong.
#[test]
fn what_is_too_large_for_the_gateway_is_told_as_json() {
    let member = Member::start();
    let check = |answer: crate::wire::Answer, bytes: usize| {
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        let told: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(told["code"], 8);
        let text = told["message"].as_str().expect("a text");
        let expected = format!("grpc: received message larger than max ({bytes} vs. ");
        assert!(text.starts_with(&expected), "{text}");
    };
    let mut wire = member.connect();
    let body = format!("{{\"key\":\"YQ==\",\"value\":\"{}\"}}", "eHh4".repeat(1 << 20));
    check(wire.ask("POST", "/v3/kv/put", Some(&body)).expect(429), body.len());
    // It is answered before it has sent any of it.
    wire.send("POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    let answer = wire.answer().expect(429);
    assert_eq!(answer.header("Connection"), Some("close"));
    check(answer, 100_000_000);
    member.get("/v2/keys/a").expect(404);
}

#[test]
fn a_body_without_an_end_is_cut_off_after_its_answer() {
    let member = Member::start();
    let head = format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}");
    let part = vec![b'x'; 64 * 1024];
    let mut wire = member.connect();
    wire.stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    wire.send(format!("{head}Content-Length: 100000000000\r\n\r\n"));
    // It is answered before it has sent any of it.
    let answer = wire.answer().expect(413);
    assert_eq!(answer.header("Connection"), Some("close"));

    let chunk = [b"10000\r\n".as_slice(), &part, b"\r\n"].concat();
    let mut wire = member.connect();
    wire.stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(floods(&mut wire, &head, &chunk), 413);
    member.get("/v2/keys/a").expect(404);
}

/// A client that does not listen before it has sent everything.
#[test]
fn a_body_of_twenty_megabytes_is_taken_off_its_sender_before_the_connection_ends() {
    let member = Member::start();
    let request = request("PUT", "/v2/keys/a", Some(&"x".repeat(20 << 20)));
    let body_at = request.len() - (20 << 20);
    for pause in [0, 100] {
        let mut wire = member.connect();
        wire.send(&request[..body_at]);
        // The answer is on its way before the body is, or the other way round.
        std::thread::sleep(std::time::Duration::from_millis(pause));
        wire.send(&request[body_at..]);
        let answer = wire.answer().expect(413);
        assert_eq!(answer.header("Connection"), Some("close"));
        assert!(wire.is_at_end());
    }
}

#[test]
fn whoever_asks_before_sending_too_much_is_spared_it() {
    let member = Member::start();
    let mut wire = member.connect();
    wire.send(format!(
        "PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Expect: 100-continue\r\n\
         Content-Length: 3000000\r\n\r\n"
    ));
    let answer = wire.answer().expect(413);
    assert_eq!(answer.header("Connection"), Some("close"));
    assert!(wire.is_at_end());
}

#[test]
fn a_value_up_to_the_bound_is_taken_and_the_command_s_own_bound_is_told() {
    let member = Member::start();
    let mut wire = member.connect();
    let value: String = (0..1_500_000_u32).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    wire.ask("PUT", "/v2/keys/a", Some(&format!("value={value}"))).expect(201);
    assert_eq!(wire.ask("GET", "/v2/keys/a", None).json()["node"]["value"], value.as_str());
    // The form is within its bound; with the key, the command is not.
    let key = "k".repeat(1000);
    let form = format!("value={}", "x".repeat(REQUEST_BYTES_MAX - 6));
    let answer = wire.ask("PUT", &format!("/v2/keys/{key}"), Some(&form)).expect(413);
    let json = answer.json();
    assert_eq!(json["errorCode"], 300);
    assert_eq!(json["cause"], "etcdserver: request is too large");
    wire.ask("GET", "/v2/keys/a", None).expect(200);
}

/// How much of a body without an end is taken off its sender, who then cannot send any more.
fn taken(member: &Member, head: &str, part: &[u8]) -> usize {
    let mut wire = Wire::connect(member.peers);
    wire.send(head);
    let mut sent = 0;
    // Once nobody reads any more there is an error: it is sent away, or waits in vain.
    wire.stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    while let Ok(length @ 1..) = std::io::Write::write(&mut wire.stream, part) {
        sent += length;
        assert!(sent < 1 << 30, "a gigabyte was read for nothing: {head}");
    }
    sent
}

/// Strangers and members alike, and whether they say how much it will be or not.
#[test]
fn no_path_of_the_peer_port_reads_a_body_without_an_end() {
    let member = Member::start();
    let own = member.handle.member_id();
    let identity = format!(
        "X-Etcd-Cluster-ID: {}\r\nX-Server-From: 7\r\nX-Raft-To: {own}\r\n\
         X-Server-Version: 3.6.0\r\nX-Min-Cluster-Version: 3.6.0\r\n",
        member.handle.cluster_id()
    );
    // It is taken for a member.
    let mut wire = Wire::connect(member.peers);
    wire.send(format!("POST /members/compare HTTP/1.1\r\nHost: x\r\n{identity}\r\n"));
    wire.answer_to("POST").expect(204);
    let part = vec![b'0'; 64 * 1024];
    let chunk = [b"10000\r\n".as_slice(), &part, b"\r\n"].concat();
    // What is taken off its sender behind an answer, and what the sockets of both sides hold.
    let bound = 64 << 20;
    for path in [
        "/version",
        "/members",
        "/members/compare",
        "/members/digest/1",
        "/members/hashkv/1",
        "/members/promote/7",
        "/leases",
        "/leases/internal",
        "/raft",
        "/raft/probing",
        "/raft/snapshot",
        "/raft/stream/message/7",
        "/raft/stream/append/7",
        "/none",
    ] {
        for method in ["GET", "POST"] {
            for headers in ["", &identity] {
                let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}");
                let long = format!("{head}Content-Length: 2147483648\r\n\r\n");
                let sent = taken(&member, &long, &part);
                assert!(sent < bound, "{sent} bytes: {long}");
                let endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
                let sent = taken(&member, &endless, &chunk);
                assert!(sent < bound, "{sent} bytes: {endless}");
            }
        }
    }
    assert_eq!(Wire::connect(member.peers).ask("GET", "/version", None).status, 200);
}
