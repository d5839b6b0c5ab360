//! The v3 API as JSON through the gateway.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{Answer, Connection, Member, Request, eventually};

/// How long members may take to come to the same.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes as JSON has them.
pub fn bytes(text: impl AsRef<[u8]>) -> Value {
    Value::String(STANDARD.encode(text))
}

/// The other way round, for reading.
pub fn text(bytes: &Value) -> String {
    let decoded = STANDARD.decode(bytes.as_str().unwrap_or_default()).expect("base64");
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A number of 64 bits: JSON has them as strings, and leaves zero out.
pub fn number(value: &Value) -> i64 {
    match value {
        Value::Null => 0,
        Value::String(text) => text.parse().expect("a number"),
        other => other.as_i64().expect("a number"),
    }
}

/// `POST /v3/…`, on a connection that is kept.
pub fn ask(connection: &mut Connection, path: &str, body: &Value) -> std::io::Result<Answer> {
    connection.ask(&Request::json("POST", &format!("/v3/{path}"), &body.to_string()))
}

/// The same, if all is well.
#[track_caller]
pub fn post(member: &Member, path: &str, body: &Value) -> Value {
    let answer = member.ask(&Request::json("POST", &format!("/v3/{path}"), &body.to_string()));
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
    answer.json()
}

/// Puts a key; the revision of that.
#[track_caller]
pub fn put(member: &Member, key: &str, value: &str) -> i64 {
    let put = post(member, "kv/put", &json!({"key": bytes(key), "value": bytes(value)}));
    number(&put["header"]["revision"])
}

/// Where a member's keyspace stands, without asking others.
pub fn revision(member: &Member) -> i64 {
    let asked = json!({"key": bytes("x"), "serializable": true, "count_only": true});
    number(&post(member, "kv/range", &asked)["header"]["revision"])
}

/// The hash of a member's keyspace at a revision, with where history begins.
pub fn hash(member: &Member, revision: i64) -> (Value, i64) {
    let hash = post(member, "maintenance/hashkv", &json!({"revision": revision}));
    (hash["hash"].clone(), number(&hash["compact_revision"]))
}

/// Waits until all members have applied the same, and holds their keyspaces and histories against each
/// other; the revision at which they stand.
#[track_caller]
pub fn agree(members: &[Member]) -> i64 {
    let revision = eventually(PATIENCE, "all have applied all", || {
        let revisions: Vec<_> = members.iter().map(revision).collect();
        revisions.iter().all(|one| *one == revisions[0]).then_some(revisions[0])
    });
    let hashes: Vec<_> = members.iter().map(|member| hash(member, revision)).collect();
    assert!(hashes.iter().all(|one| *one == hashes[0]), "members differ at {revision}: {hashes:?}");
    revision
}
