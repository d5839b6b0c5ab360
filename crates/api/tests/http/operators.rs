//! What operators and their tools ask.

use std::collections::{BTreeMap, BTreeSet};

use base::{ClusterId, Index, MemberId, Term};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    member::{Member, config, start_by},
    wire::Wire,
};

#[test]
fn version_names_the_level_that_clients_test_for() {
    let member = Member::start();
    for address in [member.address, member.peers] {
        let answer = Wire::connect(address).ask("GET", "/version", None).expect(200);
        let version = answer.json();
        assert!(version["etcdserver"].as_str().unwrap().starts_with("3.6."), "{version}");
        assert_eq!(version["etcdcluster"], "3.6.0");
        assert_eq!(version["storage"], "3.6.0");
        assert!(version["retcd"].is_string());
    }
}

#[test]
fn health_is_as_in_2_3_8() {
    let member = Member::start();
    let answer = member.get("/health").expect(200);
    assert_eq!(answer.text(), "{\"health\": \"true\"}");
}

#[test]
fn a_stopped_member_says_so() {
    let member = Member::start();
    member.runtime.block_on(member.handle.stop());
    for method in ["PUT", "DELETE"] {
        let json = member.ask(method, "/v2/keys/a", None).expect(503).json();
        assert_eq!(json["errorCode"], 300);
        assert_eq!(json["message"], "Raft Internal Error");
        assert_eq!(json["cause"], "etcdserver: server stopped");
    }
}

#[test]
fn members_are_told_on_both_ports() {
    let member = Member::start();
    let id = member.handle.member_id();
    let shown = format!(
        "{{\"id\":\"{id}\",\"name\":\"default\",\"peerURLs\":[\"http://localhost:2380\"],\
         \"clientURLs\":[\"http://localhost:2379\"]}}"
    );
    let all = format!("{{\"members\":[{shown}]}}\n");
    assert_eq!(member.get("/v2/members").text(), all);
    assert_eq!(member.get("/v2/members/").text(), all);
    assert_eq!(member.get("/v2/members/leader").text(), format!("{shown}\n"));
    assert_eq!(member.get("/v2/machines").text(), "http://localhost:2379");
    let mut peer = Wire::connect(member.peers);
    let answer = peer.ask("GET", "/members", None).expect(200);
    let expected = format!(
        "[{{\"id\":{},\"peerURLs\":[\"http://localhost:2380\"],\"name\":\"default\",\
         \"clientURLs\":[\"http://localhost:2379\"]}}]\n",
        id.0
    );
    assert_eq!(answer.text(), expected);
    assert!(answer.header("X-Etcd-Cluster-Id").is_some());
    let probed = peer.ask("GET", "/raft/probing", None).expect(200).json();
    assert_eq!(probed["OK"], true);
    assert!(probed["Now"].as_str().unwrap().ends_with('Z'));
    peer.ask("POST", "/members", None).expect(405);
    peer.ask("GET", "/v2/keys/", None).expect(404);
}

