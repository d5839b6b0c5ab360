//! Directories, small and large.

use std::time::Duration;

use serde_json::Value;

use crate::{member::Member, wire::Wire};

/// 2,000 files of 500 bytes in 20 directories, and the same at one level.
fn fill(member: &Member) {
    let value = "v".repeat(500);
    let mut wire = member.connect();
    for number in 0..2000 {
        let form = format!("value={value}");
        for key in [format!("deep/{:02}/{number:04}", number % 20), format!("flat/{number:04}")] {
            wire.ask("PUT", &format!("/v2/keys/{key}"), Some(&form)).expect(201);
        }
    }
}

fn keys(node: &Value) -> Vec<String> {
    let nodes = node["nodes"].as_array().into_iter().flatten();
    nodes
        .flat_map(|child| {
            let key = child["key"].as_str().unwrap().to_owned();
            std::iter::once(key).chain(keys(child))
        })
        .collect()
}

#[test]
fn a_large_directory_comes_in_chunks_and_whole() {
    let member = Member::start();
    fill(&member);
    let mut wire = member.connect();
    let flat = wire.ask("GET", "/v2/keys/flat", None).expect(200);
    assert_eq!(flat.header("Transfer-Encoding"), Some("chunked"));
    assert!(flat.header("Content-Length").is_none());
    for name in ["X-Etcd-Index", "X-Raft-Index", "X-Raft-Term", "X-Etcd-Cluster-Id"] {
        assert!(flat.header(name).is_some(), "{name}");
    }
    let flat = flat.json();
    let expected: Vec<String> = (0..2000).map(|number| format!("/flat/{number:04}")).collect();
    assert_eq!(keys(&flat["node"]), expected);
    assert!(
        flat["node"]["createdIndex"].as_u64().unwrap() > 0,
        "what follows the children is there"
    );

    let deep = wire.ask("GET", "/v2/keys/?recursive=true&sorted=true", None).expect(200).json();
    let told = keys(&deep["node"]);
    assert_eq!(told.len(), 2 + 20 + 2000 + 2000);
    let sorted = |name: &str| {
        let mut below: Vec<_> = told.iter().filter(|key| key.starts_with(name)).cloned().collect();
        let as_told = below.clone();
        below.sort_unstable();
        assert_eq!(below, as_told);
    };
    sorted("/deep/");
    sorted("/flat/");
    // A directory with few children has a length, whatever lies below them.
    let top = wire.ask("GET", "/v2/keys/deep", None).expect(200);
    assert!(top.header("Content-Length").is_some());
    assert_eq!(top.json()["node"]["nodes"].as_array().unwrap().len(), 20);
    wire.ask("HEAD", "/v2/keys/flat", None).expect(200);
    // Nobody's connection is out of step after any of these.
    wire.ask("GET", "/v2/keys/flat/0000", None).expect(200);

    in_http_1_0(&member);
    to_a_client_that_stops_reading(&member);
}

fn in_http_1_0(member: &Member) {
    let mut wire = member.connect();
    wire.send("GET /v2/keys/flat HTTP/1.0\r\n\r\n");
    let answer = wire.answer().expect(200);
    assert_eq!(answer.header("Transfer-Encoding"), None);
    assert_eq!(keys(&answer.json()["node"]).len(), 2000);
}

fn to_a_client_that_stops_reading(member: &Member) {
    let stuck: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = member.connect();
            wire.send("GET /v2/keys/?recursive=true HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(wire.head().status, 200);
            wire
        })
        .collect();
    // The others go on.
    for _ in 0..10 {
        member.put("/flat/0000", "new");
        member.get("/v2/keys/deep").expect(200);
    }
    std::thread::sleep(Duration::from_millis(20));
    for mut wire in stuck {
        let mut body = Vec::new();
        while let Some(chunk) = wire.chunk().unwrap() {
            body.extend_from_slice(&chunk);
        }
        let listing: Value = serde_json::from_slice(&body).unwrap();
        let nodes = listing["node"]["nodes"].as_array().unwrap();
        let flat = nodes.iter().find(|node| node["key"] == "/flat").unwrap();
        // As it was when the listing began.
        assert!(flat["nodes"][0]["value"].as_str().unwrap() != "new" || body.is_empty());
    }
}

#[test]
fn the_root_shows_neither_key_nor_indexes() {
    let member = Member::start();
    assert_eq!(member.get("/v2/keys/").text(), "{\"action\":\"get\",\"node\":{\"dir\":true}}\n");
    member.ask("PUT", "/v2/keys/d", Some("dir=true")).expect(201);
    let empty = member.get("/v2/keys/d").json();
    assert_eq!(empty["node"]["dir"], true);
    assert!(empty["node"].get("nodes").is_none(), "an empty directory has no list of children");
}
