//! What the log says through the binary: of what is slow, in each form, and into files.

use std::{fs, time::Duration};

use e2e::{Connection, Member, Request, Start, cluster::Cluster, eventually, v3};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// The lines with this message, as JSON.
fn lines(member: &Member, message: &str) -> Vec<Value> {
    let lines = member.log().lines().into_iter();
    let parsed = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    parsed.filter(|line| line["msg"] == message).collect()
}

/// The first line with this message of which that holds.
fn said(member: &Member, message: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(PATIENCE, message, || lines(member, message).into_iter().find(&is))
}

#[test]
fn a_write_and_a_read_that_are_slow_say_what_they_were_and_by_how_much() {
    let member =
        Start::new().flag("--log-format=json").flag("--warning-apply-duration=1ns").start();
    let message = "apply request took too long";
    v3::put(&member, "a key", "a secret");
    let line = said(&member, message, |line| {
        line["request"].as_str().is_some_and(|request| request.contains("put:<key:\"a key\""))
    });
    assert_eq!(line["level"], "warn");
    assert_eq!(line["expected-duration"], "1ns");
    assert_eq!(line["prefix"], "");
    assert!(line["took"].as_str().expect("a text").ends_with('s'), "{line}");
    assert!(line["request"].as_str().expect("a text").contains("value_size:8"), "{line}");
    assert!(line["response"].as_str().expect("a text").starts_with("size:"), "{line}");
    v3::post(&member, "kv/range", &json!({"key": v3::bytes("a key")}));
    let line = said(&member, message, |line| line["prefix"] == "read-only range ");
    assert_eq!(line["request"], "key:\"a key\" ");
    assert!(line["response"].as_str().expect("a text").starts_with("range_response_count:1 "));
    member.put("/of-v2", "a secret");
    said(&member, message, |line| line.to_string().contains("path:\\\"/of-v2\\\""));
    assert!(!member.log().text().contains("a secret"));
    let page = member.get("/metrics").text();
    let slow = page.lines().find_map(|line| line.strip_prefix("etcd_server_slow_apply_total "));
    assert!(slow.expect("it is there").parse::<u64>().expect("a number") >= 3);
}

#[test]
fn a_call_that_is_slow_says_which_it_was() {
    let member =
        Start::new().flag("--log-format=json").flag("--warning-unary-request-duration=1ns").start();
    v3::put(&member, "k", "v");
    let line =
        said(&member, "request stats", |line| line["response type"] == "/etcdserverpb.KV/Put");
    assert_eq!(line["level"], "warn");
    assert_eq!(line["times"], 1);
    assert!(line["time spent"].as_str().expect("a text").ends_with('s'), "{line}");
    // A flood of them does not become a flood of lines.
    for _ in 0..50 {
        v3::put(&member, "k", "v");
    }
    let puts = lines(&member, "request stats").len();
    assert!(puts < 40, "{puts} lines");
}