#[test]
fn a_member_that_is_forced_says_so_until_it_is_led() {
    let identity = peer::Identity { cluster: ClusterId(0xc), member: MemberId(0xa) };
    let forcing = server::Forcing { identity, last: (Term(3), Index(77)) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ask = |config: server::Config, is_ready: bool| {
        config.forcing.send_replace(Some(forcing));
        let entered = runtime.enter();
        let handle = start_by(config);
        drop(entered);
        let (_stop, stopped) = watch::channel(false);
        let peers = runtime.block_on(async {
            if is_ready {
                handle.ready().await;
            }
            TcpListener::bind("127.0.0.1:0").await.unwrap()
        });
        let address = peers.local_addr().unwrap();
        runtime.spawn(api::serve_peers(api::Port::plain(peers), handle, stopped));
        Wire::connect(address).ask("GET", "/members", None)
    };
    let other = ("other".to_owned(), vec!["http://127.0.0.1:1".to_owned()]);
    let mut led_by_nobody = config();
    led_by_nobody.initial_cluster.push(other);
    let answer = ask(led_by_nobody, false).expect(409);
    assert_eq!(answer.header("X-Etcd-Cluster-Id"), Some("c"));
    assert_eq!(answer.header("X-Server-From"), Some("a"));
    assert_eq!(answer.header("X-Raft-Forcing"), Some("3 77"));
    ask(config(), true).expect(200);
}

#[test]
fn requests_to_change_members_are_checked_as_etcd_does() {
    let member = Member::start();
    let id = member.handle.member_id();
    let mut wire = member.connect();
    let mut check = |method: &str, path: &str, kind: &str, body: &str, status: u16, text: &str| {
        let head = format!("{method} /v2/members{path} HTTP/1.1\r\nHost: x\r\n");
        let length = body.len();
        wire.send(format!("{head}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"));
        let answer = wire.answer().expect(status);
        assert_eq!(answer.json()["message"], text, "{method} {path} {body}");
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
    };
    let json = "application/json";
    let good = "{\"peerURLs\":[\"http://127.0.0.1:9\"]}";
    let own = format!("/{id}");
    check(
        "POST",
        "",
        json,
        "{\"peerURLs\":[\"http://127.0.0.1:9\"]",
        400,
        "unexpected end of JSON input",
    );
    check("POST", "", json, "", 400, "unexpected end of JSON input");
    check("POST", "", json, "{}", 400, "no valid URLs given");
    check("POST", "", json, "{\"peerURLs\":null}", 400, "no valid URLs given");
    check(
        "POST",
        "",
        json,
        "{\"peerURLs\":[\"nonsense\"]}",
        400,
        "URL scheme must be http or https: nonsense",
    );
    let refused = "Bad Content-Type text/plain, accept application/json";
    check("POST", "", "text/plain", good, 415, refused);
    check("PUT", "/123", json, good, 404, "No such member: 123");
    check("PUT", "/00A", json, good, 404, "No such member: a");
    check("PUT", "/zz", json, good, 404, "No such member: zz");
    check("PUT", &own, "text/plain", good, 415, refused);
    check("DELETE", "/123", json, "", 404, "No such member: 123");
    let taken = "{\"peerURLs\":[\"http://localhost:2380\"]}";
    check("POST", "", json, taken, 409, "etcdserver: peerURL exists");
    check("DELETE", &own, json, "", 500, "etcdserver: the last voter cannot be removed");
}

#[test]
fn members_are_moved_added_and_removed() {
    let member = Member::start();
    let own = member.handle.member_id();
    let mut wire = member.connect();
    let mut ask = |method: &str, path: &str, body: &str| {
        let head = format!("{method} /v2/members{path} HTTP/1.1\r\nHost: x\r\n");
        let length = body.len();
        let kind = "Content-Type: application/json";
        wire.send(format!("{head}{kind}\r\nContent-Length: {length}\r\n\r\n{body}"));
        wire.answer()
    };
    ask("PUT", &format!("/{own}"), "{\"peerURLs\":[\"http://127.0.0.1:9\"]}").expect(204);
    let members = ask("GET", "", "").expect(200).json();
    assert_eq!(members["members"][0]["peerURLs"][0], "http://127.0.0.1:9");
    assert_eq!(members["members"][0]["name"], "default", "the rest stays");
    // From here on a quorum is two, of whom one has not started.
    let added = ask("POST", "", "{\"peerURLs\":[\"http://127.0.0.1:7\"]}").expect(201).json();
    assert_eq!(added["name"], "");
    assert_eq!(added["peerURLs"][0], "http://127.0.0.1:7");
    assert_eq!(ask("GET", "", "").json()["members"].as_array().unwrap().len(), 2);
    let strict = "etcdserver: re-configuration failed due to not enough started members";
    let third = ask("POST", "", "{\"peerURLs\":[\"http://127.0.0.1:6\"]}").expect(500);
    assert_eq!(third.json()["message"], strict);
    let started = ask("DELETE", &format!("/{own}"), "").expect(500);
    assert_eq!(started.json()["message"], strict, "nobody who has started would be left");
}

#[test]
fn statistics_count() {
    let member = Member::start();
    let of_self = member.get("/v2/stats/self").expect(200).json();
    assert_eq!(of_self["state"], "StateLeader");
    assert_eq!(of_self["id"], member.handle.member_id().to_string());
    assert_eq!(of_self["leaderInfo"]["leader"], of_self["id"]);
    let of_leader = member.get("/v2/stats/leader").expect(200).text();
    assert_eq!(of_leader, format!("{{\"leader\":{},\"followers\":{{}}}}", of_self["id"]));

    let before = member.get("/v2/stats/store").json();
    member.put("/a", "1");
    member.ask("PUT", "/v2/keys/a/b", Some("value=1")).expect(400);
    member.ask("PUT", "/v2/keys/a?prevValue=1", Some("value=2")).expect(200);
    member.ask("PUT", "/v2/keys/a?prevValue=1", Some("value=2")).expect(412);
    member.get("/v2/keys/a").expect(200);
    member.get("/v2/keys/none").expect(404);
    member.ask("DELETE", "/v2/keys/a", None).expect(200);
    let after = member.get("/v2/stats/store").json();
    let expected = BTreeMap::from([
        ("setsSuccess", 1),
        ("setsFail", 1),
        ("compareAndSwapSuccess", 1),
        ("compareAndSwapFail", 1),
        ("getsSuccess", 1),
        ("getsFail", 1),
        ("deleteSuccess", 1),
    ]);
    for (name, count) in before.as_object().unwrap() {
        let more = after[name].as_u64().unwrap() - count.as_u64().unwrap();
        assert_eq!(more, expected.get(name.as_str()).copied().unwrap_or(0), "{name}");
    }
}

#[test]
fn the_log_level_can_be_set() {
    let member = Member::start();
    let set = |body: &str| member.ask("PUT", "/config/local/log", Some(body));
    let answer = set("{\"Level\":\"debug\"}").expect(204);
    assert_eq!((answer.header("Content-Type"), answer.body.len()), (None, 0));
    let answer = set("{\"Level\":\"Nonsense\"}").expect(400);
    assert_eq!(answer.text(), "{\"message\":\"Invalid log level Nonsense\"}");
    assert_eq!(set("nonsense").expect(400).text(), "{\"message\":\"Invalid json body\"}");
    assert_eq!(set("").expect(400).text(), "{\"message\":\"Invalid json body\"}");
    assert_eq!(*member.levels.lock().unwrap(), ["DEBUG", "NONSENSE"]);
}

#[test]
fn a_downgrade_is_answered_as_by_the_gateway_of_3_6() {
    let member = Member::start();
    let ask = |body: &str| member.ask("POST", "/v3/maintenance/downgrade", Some(body));
    for (body, status, code, message) in [
        (r#"{"version":"3.6.0"}"#, 400, 3, "etcdserver: invalid downgrade target version"),
        // There is nothing of ours below.
        (r#"{"version":"3.5.0"}"#, 400, 3, "etcdserver: invalid downgrade target version"),
        (
            r#"{"action":"ENABLE","version":"3.5"}"#,
            400,
            3,
            "etcdserver: invalid downgrade target version",
        ),
        (r#"{"action":"ENABLE"}"#, 400, 3, "etcdserver: wrong downgrade target version format"),
        (r#"{"action":9,"version":"3.5"}"#, 500, 2, "etcdserver: unknown method"),
    ] {
        let expected = serde_json::json!({ "code": code, "error": message, "message": message });
        assert_eq!(ask(body).expect(status).json(), expected, "{body}");
    }
    assert_eq!(ask("ENABLE").expect(400).json()["code"], 3);
    assert_eq!(member.get("/v3/maintenance/downgrade").expect(501).json()["code"], 12);
    // As in 3.6, there need not be one.
    let (cluster, id) = (member.handle.cluster_id().0, member.handle.member_id().0);
    let expected = format!(
        "{{\"header\":{{\"cluster_id\":\"{cluster}\",\"member_id\":\"{id}\",\"revision\":\"1\",\
         \"raft_term\":\"2\"}},\"version\":\"3.6\"}}"
    );
    assert_eq!(ask(r#"{"action":"CANCEL"}"#).expect(200).text(), expected);
}

/// Names and labels with their values.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn metrics_are_there_under_etcd_s_names_and_move() {
    let member = Member::start();
    let answer = member.get("/metrics").expect(200);
    assert!(answer.header("Content-Type").unwrap().starts_with("text/plain; version=0.0.4"));
    let before = samples(&answer.text());
    for _ in 0..3 {
        member.put("/a", "1");
    }
    member.get("/v2/keys/a").expect(200);
    member.get("/v2/keys/none").expect(404);
    member.get("/v2/keys/a?quorum=true").expect(200);
    let page = member.get("/metrics").text();
    check_types(&page);
    let after = samples(&page);
    let moved = |name: &str| after[name] - before.get(name).copied().unwrap_or(0.0);
    for (name, by) in [
        ("etcd_http_received_total{method=\"PUT\"}", 3.0),
        ("etcd_http_received_total{method=\"GET\"}", 2.0),
        ("etcd_http_received_total{method=\"QGET\"}", 1.0),
        ("etcd_http_failed_total{code=\"404\",method=\"GET\"}", 1.0),
        ("etcd_http_successful_duration_second_count{method=\"PUT\"}", 3.0),
        ("etcd_http_successful_duration_second_bucket{method=\"PUT\",le=\"+Inf\"}", 3.0),
        ("etcd_store_writes_total{action=\"set\"}", 3.0),
        ("etcd_debugging_mvcc_current_revision", 3.0),
        ("etcd_server_proposals_committed_total", 3.0),
        ("etcd_server_proposals_applied_total", 3.0),
    ] {
        assert_eq!(moved(name), by, "{name}");
    }
    assert!(moved("etcd_disk_wal_fsync_duration_seconds_count") >= 1.0);
    for name in ["etcd_server_has_leader", "etcd_server_is_leader"] {
        assert_eq!(after[name], 1.0, "{name}");
    }
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
        "etcd_mvcc_db_total_size_in_bytes",
    ] {
        assert!(after[name] > 0.0, "{name}");
    }
    member.ask("POST", "/metrics", None).expect(405);
}

/// Every name is declared once, before its samples, which stand together.
fn check_types(page: &str) {
    let mut declared = BTreeSet::new();
    let mut current = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap();
            assert!(declared.insert(current), "{current} is declared twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name.starts_with(current), "{name} stands below {current}");
        }
    }
}

#[test]
fn vars_are_json_and_true() {
    let member = Member::start();
    let vars = member.get("/debug/vars").expect(200).json();
    assert!(!vars["cmdline"].as_array().unwrap().is_empty());
    assert_eq!(vars["raft.status"]["raftState"], "StateLeader");
    assert!(vars["raft.status"]["applied"].as_u64().unwrap() > 0);
    assert!(vars["memstats"]["Alloc"].as_u64().unwrap() > 0);
}

#[test]
fn other_paths_and_methods_are_refused_in_gos_words() {
    let member = Member::start();
    let mut wire = member.connect();
    for path in [
        "/",
        "/nothing",
        "/v2",
        "/v2/",
        "/v2/nothing",
        "/v2/stats",
        "/v2/stats/x",
        "/v2/machines/",
        "/version/x",
        "/v2/keysx",
        "/v2/membersx",
    ] {
        let answer = wire.ask("GET", path, None).expect(404);
        assert_eq!(answer.text(), "404 page not found\n", "{path}");
        assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
    }
    for (method, path, allow) in [
        ("POST", "/version", Some("GET")),
        ("PUT", "/health", Some("GET")),
        ("PUT", "/v2/machines", Some("GET,HEAD")),
        ("PATCH", "/v2/members", Some("GET,POST,DELETE,PUT")),
        ("PUT", "/v2/members", None),
        ("DELETE", "/v2/members", None),
        ("PUT", "/v2/stats/self", Some("GET")),
        ("GET", "/config/local/log", Some("PUT")),
        ("PATCH", "/v2/auth/enable", Some("GET,PUT,DELETE")),
    ] {
        let answer = wire.ask(method, path, None).expect(405);
        assert_eq!(answer.text(), "Method Not Allowed\n", "{method} {path}");
        assert_eq!(answer.header("Allow"), allow, "{method} {path}");
    }
}

fn origin(member: &Member, method: &str, origin: Option<&str>) -> [Option<String>; 3] {
    let mut wire = member.connect();
    let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
    wire.send(format!("{method} /v2/keys/ HTTP/1.1\r\nHost: x\r\n{origin}\r\n"));
    let answer = wire.answer().expect(200);
    assert_eq!(method == "OPTIONS", answer.body.is_empty());
    ["Origin", "Methods", "Headers"]
        .map(|name| answer.header(&format!("Access-Control-Allow-{name}")).map(str::to_owned))
}

#[test]
fn cors_is_for_those_who_are_let_in() {
    let let_in = |origin: &str| {
        let methods = "POST, GET, OPTIONS, PUT, DELETE";
        let headers = "accept, content-type, authorization";
        [origin, methods, headers].map(|text| Some(text.to_owned()))
    };
    let none = [None, None, None];
    for method in ["GET", "OPTIONS"] {
        let closed = Member::start();
        assert_eq!(origin(&closed, method, Some("http://a")), none);
        let cors = vec!["http://a".to_owned(), "http://b".to_owned()];
        let some = Member::start_with(api::Config { cors, ..api::Config::default() });
        assert_eq!(origin(&some, method, Some("http://b")), let_in("http://b"));
        assert_eq!(origin(&some, method, Some("http://c")), none);
        assert_eq!(origin(&some, method, None), none);
        let cors = vec!["*".to_owned()];
        let all = Member::start_with(api::Config { cors, ..api::Config::default() });
        assert_eq!(origin(&all, method, Some("http://c")), let_in("*"));
        assert_eq!(origin(&all, method, None), let_in("*"));
    }
}

#[test]
fn times_to_live_are_told_and_pass() {
    let member = Member::start();
    let put = |form: &str| member.ask("PUT", "/v2/keys/t", Some(form)).json()["node"].clone();
    let node = put("value=1&ttl=100");
    assert_eq!(node["ttl"], 100);
    let expiration = node["expiration"].as_str().unwrap();
    assert!(expiration.ends_with('Z') && expiration.len() > 20, "{expiration}");
    assert!(put("value=1&ttl=").get("ttl").is_none(), "an empty one clears it");
    for ttl in ["9223372036", "99999999999", "18446744073709551615"] {
        let node = put(&format!("value=1&ttl={ttl}"));
        assert_eq!(node.get("expiration"), None::<&Value>, "{ttl}: for ever, as far as clocks go");
    }
    assert_eq!(put("value=1&ttl=1")["ttl"], 1);
    crate::member::eventually("it expires", || member.get("/v2/keys/t").status == 404);
}
