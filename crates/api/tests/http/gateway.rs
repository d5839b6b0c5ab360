//! The JSON gateway on a real socket: every method, streams, websockets, and what is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    member::{Member, eventually},
    wire::{Answer, Wire},
};

/// Each method as the gateway has it: path, question, status, and a field of the answer, if it
/// has any.
const METHODS: &[(&str, &str, &str, u16, &str)] = &[
    ("Put", "kv/put", r#"{"key":"YQ==","value":"MQ=="}"#, 200, "header"),
    ("Range", "kv/range", r#"{"key":"YQ=="}"#, 200, "kvs"),
    ("DeleteRange", "kv/deleterange", r#"{"key":"YQ==","range_end":"Yg=="}"#, 200, "deleted"),
    ("Txn", "kv/txn", r#"{"success":[{"request_put":{"key":"YQ=="}}]}"#, 200, "succeeded"),
    ("Compact", "kv/compaction", r#"{"revision":"2"}"#, 200, "header"),
    ("LeaseGrant", "lease/grant", r#"{"TTL":"60","ID":"7"}"#, 200, "TTL"),
    ("LeaseTimeToLive", "lease/timetolive", r#"{"ID":7}"#, 200, "grantedTTL"),
    ("LeaseTimeToLive", "kv/lease/timetolive", r#"{"ID":"7"}"#, 200, "grantedTTL"),
    ("LeaseLeases", "lease/leases", "{}", 200, "leases"),
    ("LeaseLeases", "kv/lease/leases", "", 200, "leases"),
    ("LeaseKeepAlive", "lease/keepalive", r#"{"ID":"7"}"#, 200, "result"),
    ("LeaseRevoke", "lease/revoke", r#"{"ID":"7"}"#, 200, "header"),
    ("LeaseRevoke", "kv/lease/revoke", r#"{"ID":"7"}"#, 404, "message"),
    ("MemberList", "cluster/member/list", "{}", 200, "members"),
    ("MemberAdd", "cluster/member/add", r#"{"peerURLs":["x"]}"#, 400, "message"),
    ("MemberRemove", "cluster/member/remove", r#"{"ID":"9"}"#, 404, "message"),
    ("MemberUpdate", "cluster/member/update", r#"{"ID":"9","peerURLs":["x"]}"#, 400, "message"),
    ("MemberPromote", "cluster/member/promote", r#"{"ID":"9"}"#, 404, "message"),
    ("Alarm", "maintenance/alarm", "{}", 200, "header"),
    ("Status", "maintenance/status", "{}", 200, "version"),
    ("Defragment", "maintenance/defragment", "{}", 200, ""),
    ("Hash", "maintenance/hash", "{}", 200, "hash"),
    ("HashKV", "maintenance/hashkv", "{}", 200, "hash"),
    ("Snapshot", "maintenance/snapshot", "{}", 200, "result"),
    ("MoveLeader", "maintenance/transfer-leadership", r#"{"targetID":"9"}"#, 400, "message"),
    ("Downgrade", "maintenance/downgrade", r#"{"version":"x"}"#, 400, "message"),
    ("Lock", "lock/lock", r#"{"name":"bA=="}"#, 200, "key"),
    ("Unlock", "lock/unlock", r#"{"key":"bA=="}"#, 200, "header"),
    ("Campaign", "election/campaign", r#"{"name":"ZQ==","value":"MQ=="}"#, 200, "leader"),
    ("Leader", "election/leader", r#"{"name":"ZQ=="}"#, 200, "kv"),
    ("Proclaim", "election/proclaim", "{}", 500, "message"),
    ("Resign", "election/resign", "{}", 500, "message"),
    ("AuthStatus", "auth/status", "{}", 200, "header"),
    ("AuthEnable", "auth/enable", "{}", 400, "message"),
    ("AuthDisable", "auth/disable", "{}", 200, "header"),
    ("Authenticate", "auth/authenticate", r#"{"name":"a","password":"b"}"#, 400, "message"),
    ("UserList", "auth/user/list", "{}", 200, "header"),
    ("UserGet", "auth/user/get", r#"{"name":"a"}"#, 400, "message"),
    ("UserAdd", "auth/user/add", "{}", 400, "message"),
    ("UserDelete", "auth/user/delete", r#"{"name":"a"}"#, 400, "message"),
    ("UserChangePassword", "auth/user/changepw", r#"{"name":"a"}"#, 400, "message"),
    ("UserGrantRole", "auth/user/grant", r#"{"user":"a","role":"b"}"#, 400, "message"),
    ("UserRevokeRole", "auth/user/revoke", r#"{"name":"a","role":"b"}"#, 400, "message"),
    ("RoleList", "auth/role/list", "{}", 200, "header"),
    ("RoleGet", "auth/role/get", r#"{"role":"a"}"#, 400, "message"),
    ("RoleAdd", "auth/role/add", "{}", 400, "message"),
    ("RoleDelete", "auth/role/delete", r#"{"role":"a"}"#, 400, "message"),
    ("RoleGrantPermission", "auth/role/grant", r#"{"name":"a"}"#, 400, "message"),
    ("RoleRevokePermission", "auth/role/revoke", r#"{"role":"a"}"#, 400, "message"),
];

/// Those that end only with their client have stories of their own below; the rest the gateway has
/// not, in the original either.
const OTHERS: [&str; 6] =
    ["Watch", "Observe", "RangeStream", "Check", "ServerReflectionInfo", "List"];

#[test]
fn every_method_is_answered() {
    let member = Member::start();
    for (_, path, question, status, field) in METHODS {
        let answer = member.ask("POST", &format!("/v3/{path}"), Some(question)).expect(*status);
        assert_eq!(answer.header("Content-Type"), Some("application/json"), "{path}");
        let first = answer.text();
        let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        assert!(field.is_empty() || !first[field].is_null(), "{path}: {first}");
        if *status != 200 {
            assert_eq!(first["error"], first["message"], "{path}");
            assert!(first["code"].as_i64().unwrap() > 0, "{path}");
        }
    }
    // The metrics have them all: a method without a row is not forgotten.
    let page = member.get("/metrics").expect(200).text();
    let names = page.lines().filter_map(|line| line.split("grpc_method=\"").nth(1));
    let names: BTreeSet<_> = names.map(|rest| rest.split('"').next().unwrap()).collect();
    let known: BTreeSet<_> = METHODS.iter().map(|row| row.0).chain(OTHERS).collect();
    let forgotten: Vec<_> = names.difference(&known).collect();
    assert!(names.len() > 45 && forgotten.is_empty(), "{forgotten:?}");
}

#[test]
fn prefixes_of_older_versions_lead_to_the_same() {
    let member = Member::start();
    for prefix in ["/v3", "/v3beta", "/v3alpha"] {
        let put = format!("{prefix}/kv/put");
        member.ask("POST", &put, Some(r#"{"key":"YQ==","value":"MQ=="}"#)).expect(200);
    }
    let got = member.ask("POST", "/v3/kv/range", Some(r#"{"key":"YQ=="}"#)).expect(200).json();
    assert_eq!(got["kvs"][0]["version"], "3");
    member.ask("POST", "/v3gamma/kv/put", Some("{}")).expect(404);
}

#[test]
fn a_gateway_that_is_switched_off_is_not_there() {
    let config = api::Config { gateway: false, ..api::Config::default() };
    let member = Member::start_with(config);
    for path in ["/v3/kv/range", "/v3beta/kv/range", "/v3alpha/lock/lock", "/v3/none"] {
        let answer = member.ask("POST", path, Some(r#"{"key":"YQ=="}"#)).expect(404);
        assert_eq!(answer.text(), "404 page not found\n", "{path}");
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut wire = member.connect();
    wire.send(format!("GET /v3/watch HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n"));
    wire.answer().expect(404);
    member.get("/v2/keys/").expect(200);
}

#[test]
fn what_is_no_question_is_refused_as_json() {
    let member = Member::start();
    for (method, path, question, status, code) in [
        ("POST", "/v3/kv/range", "nonsense", 400, 3),
        ("POST", "/v3/kv/range", r#"{"key":"?"}"#, 400, 3),
        ("POST", "/v3/kv/range", "{}", 400, 3),
        ("POST", "/v3/kv/range", r#"{"key":"YQ==","revision":"99"}"#, 400, 11),
        ("POST", "/v3/kv/range", r#"{"key":"YQ==","sort_order":9}"#, 400, 3),
        ("POST", "/v3/kv/none", "{}", 404, 5),
        ("POST", "/v3/none", "{}", 404, 5),
        ("GET", "/v3/kv/range", "", 501, 12),
        ("PUT", "/v3/kv/put", "", 501, 12),
        ("DELETE", "/v3beta/watch", "", 501, 12),
        ("GET", "/v3/lease/keepalive", "", 501, 12),
        ("GET", "/v3/election/observe", "", 501, 12),
        ("GET", "/v3/maintenance/snapshot", "", 501, 12),
        // What is not there is not there for any method.
        ("GET", "/v3/none", "", 404, 5),
        ("PUT", "/v3/none", "", 404, 5),
        ("GET", "/v3/", "", 404, 5),
        ("PUT", "/v3/kv/", "", 404, 5),
        ("DELETE", "/v3/kv/none", "", 404, 5),
    ] {
        let answer = member.ask(method, path, Some(question)).expect(status).json();
        assert_eq!(answer["code"], code, "{path} {question}: {answer}");
    }
}

/// As the original's mux has it.
#[test]
fn the_gateway_begins_behind_a_slash() {
    let member = Member::start();
    for (method, path, to, body) in [
        ("GET", "/v3", "/v3/", "<a href=\"/v3/\">Moved Permanently</a>.\n\n"),
        ("GET", "/v3?a=b", "/v3/?a=b", "<a href=\"/v3/?a=b\">Moved Permanently</a>.\n\n"),
        ("POST", "/v3", "/v3/", ""),
    ] {
        let answer = member.ask(method, path, None).expect(301);
        assert_eq!(answer.header("Location"), Some(to), "{method} {path}");
        assert_eq!(answer.text(), body, "{method} {path}");
    }
    member.get("/v3alpha").expect(404);
}

#[test]
fn questions_are_taken_as_the_original_takes_them() {
    let member = Member::start();
    member.ask("POST", "/v3/kv/put", Some(r#"{"key":"YQ==","value":"MQ=="}"#)).expect(200);
    for question in [
        r#"{"key":"YQ==","limit":null,"range_end":null,"sort_order":null}"#,
        r#"{"key":"YQ=="} and more"#,
        r#"{"key":"YQ=="}{"key":"Yg=="}"#,
        "{\"key\":\"YQ==\\n\"}",
        r#"{"key":"YQ","limit":1.0}"#,
    ] {
        let got = member.ask("POST", "/v3/kv/range", Some(question)).expect(200).json();
        assert_eq!(got["count"], "1", "{question}");
    }
    for question in ["null", " ", r#"{"key":null}"#] {
        let refused = member.ask("POST", "/v3/kv/range", Some(question)).expect(400).json();
        assert_eq!(refused["message"], "etcdserver: key is not provided", "{question}");
    }
    for path in ["/v3/kv/rang%65", "/v3/kv%2Frange", "/v3%62eta/kv/range"] {
        let got = member.ask("POST", path, Some(r#"{"key":"YQ=="}"#)).expect(200).json();
        assert_eq!(got["count"], "1", "{path}");
    }
}

/// Asks with this patience.
fn ask_within(member: &Member, timeout: &str, path: &str, question: &str) -> Answer {
    let mut wire = member.connect();
    wire.send(format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: x\r\nGrpc-Timeout: {timeout}\r\n\
         Content-Length: {}\r\n\r\n{question}",
        question.len()
    ));
    wire.answer()
}

#[test]
fn who_waits_for_so_long_is_told_when_it_is_over() {
    let member = Member::start();
    member.ask("POST", "/v3/lock/lock", Some(r#"{"name":"bA=="}"#)).expect(200);
    member.ask("POST", "/v3/election/campaign", Some(r#"{"name":"ZQ=="}"#)).expect(200);
    for (path, question) in
        [("lock/lock", r#"{"name":"bA=="}"#), ("election/campaign", r#"{"name":"ZQ=="}"#)]
    {
        let late = ask_within(&member, "300m", path, question).expect(504).json();
        let text = "context deadline exceeded";
        assert_eq!(late, json!({ "error": text, "message": text, "code": 4 }), "{path}");
    }
    // Whoever has given up is not in the queue any more.
    eventually("one waits for nothing", || {
        let question = r#"{"key":"bA==","range_end":"bQ==","count_only":true}"#;
        member.ask("POST", "/v3/kv/range", Some(question)).json()["count"] == "1"
    });
    let range = r#"{"key":"YQ=="}"#;
    for timeout in ["60S", "+60S", "0S", "123456789S", "9223372036854775807H"] {
        ask_within(&member, timeout, "kv/range", range).expect(200);
    }
    for path in ["kv/range", "kv/put", "maintenance/snapshot", "watch"] {
        ask_within(&member, "-1S", path, range).expect(504);
        for timeout in ["S", "5", "5s", "x", "999999999999999999999S"] {
            let refused = ask_within(&member, timeout, path, range).expect(400).json();
            assert_eq!(refused["message"], format!("invalid grpc-timeout: {timeout}"), "{path}");
            assert_eq!(refused["code"], 3);
        }
    }
    let page = member.get("/metrics").expect(200).text();
    let counted = "grpc_server_handled_total{grpc_code=\"DeadlineExceeded\",grpc_method=\"Lock\"";
    assert!(page.contains(counted), "{page}");
}

#[test]
fn a_stream_ends_with_its_clients_patience() {
    let member = Member::start();
    let watch = r#"{"create_request":{"key":"YQ=="}}"#;
    let told = ask_within(&member, "300m", "watch", watch).expect(200).text();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [created, ended] = lines.as_slice() else { panic!("{told}") };
    assert_eq!(created["result"]["created"], true);
    for (name, expected) in [
        ("code", json!(4)),
        ("grpc_code", json!(4)),
        ("http_code", json!(504)),
        ("message", json!("context deadline exceeded")),
        ("http_status", json!("Gateway Timeout")),
    ] {
        assert_eq!(ended["error"][name], expected, "{name}");
    }
    assert_eq!(member.watchers(), 0);
    // Of one that says nothing at all the status tells.
    let mut wire = member.connect();
    wire.send(
        "POST /v3/watch HTTP/1.1\r\nHost: x\r\nGrpc-Timeout: 300m\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(wire.answer().expect(504).json()["error"]["code"], 4);
    // One that ends before is not touched.
    let kept = ask_within(&member, "60S", "lease/keepalive", r#"{"ID":"8"}"#).expect(200).json();
    assert_eq!(kept["result"]["ID"], "8");
}

/// A request whose questions come one by one.
struct Streaming(Wire);

impl Streaming {
    fn open(member: &Member, path: &str) -> Self {
        let mut wire = member.connect();
        let head = "HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(format!("POST {path} {head}"));
        Self(wire)
    }

    fn ask(&mut self, question: &Value) {
        let text = question.to_string();
        self.0.send(format!("{:x}\r\n{text}\r\n", text.len()));
    }

    fn head(&mut self) {
        self.0.head().expect(200);
    }

    /// The next line, of which one comes with each chunk here.
    fn next(&mut self) -> Value {
        let chunk = self.0.chunk().unwrap().expect("it goes on");
        serde_json::from_slice(&chunk).unwrap_or_else(|_| panic!("{chunk:?}"))
    }
}

#[test]
fn a_stream_of_watches_is_created_told_asked_and_cancelled() {
    let member = Member::start();
    let mut stream = Streaming::open(&member, "/v3/watch");
    stream.ask(&json!({ "create_request": { "key": "YQ==", "prev_kv": true } }));
    stream.head();
    let created = stream.next();
    assert_eq!(created["result"]["created"], true, "{created}");
    assert_eq!(created["result"]["watch_id"], Value::Null, "the first is 0: {created}");
    stream.ask(&json!({ "create_request": { "key": "Yg==", "watch_id": "7" } }));
    assert_eq!(stream.next()["result"]["watch_id"], "7");
    member.ask("POST", "/v3/kv/put", Some(r#"{"key":"YQ==","value":"MQ=="}"#)).expect(200);
    let told = stream.next();
    assert_eq!(told["result"]["events"][0]["kv"]["value"], "MQ==", "{told}");
    assert_eq!(told["result"]["events"][0]["type"], Value::Null, "a put is 0: {told}");
    member.ask("POST", "/v3/kv/deleterange", Some(r#"{"key":"YQ=="}"#)).expect(200);
    let told = stream.next();
    assert_eq!(told["result"]["events"][0]["type"], "DELETE", "{told}");
    assert_eq!(told["result"]["events"][0]["prev_kv"]["value"], "MQ==", "{told}");
    stream.ask(&json!({ "progress_request": {} }));
    let progress = stream.next();
    assert_eq!(progress["result"]["header"]["revision"], "3", "{progress}");
    assert_eq!(progress["result"]["events"], Value::Null, "{progress}");
    stream.ask(&json!({ "cancel_request": { "watch_id": 7 } }));
    let cancelled = stream.next();
    assert_eq!(cancelled["result"]["canceled"], true, "{cancelled}");
    assert_eq!(cancelled["result"]["watch_id"], "7");
    // What is no question ends the stream, and says why.
    stream.ask(&json!([]));
    let ended = stream.next();
    assert_eq!(ended["error"]["code"], 3, "{ended}");
    assert!(stream.0.chunk().unwrap().is_none());
}

#[test]
fn a_lease_is_kept_by_one_question_after_the_other() {
    let member = Member::start();
    member.ask("POST", "/v3/lease/grant", Some(r#"{"TTL":"60","ID":"7"}"#)).expect(200);
    let mut stream = Streaming::open(&member, "/v3/lease/keepalive");
    for round in 0..3 {
        stream.ask(&json!({ "ID": "7" }));
        if round == 0 {
            stream.head();
        }
        assert_eq!(stream.next()["result"]["TTL"], "60");
    }
    stream.ask(&json!({ "ID": "8" }));
    assert_eq!(stream.next()["result"]["TTL"], Value::Null, "there is no such lease");
}

#[test]
fn who_observes_an_election_hears_of_each_leader() {
    let member = Member::start();
    let campaign = |value: &str| {
        let question = format!(r#"{{"name":"ZQ==","value":"{value}"}}"#);
        member.ask("POST", "/v3/election/campaign", Some(&question)).expect(200).json()
    };
    let leader = campaign("MQ==");
    let mut stream = Streaming::open(&member, "/v3/election/observe");
    stream.ask(&json!({ "name": "ZQ==" }));
    stream.0.send("0\r\n\r\n");
    stream.head();
    assert_eq!(stream.next()["result"]["kv"]["value"], "MQ==");
    let resign = json!({ "leader": leader["leader"] }).to_string();
    member.ask("POST", "/v3/election/resign", Some(&resign)).expect(200);
    campaign("Mg==");
    assert_eq!(stream.next()["result"]["kv"]["value"], "Mg==");
}

#[test]
fn a_range_of_many_megabytes_is_whole_and_so_is_its_json() {
    let member = Member::start();
    let value = "dmFs".repeat(50_000);
    for at in 0..30 {
        let key = ["a2V5", &"QUFB".repeat(at + 1)].concat();
        let put = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
        member.ask("POST", "/v3/kv/put", Some(&put)).expect(200);
    }
    let range = |more: &str| {
        let question = format!(r#"{{"key":"aw==","range_end":"bA=="{more}}}"#);
        member.ask("POST", "/v3/kv/range", Some(&question)).expect(200)
    };
    let all = range("");
    assert_eq!(all.header("Transfer-Encoding"), Some("chunked"), "it is made while it is sent");
    let all = all.json();
    assert_eq!(all["count"], "30");
    assert_eq!(all["header"]["revision"], "31");
    assert_eq!(all["kvs"].as_array().unwrap().len(), 30);
    assert!(all["kvs"].as_array().unwrap().iter().all(|pair| pair["value"] == value));
    let some = range(r#","limit":"20""#).json();
    assert_eq!((&some["more"], &some["count"]), (&json!(true), &json!("30")));
    // In the order that is asked for, and as a part of it that is made at once.
    let last = range(r#","sort_order":"DESCEND","limit":"1""#).json();
    assert_eq!(last["kvs"][0], all["kvs"][29]);
    let turned = range(r#","sort_order":"DESCEND""#).json();
    assert_eq!(turned["kvs"][29], all["kvs"][0]);
}

/// A websocket as a page opens it.
struct WebSocket(Wire);

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

impl WebSocket {
    fn open(member: &Member, path: &str, headers: &str) -> Self {
        let mut wire = member.connect();
        wire.send(format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {headers}\r\n"
        ));
        let agreed = wire.head().expect(101);
        let accepted = agreed.header("Sec-Websocket-Accept");
        assert_eq!(accepted, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "as RFC 6455 has it");
        Self(wire)
    }

    fn send(&mut self, kind: u8, payload: &[u8]) {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126);
        let mut frame = vec![0x80 | kind, 0x80 | length];
        frame.extend_from_slice(&MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.send(frame);
    }

    fn ask(&mut self, question: &Value) {
        self.send(TEXT, question.to_string().as_bytes());
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.0.take(2);
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.0.take(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.0.take(8).try_into().unwrap()).try_into().unwrap(),
            length => usize::from(length),
        };
        (head[0] & 0xf, self.0.take(length))
    }

    fn next(&mut self) -> Value {
        let (kind, text) = self.frame();
        assert_eq!(kind, TEXT);
        serde_json::from_slice(&text).unwrap()
    }
}

#[test]
fn a_page_watches_through_a_websocket() {
    let member = Member::start();
    let mut socket = WebSocket::open(&member, "/v3/watch", "");
    socket.ask(&json!({ "create_request": { "key": "YQ==" } }));
    assert_eq!(socket.next()["result"]["created"], true);
    for value in ["MQ==", "Mg=="] {
        let put = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
        member.ask("POST", "/v3/kv/put", Some(&put)).expect(200);
        assert_eq!(socket.next()["result"]["events"][0]["kv"]["value"], value);
    }
    socket.ask(&json!({ "progress_request": {} }));
    assert_eq!(socket.next()["result"]["header"]["revision"], "3");
    socket.ask(&json!({ "cancel_request": { "watch_id": 0 } }));
    assert_eq!(socket.next()["result"]["canceled"], true);
    assert_eq!(member.watchers(), 0);
    // A page that closes takes its watches along.
    socket.ask(&json!({ "create_request": { "key": "YQ==" } }));
    assert_eq!(socket.next()["result"]["created"], true);
    socket.send(CLOSE, b"");
    assert_eq!(socket.frame().0, CLOSE);
    eventually("the watch is gone", || member.handle.reader().store().watchers() == 0);
}

#[test]
fn every_method_can_be_asked_through_a_websocket() {
    let member = Member::start();
    let mut socket = WebSocket::open(&member, "/v3/kv/put", "");
    socket.ask(&json!({ "key": "YQ==", "value": "MQ==" }));
    assert_eq!(socket.next()["header"]["revision"], "2");
    assert_eq!(socket.frame().0, CLOSE, "there is one answer");
    let mut socket = WebSocket::open(&member, "/v3/kv/range", "");
    socket.ask(&json!({}));
    assert_eq!(socket.next()["code"], 3);
    let mut socket = WebSocket::open(&member, "/v3/lease/keepalive", "");
    socket.ask(&json!({ "ID": "8" }));
    assert_eq!(socket.next()["result"]["ID"], "8");
    let mut socket = WebSocket::open(&member, "/v3/none", "");
    assert_eq!(socket.next()["code"], 5);
}

/// A message to a page is in memory as a whole.
#[test]
fn an_answer_that_is_too_large_for_one_message_is_refused_on_a_websocket() {
    let member = Member::start();
    let value = "dmFs".repeat(330_000);
    let put = |key: &str| {
        let put = json!({ "key": key, "value": value }).to_string();
        member.ask("POST", "/v3/kv/put", Some(&put)).expect(200);
    };
    let all = json!({ "key": "AA==", "range_end": "AA==" });
    let ask = || {
        let mut socket = WebSocket::open(&member, "/v3/kv/range", "");
        socket.ask(&all);
        socket
    };
    ["YQ==", "Yg==", "Yw=="].into_iter().for_each(put);
    let mut socket = ask();
    assert_eq!(socket.next()["kvs"].as_array().unwrap().len(), 3);
    assert_eq!(socket.frame().0, CLOSE);
    // Beyond 64 MB.
    for key in 0..52 {
        put(&format!("Yg{}{}", char::from(b'A' + key / 26), char::from(b'A' + key % 26)));
    }
    let (kind, told) = ask().frame();
    assert_eq!((kind, &told[..2]), (CLOSE, &1009_u16.to_be_bytes()[..]));
    assert_eq!(String::from_utf8_lossy(&told[2..]), "etcdserver: answer is too large");
}

#[test]
fn a_websocket_of_another_version_is_refused_and_a_token_is_taken() {
    let member = Member::start();
    let mut wire = member.connect();
    wire.send(
        "GET /v3/watch HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: x\r\n\r\n",
    );
    assert_eq!(wire.answer().expect(400).header("Sec-Websocket-Version"), Some("13"));
    let token = "Sec-WebSocket-Protocol: Bearer, abc\r\n";
    let mut socket = WebSocket::open(&member, "/v3/auth/status", token);
    socket.ask(&json!({}));
    assert!(!socket.next()["header"].is_null());
}

#[test]
fn websockets_end_with_the_server() {
    let member = Member::start();
    let mut socket = WebSocket::open(&member, "/v3/watch", "");
    socket.ask(&json!({ "create_request": { "key": "YQ==" } }));
    assert_eq!(socket.next()["result"]["created"], true);
    member.stop.send_replace(true);
    // It may say why before.
    while socket.frame().0 != CLOSE {}
}