#[test]
fn what_is_fast_says_nothing() {
    let member = Start::new()
        .flag("--log-format=json")
        .flag("--warning-apply-duration=1h")
        .flag("--warning-unary-request-duration=1h")
        .start();
    v3::put(&member, "k", "v");
    v3::post(&member, "kv/range", &json!({"key": v3::bytes("k")}));
    drop(member.get("/v2/keys/a?quorum=true").expect(&[404]));
    // A line that comes after those that there might be.
    drop(
        member
            .ask(&Request::json("PUT", "/config/local/log", r#"{"Level":"DEBUG"}"#))
            .expect(&[204]),
    );
    v3::put(&member, "k", "v");
    said(&member, "request stats", |line| line["level"] == "debug");
    let warnings =
        lines(&member, "request stats").into_iter().filter(|line| line["level"] == "warn");
    assert_eq!(warnings.count(), 0);
    assert!(lines(&member, "apply request took too long").is_empty());
    assert!(lines(&member, "v2 request took too long").is_empty());
}

#[test]
fn what_waits_for_a_quorum_says_what_it_was_and_that_it_waited() {
    let mut cluster = Cluster::start_with(3, &["--log-format=json"]);
    let leader = cluster.leader();
    let others = [1, 2].map(|more| (leader + more) % 3);
    for other in others {
        cluster.members[other].signal(Signal::SIGSTOP);
    }
    let asked = &cluster.members[leader];
    let clients = [
        Request::json("POST", "/v3/kv/range", &json!({"key": v3::bytes("a key")}).to_string()),
        Request::json(
            "POST",
            "/v3/kv/txn",
            &json!({"success": [{"request_range": {"key": v3::bytes("a key")}}]}).to_string(),
        ),
        Request::get("/v2/keys/a-path?quorum=true"),
        Request::put("/v2/keys/a-write", "a secret"),
    ];
    let clients = clients.map(|request| {
        let address = asked.address();
        // Whatever comes of it.
        std::thread::spawn(move || {
            drop(Connection::open(address).expect("it listens").ask(&request));
        })
    });
    // They have waited longer than is expected of anything.
    std::thread::sleep(Duration::from_secs(2));
    for other in others {
        cluster.members[other].signal(Signal::SIGCONT);
    }
    for client in clients {
        client.join().expect("it ends");
    }
    let asked = &cluster.members[leader];
    let slow = "apply request took too long";
    let line = said(asked, slow, |line| line["prefix"] == "read-only range ");
    assert_eq!(line["request"], "key:\"a key\" ");
    // In seconds.
    let waited = |line: &Value| {
        let took = line["read-index"].as_str().and_then(|took| took.strip_suffix('s'));
        took.is_some_and(|took| took.parse::<f64>().is_ok_and(|seconds| seconds > 1.0))
    };
    assert!(waited(&line), "{line}");
    assert!(line["remote"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")), "{line}");
    let line = said(asked, slow, |line| line["prefix"] == "read-only txn ");
    assert!(waited(&line), "{line}");
    let slow = "v2 request took too long";
    let line = said(asked, slow, |line| line["path"] == "/a-path" || line["path"] == "/a-write");
    assert!(line["method"] == "PUT" || waited(&line), "{line}");
    assert!(line["remote"].is_string(), "{line}");
    let stats = said(asked, "request stats", |line| line["level"] == "warn");
    assert!(stats["remote"].is_string(), "{stats}");
    assert!(!asked.log().text().contains("a secret"));
}

/// Paced: of many at a time one is told.
#[test]
fn slow_requests_for_members_and_users_of_v2_are_told_too() {
    let flags = ["--log-format=json", "--warning-unary-request-duration=1ns"];
    let member = flags.iter().fold(Start::new(), |start, flag| start.flag(flag)).start();
    for path in ["/v2/members", "/v2/auth/users"] {
        eventually(PATIENCE, "a request is told", || {
            drop(member.get(path).expect(&[200]));
            let told = lines(&member, "v2 request took too long");
            told.iter().any(|line| line["path"] == path && line["status"] == 200).then_some(())
        });
    }
}

#[test]
fn lines_go_to_all_outputs_in_the_form_that_is_asked_for() {
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let [one, other] = ["one.log", "other.log"].map(|name| dir.path().join(name));
    let outputs = format!("--log-outputs=stderr,{},{}", one.display(), other.display());
    let mut member = Start::new().flag("--log-format=console").flag(&outputs).start();
    member.stop();
    let [first, second] = [&one, &other].map(|path| fs::read_to_string(path).expect("a file"));
    let serves = first.lines().find(|line| line.contains("ready to serve client requests"));
    let fields: Vec<&str> = serves.expect("it is said").split('\t').collect();
    assert_eq!(fields[1], "info");
    assert!(fields[2].starts_with("etcd/announce.rs:"), "{fields:?}");
    assert_eq!(fields[3], "ready to serve client requests");
    assert_eq!(first, second);
    for line in first.lines() {
        assert!(member.log().contains(line), "{line} is not on standard error");
    }
}

#[test]
fn a_full_file_is_set_aside_and_only_so_many_are_kept() {
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let path = dir.path().join("etcd.log");
    let member = Start::new()
        .flag("--log-format=json")
        .flag("--log-level=debug")
        .flag("--warning-apply-duration=1ns")
        .flag(&format!("--log-outputs={}", path.display()))
        .flag("--enable-log-rotation")
        .flag(r#"--log-rotation-config-json={"maxsize": 1, "maxbackups": 2}"#)
        .start();
    let key = "k".repeat(250);
    let files = || {
        let names = fs::read_dir(dir.path()).expect("it is there");
        names
            .map(|entry| entry.expect("a name").metadata().expect("a file").len())
            .collect::<Vec<_>>()
    };
    eventually(4 * PATIENCE, "two are set aside", || {
        for _ in 0..200 {
            v3::put(&member, &key, "v");
        }
        (files().len() == 3).then_some(())
    });
    for _ in 0..3_000 {
        v3::put(&member, &key, "v");
    }
    let files = files();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|bytes| *bytes <= 1 << 20), "{files:?}");
}

#[test]
fn the_level_changes_at_run_time() {
    let member = Start::new().flag("--log-format=json").start();
    let put = || {
        v3::put(&member, "k", "v");
    };
    let is_debug = |line: &Value| line["level"] == "debug";
    let set = |level: &str| {
        let body = format!("{{\"Level\":\"{level}\"}}");
        member.ask(&Request::json("PUT", "/config/local/log", &body)).expect(&[204])
    };
    put();
    assert!(!lines(&member, "request stats").iter().any(is_debug));
    set("DEBUG");
    put();
    said(&member, "request stats", is_debug);
    set("INFO");
    let before = lines(&member, "request stats").len();
    put();
    assert_eq!(lines(&member, "request stats").len(), before);
}
