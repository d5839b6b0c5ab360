//! `--audit-log` through the real binaries: who did what through both APIs, and what the file never holds.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Member, Request, Start, binaries, eventually,
    run::{self, Output},
    v3,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// What stands in requests and never in the file.
const SECRETS: [&str; 5] = ["rootpw", "alicepw", "wrong-word", "a-value", "another-value"];

fn start(log: &Path) -> Member {
    let start = Start::new().with("audit-log", Some(log.to_str().unwrap()));
    let mut member = start.flag("--bcrypt-cost=4").start();
    member.allow("invalid authentication was requested");
    member.allow("auth: no such user, or a wrong password");
    member
}

/// etcdctl with API 3, by this user.
fn ctl(member: &Member, user: &str, arguments: &[&str]) -> Output {
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &member.url());
    if !user.is_empty() {
        command.args(["--user", user]);
    }
    run::run(command.args(arguments), "")
}

#[track_caller]
fn ok(output: &Output) {
    assert_eq!(output.exit, Some(0), "{output:?}");
}

fn basic(request: Request, pair: &str) -> Request {
    request.header("Authorization", &format!("Basic {}", STANDARD.encode(pair)))
}

fn records(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    // The last may be under way.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Waits for a record that holds all of this, among those from that place on; and gives it.
#[track_caller]
fn recorded(log: &Path, expected: &Value) -> Value {
    let holds = |record: &Value| {
        let mut fields = expected.as_object().unwrap().iter();
        fields.all(|(name, value)| record[name] == *value)
    };
    eventually(PATIENCE, &format!("{expected} in {:?}", records(log)), || {
        records(log).into_iter().find(holds)
    })
}

fn enable(member: &Member) {
    for arguments in [
        &["user", "add", "root:rootpw"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "alice:alicepw"],
        &["role", "add", "a"],
        &["role", "grant-permission", "a", "readwrite", "--prefix", "/a/"],
        &["user", "grant-role", "alice", "a"],
        &["auth", "enable"],
    ] {
        ok(&ctl(member, "", arguments));
    }
}

#[test]
fn who_did_what_is_recorded_through_both_apis_and_nothing_secret() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let member = start(&log);
    // Before anybody is asked who he is.
    member.put("/a/x", "a-value");
    member.get("/v2/keys/a/x?quorum=false");
    enable(&member);
    let told = recorded(&log, &json!({"api": "v2", "method": "PUT /v2/keys"}));
    assert_eq!(told["keys"], json!([{"does": "write", "key": "/a/x"}]));
    assert_eq!(
        (&told["user"], &told["allowed"], &told["code"]),
        (&Value::Null, &json!(true), &json!("201"))
    );
    let from = told["from"].as_str().unwrap();
    assert!(from.starts_with("127.0.0.1:"), "{from}");
    let time = told["time"].as_str().unwrap();
    assert!(time.len() == "2026-11-26T10:05:00.000000Z".len() && time.ends_with('Z'), "{time}");
    let read = json!([{"does": "read", "key": "/a/x"}]);
    recorded(&log, &json!({"method": "GET /v2/keys", "user": null, "keys": read, "code": "200"}));
    let permit = recorded(&log, &json!({"method": "etcdserverpb.Auth/RoleGrantPermission"}));
    assert_eq!(permit["of_role"], "a");
    assert_eq!(
        permit["keys"],
        json!([{"does": "permit", "kind": "readwrite", "key": "/a/", "range_end": "/a0"}])
    );
    recorded(
        &log,
        &json!({"method": "etcdserverpb.Auth/UserAdd", "of_user": "alice", "code": "OK"}),
    );
    recorded(&log, &json!({"method": "etcdserverpb.Auth/AuthEnable", "allowed": true}));

    // gRPC.
    ok(&ctl(&member, "alice:alicepw", &["put", "/a/y", "another-value"]));
    ctl(&member, "alice:alicepw", &["put", "/b/y", "another-value"]);
    ctl(&member, "alice:wrong-word", &["get", "/a/y"]);
    ctl(&member, "", &["get", "/a/y"]);
    ctl(&member, "alice:alicepw", &["member", "remove", "77"]);
    ctl(&member, "alice:alicepw", &["watch", "/b/"]);
    let put = |key: &str| json!([{"does": "write", "key": key}]);
    let method = "etcdserverpb.KV/Put";
    recorded(
        &log,
        &json!({"api": "v3", "method": method, "user": "alice", "keys": put("/a/y"), "allowed": true, "code": "OK"}),
    );
    let denied = "etcdserver: permission denied";
    recorded(
        &log,
        &json!({"method": method, "user": "alice", "keys": put("/b/y"), "allowed": false, "error": denied, "code": "PermissionDenied"}),
    );
    let method = "etcdserverpb.Auth/Authenticate";
    recorded(&log, &json!({"method": method, "user": "alice", "allowed": true, "code": "OK"}));
    let wrong = "etcdserver: authentication failed, invalid user ID or password";
    recorded(
        &log,
        &json!({"method": method, "user": null, "claimed": "alice", "allowed": false, "error": wrong}),
    );
    let empty = "etcdserver: user name is empty";
    recorded(
        &log,
        &json!({"method": "etcdserverpb.KV/Range", "user": null, "allowed": false, "error": empty}),
    );
    recorded(
        &log,
        &json!({"method": "etcdserverpb.Cluster/MemberRemove", "user": "alice", "of_member": "77", "allowed": false}),
    );
    let watch = recorded(&log, &json!({"method": "etcdserverpb.Watch/Watch", "allowed": false}));
    assert_eq!(
        (&watch["user"], &watch["keys"]),
        (&json!("alice"), &json!([{"does": "watch", "key": "/b/"}]))
    );

    // The gateway.
    let login = json!({"name": "alice", "password": "alicepw"});
    let token =
        v3::post(&member, "auth/authenticate", &login)["token"].as_str().unwrap().to_owned();
    for key in ["/a/z", "/b/z"] {
        let body = json!({"key": v3::bytes(key), "value": v3::bytes("a-value")}).to_string();
        member.ask(&Request::json("POST", "/v3/kv/put", &body).header("Authorization", &token));
    }
    let json_api = "v3-json";
    recorded(
        &log,
        &json!({"api": json_api, "method": "etcdserverpb.Auth/Authenticate", "user": "alice", "code": "OK"}),
    );
    recorded(
        &log,
        &json!({"api": json_api, "user": "alice", "keys": put("/a/z"), "allowed": true, "code": "OK"}),
    );
    recorded(
        &log,
        &json!({"api": json_api, "user": "alice", "keys": put("/b/z"), "allowed": false, "code": "PermissionDenied"}),
    );

    // v2, whatever the path looks like.
    member.ask(&basic(Request::get("/v2/keys/a/x?recursive=true"), "alice:alicepw"));
    member.ask(&basic(Request::put("/v2/keys/b/x", "a-value"), "alice:alicepw"));
    member.ask(&basic(Request::get("/%762/keys/a/x"), "alice:wrong-word"));
    member.ask(&basic(Request::new("DELETE", "/v2/auth/users/alice"), "alice:alicepw"));
    member.ask(&Request::get("/v2/keys/a/q"));
    let read = json!([{"does": "read", "key": "/a/x", "recursive": true}]);
    recorded(
        &log,
        &json!({"api": "v2", "method": "GET /v2/keys", "user": "alice", "keys": read, "code": "200"}),
    );
    let refused = "Insufficient credentials";
    recorded(
        &log,
        &json!({"method": "PUT /v2/keys", "user": "alice", "keys": put("/b/x"), "allowed": false, "error": refused, "code": "401"}),
    );
    recorded(
        &log,
        &json!({"method": "GET /v2/keys", "user": null, "claimed": "alice", "allowed": false, "code": "401"}),
    );
    recorded(
        &log,
        &json!({"method": "DELETE /v2/auth/users/alice", "user": "alice", "of_user": "alice", "allowed": false}),
    );
    recorded(
        &log,
        &json!({"method": "GET /v2/keys", "user": null, "keys": [{"does": "read", "key": "/a/q"}], "allowed": false}),
    );

    // Nobody's health is of interest.
    member.get("/health");
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("/health"), "{text}");
    for secret in SECRETS.iter().map(|secret| (*secret).to_owned()).chain([token]) {
        assert!(!text.contains(&secret) && !text.contains(&STANDARD.encode(&secret)), "{secret}");
    }
}

#[test]
fn the_file_is_its_owners_and_is_opened_anew_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (log, aside) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    let mut member = start(&log);
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    member.put("/before", "x");
    recorded(&log, &json!({"keys": [{"does": "write", "key": "/before"}]}));
    fs::rename(&log, &aside).unwrap();
    member.signal(Signal::SIGHUP);
    eventually(PATIENCE, "a new file", || log.exists().then_some(()));
    member.put("/after", "x");
    recorded(&log, &json!({"keys": [{"does": "write", "key": "/after"}]}));
    assert!(!fs::read_to_string(&aside).unwrap().contains("/after"));
    // What was asked last is written before the member ends, and what was there stays.
    member.put("/last", "x");
    member.stop();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("/last") && text.contains("/after"), "{text}");
    member.launch();
    member.wait_until_ready();
    assert!(fs::read_to_string(&log).unwrap().starts_with(&text));
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let start = Start::new().with("audit-log", Some("/no/such/dir/audit.log"));
    let output = run::run(&mut start.command(dir.path()), "");
    assert_eq!(output.exit, Some(1), "{output:?}");
    assert!(output.stderr.contains("--audit-log \"/no/such/dir/audit.log\": "), "{output:?}");
}
