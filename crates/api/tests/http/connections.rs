//! Connections: kept, pipelined, half closed, too many, and what stands in their headers.

use std::{
    net::Shutdown,
    time::{Duration, Instant},
};

use crate::{
    member::Member,
    wire::{Answer, FORM, Wire, request},
};

fn names(answer: &Answer) -> Vec<&str> {
    let mut names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Old clients look for these names as they stand here, not by the rules of HTTP.
#[test]
fn headers_are_spelled_as_go_spells_them() {
    let member = Member::start();
    let mut wire = member.connect();
    let of_keys = [
        "Content-Length",
        "Content-Type",
        "Date",
        "X-Etcd-Cluster-Id",
        "X-Etcd-Index",
        "X-Raft-Index",
        "X-Raft-Term",
    ];
    for (method, target, body) in [
        ("PUT", "/v2/keys/a", Some("value=1")),
        ("POST", "/v2/keys/q", Some("value=1")),
        ("GET", "/v2/keys/a", None),
        ("HEAD", "/v2/keys/a", None),
        ("GET", "/v2/keys/a?quorum=true", None),
        ("GET", "/v2/keys/?recursive=true", None),
        ("DELETE", "/v2/keys/a", None),
    ] {
        assert_eq!(names(&wire.ask(method, target, body)), of_keys, "{method} {target}");
    }
    // An error says where the store is, but nothing of raft.
    let of_errors = ["Content-Length", "Content-Type", "Date", "X-Etcd-Cluster-Id", "X-Etcd-Index"];
    for (method, target) in
        [("GET", "/v2/keys/none"), ("PUT", "/v2/keys/?x=y"), ("PUT", "/v2/keys/a?ttl=x")]
    {
        assert_eq!(names(&wire.ask(method, target, None)), of_errors, "{method} {target}");
    }
    let refused = wire.ask("PATCH", "/v2/keys/a", None);
    assert_eq!(names(&refused), ["Allow", "Content-Length", "Content-Type", "Date"]);
    let members = wire.ask("GET", "/v2/members", None);
    assert_eq!(names(&members), ["Content-Length", "Content-Type", "Date", "X-Etcd-Cluster-Id"]);
    let cluster = member.handle.cluster_id().to_string();
    assert_eq!(members.header("X-Etcd-Cluster-Id"), Some(cluster.as_str()));
}

#[test]
fn head_has_the_length_of_what_get_sends() {
    let member = Member::start();
    member.put("/a", "some value");
    let mut wire = member.connect();
    for target in ["/v2/keys/a", "/v2/keys/", "/v2/keys/none", "/v2/machines"] {
        let get = wire.ask("GET", target, None);
        let head = wire.ask("HEAD", target, None);
        assert_eq!(head.status, get.status);
        assert_eq!(head.header("Content-Length"), get.header("Content-Length"), "{target}");
    }
}

#[test]
fn writes_tell_where_the_raft_log_stood() {
    let member = Member::start();
    let mut wire = member.connect();
    let number = |answer: &Answer, name: &str| -> u64 {
        answer.header(name).expect(name).parse().expect("a number")
    };
    let first = wire.ask("PUT", "/v2/keys/a", Some("value=1")).expect(201);
    let second = wire.ask("PUT", "/v2/keys/a", Some("value=2")).expect(200);
    for name in ["X-Etcd-Index", "X-Raft-Index"] {
        assert_eq!(number(&second, name), number(&first, name) + 1, "{name}");
    }
    assert_eq!(number(&first, "X-Raft-Term"), number(&second, "X-Raft-Term"));
    let get = wire.ask("GET", "/v2/keys/a", None);
    assert_eq!(number(&get, "X-Etcd-Index"), number(&second, "X-Etcd-Index"));
    assert!(number(&get, "X-Raft-Index") >= number(&second, "X-Raft-Index"));
}

#[test]
fn bodies_without_a_length_are_taken() {
    let member = Member::start();
    let mut wire = member.connect();
    wire.send(format!(
        "PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n"
    ));
    for chunk in ["4\r\nvalu\r\n", "5;x=y\r\ne=a+b\r\n", "3\r\n%2", "B\r\n", "0\r\n\r\n"] {
        wire.send(chunk);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(wire.answer().expect(201).json()["node"]["value"], "a b+");
    // Neither a body nor a length: an empty value.
    let answer = wire.ask("PUT", "/v2/keys/empty", None).expect(201);
    assert_eq!(answer.json()["node"]["value"], "");
    wire.send(format!("PUT /v2/keys/empty HTTP/1.1\r\nHost: x\r\n{FORM}\r\n"));
    assert_eq!(wire.answer().expect(200).json()["node"]["value"], "");
    // Bodies of requests that have none are read past.
    for method in ["GET", "DELETE"] {
        wire.send(format!(
            "{method} /v2/keys/empty HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 11\r\n\r\n\
             prevValue=x"
        ));
        wire.answer().expect(200);
    }
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let member = Member::start();
    let mut wire = member.connect();
    wire.send(format!(
        "PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Expect: 100-continue\r\n\
         Content-Length: 7\r\n\r\n"
    ));
    assert_eq!(wire.head().status, 100);
    wire.send("value=x");
    wire.answer().expect(201);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let member = Member::start();
    let mut wire = member.connect();
    let mut bytes = Vec::new();
    for number in 0..100 {
        let key = format!("/v2/keys/p{}", number % 3);
        bytes.extend(request("PUT", &key, Some(&format!("value={number}"))));
        bytes.extend(request("GET", &key, None));
        bytes.extend(request("GET", "/nothing", None));
    }
    wire.send(bytes);
    for number in 0..100 {
        let value = number.to_string();
        assert_eq!(wire.answer().json()["node"]["value"], value.as_str());
        assert_eq!(wire.answer().json()["node"]["value"], value.as_str());
        wire.answer().expect(404);
    }
}

/// `printf … | nc -N`: the client is done with asking, not with listening.
#[test]
fn a_client_that_closes_its_half_gets_its_answer() {
    let member = Member::start();
    for body in [Some("value=1"), None] {
        let method = if body.is_some() { "PUT" } else { "GET" };
        let mut wire = member.connect();
        wire.send(request(method, "/v2/keys/a?quorum=true", body));
        wire.stream.shutdown(Shutdown::Write).unwrap();
        assert!(wire.answer().status < 300);
        assert!(wire.is_at_end());
    }
}

#[test]
fn http_1_0_gets_no_chunks_and_keeps_its_connection_if_it_asks_to() {
    let member = Member::start();
    member.put("/a", "1");
    let mut wire = member.connect();
    wire.send("GET /v2/keys/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = wire.answer().expect(200);
    assert!(answer.header("Content-Length").is_some());
    wire.send("GET /v2/keys/a HTTP/1.0\r\n\r\n");
    assert_eq!(wire.answer().expect(200).json()["node"]["value"], "1");
    assert!(wire.is_at_end());
}

#[test]
fn connections_beyond_the_most_wait_for_a_place() {
    let config = api::Config { max_connections: 2, ..api::Config::default() };
    let member = Member::start_with(config);
    let mut first = member.connect();
    let mut second = member.connect();
    first.ask("GET", "/v2/keys/", None).expect(200);
    second.ask("GET", "/v2/keys/", None).expect(200);
    let mut third = member.connect();
    third.send(request("GET", "/v2/keys/", None));
    assert!(third.is_quiet(Duration::from_millis(100)));
    drop(first);
    third.answer().expect(200);
    second.ask("GET", "/v2/keys/", None).expect(200);
}

#[test]
fn garbage_ends_its_own_connection_alone() {
    let member = Member::start();
    let mut other = member.connect();
    let garbage: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /v2/keys/\r\n\r\n",
        b"GET /v2/keys/ HTTP/9.9\r\n\r\n",
        b"GET /v2/keys/ HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v2/keys/\xff\x00 HTTP/1.1\r\n\r\n",
        b"PUT /v2/keys/a HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"PUT /v2/keys/a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
    ];
    for bytes in garbage {
        let mut wire = member.connect();
        wire.send(bytes);
        let text = String::from_utf8_lossy(bytes);
        let answer = wire.try_answer("GET").unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(answer.status, 400, "{text}");
        assert!(wire.is_at_end(), "{text}");
        other.ask("GET", "/v2/keys/", None).expect(200);
    }
    let mut wire = member.connect();
    wire.send(format!(
        "PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    ));
    wire.answer().expect(400);
    assert!(wire.is_at_end());
    member.get("/v2/keys/a").expect(404);
}

#[test]
fn a_client_that_goes_away_in_mid_body_writes_nothing() {
    let member = Member::start();
    let index = member.index();
    let mut wire = member.connect();
    wire.send(format!(
        "PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 100\r\n\r\nvalue=half"
    ));
    drop(wire);
    std::thread::sleep(Duration::from_millis(50));
    member.get("/v2/keys/a").expect(404);
    assert_eq!(member.index(), index);
}

#[test]
fn slow_clients_hold_up_nobody() {
    let member = Member::start();
    let mut slow: Vec<Wire> = (0..50).map(|_| member.connect()).collect();
    let mut other = member.connect();
    for byte in request("GET", "/v2/keys/", None) {
        for wire in &mut slow {
            wire.send([byte]);
        }
        let began = Instant::now();
        other.ask("GET", "/v2/keys/", None).expect(200);
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    for wire in &mut slow {
        wire.answer().expect(200);
    }
}
