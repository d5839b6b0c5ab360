//! Asks an etcd everything, in a form that does not depend on which one it is.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{Member, Request, binaries, run};
use serde_json::{Value, json};

use super::fill::{post, text};

/// Answers by what was asked.
pub(crate) type Answers = BTreeMap<String, Value>;

const ALL: &str = "AA==";

fn current(member: &Member) -> i64 {
    number(&post(member, "/v3/kv/range", &json!({"key": text(b"x")}))["header"]["revision"])
}

fn number(value: &Value) -> i64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Without what differs from cluster to cluster.
fn plain(mut answer: Value) -> Value {
    if let Some(header) = answer.get_mut("header") {
        *header = json!({"revision": header["revision"]});
    }
    answer
}

fn range(member: &Member, body: &Value) -> Value {
    let answer = member.ask(&Request::json("POST", "/v3/kv/range", &body.to_string()));
    let mut json = plain(answer.json());
    json["status"] = answer.status.into();
    // 3.4 has more to say of an error.
    if let Some(fields) = json.as_object_mut() {
        fields.remove("error");
        fields.remove("details");
    }
    json
}

/// Ranges at every revision, watches from the past, leases, the hash of history.
pub(crate) fn v3(member: &Member) -> Answers {
    let now = current(member);
    let mut answers = history(member, now);
    for (name, body) in [
        ("all", json!({"key": ALL, "range_end": ALL})),
        (
            "some",
            json!({"key": text(b"/v3/"), "range_end": text(b"/v30"), "limit": "7", "sort_order": "DESCEND"}),
        ),
        ("count", json!({"key": ALL, "range_end": ALL, "count_only": true})),
    ] {
        answers.insert(name.to_owned(), range(member, &body));
    }
    answers.insert("revision".to_owned(), now.into());
    answers.insert("all by gRPC".to_owned(), all_by_grpc(member));
    answers.insert("hash".to_owned(), hash(member));
    let leases = post(member, "/v3/lease/leases", &json!({}));
    let mut ids: Vec<i64> = leases["leases"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|lease| number(&lease["ID"]))
        .collect();
    ids.sort_unstable();
    for id in &ids {
        let live =
            post(member, "/v3/lease/timetolive", &json!({"ID": id.to_string(), "keys": true}));
        let mut keys: Vec<Value> = live["keys"].as_array().cloned().unwrap_or_default();
        // The original has them in no order.
        keys.sort_unstable_by_key(Value::to_string);
        answers.insert(format!("lease {id}"), json!([live["grantedTTL"], keys]));
    }
    answers.insert("leases".to_owned(), ids.into());
    answers
}

/// Every key with its value, its revisions, its version and its lease, as real `etcdctl` gets it.
fn all_by_grpc(member: &Member) -> Value {
    let etcdctl = binaries::real_etcdctl().expect("it comes with real etcd");
    let mut command = run::etcdctl_v3(&etcdctl, &member.url());
    let output = run::run(command.args(["get", "", "--from-key", "--write-out", "json"]), "");
    let mut found: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert!(found["kvs"][0]["mod_revision"].is_number(), "{output:?}");
    found["header"] = json!({"revision": found["header"]["revision"]});
    found
}

/// Of all history, as etcd computes it.
fn hash(member: &Member) -> Value {
    let etcdctl = binaries::real_etcdctl().expect("it comes with real etcd");
    let mut command = run::etcdctl_v3(&etcdctl, &member.url());
    let output = run::run(command.args(["endpoint", "hashkv", "--write-out", "json"]), "");
    let found: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let found = &found[0]["HashKV"];
    assert!(found["hash"].as_u64().is_some_and(|hash| hash != 0), "{output:?}");
    json!([found["hash"], found["compact_revision"]])
}

/// The revision at which these were given.
pub(crate) fn revision(answers: &Answers) -> i64 {
    answers["revision"].as_i64().unwrap_or(0)
}

/// What lies in the past, as far as the other answers go.
pub(crate) fn v3_history(member: &Member, like: &Answers) -> Answers {
    history(member, revision(like))
}

fn history(member: &Member, now: i64) -> Answers {
    let mut answers = Answers::new();
    for at in 1..=now {
        let mut found = range(
            member,
            &json!({"key": ALL, "range_end": ALL, "revision": at.to_string(), "keys_only": true}),
        );
        // The current revision is another matter.
        found["header"] = Value::Null;
        answers.insert(format!("at {at}"), found);
    }
    let first = (1..=now).find(|at| answers[&format!("at {at}")]["status"] == 200);
    let first = first.expect("the current revision can be read");
    answers.insert("events".to_owned(), events(member, first, now));
    answers
}

/// All events from one revision to another.
fn events(member: &Member, from: i64, to: i64) -> Value {
    let create = json!({"create_request": {
        "key": ALL, "range_end": ALL, "start_revision": from.to_string(), "prev_kv": true,
    }});
    let mut connection = member.connect();
    connection.send(&Request::json("POST", "/v3/watch", &create.to_string())).expect("it is sent");
    connection.receive_head().expect("a head");
    let (mut text, mut events) = (String::new(), Vec::new());
    loop {
        let chunk = connection.receive_chunk().expect("a chunk").expect("more");
        text += &String::from_utf8(chunk).expect("text");
        while let Some((line, rest)) = text.split_once('\n') {
            let message: Value = serde_json::from_str(line).expect("a message");
            text = rest.to_owned();
            let new = message["result"]["events"].as_array().cloned().unwrap_or_default();
            let is_before = |event: &&Value| number(&event["kv"]["mod_revision"]) <= to;
            events.extend(new.iter().filter(is_before).cloned());
            if new.iter().any(|event| number(&event["kv"]["mod_revision"]) >= to) {
                return events.into();
            }
        }
    }
}

/// The names of all keys, as v3 sees them.
pub(crate) fn keys(member: &Member) -> Vec<String> {
    let found = range(member, &json!({"key": ALL, "range_end": ALL, "keys_only": true}));
    let name = |pair: &Value| {
        let bytes = STANDARD.decode(pair["key"].as_str().unwrap_or_default()).expect("base64");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    found["kvs"].as_array().into_iter().flatten().map(name).collect()
}

/// The whole tree, without what runs down.
pub(crate) fn v2_tree(member: &Member) -> Value {
    let mut answer = member.get("/v2/keys/?recursive=true&sorted=true").expect(&[200]).json();
    strip(&mut answer, &["ttl"]);
    answer["node"].take()
}

pub(crate) fn v2(member: &Member) -> Value {
    let mut answers = json!({"tree": v2_tree(member), "index": member.get("/v2/keys/").index()});
    for path in
        ["/a/b/c", "/_hidden?recursive=true", "/queue?recursive=true&sorted=true", "/none", "/gone"]
    {
        let answer = member.get(&format!("/v2/keys{path}"));
        let mut json = answer.json();
        strip(&mut json, &["ttl"]);
        answers[path] = json;
    }
    answers
}

/// Events from an index on, one after the other.
pub(crate) fn v2_events(member: &Member, since: u64) -> Value {
    let last = member.get("/v2/keys/").index();
    let mut events = Vec::new();
    let mut next = since;
    while next <= last {
        let target = format!("/v2/keys/?wait=true&recursive=true&waitIndex={next}");
        let mut event = member.get(&target).expect(&[200]).json();
        strip(&mut event, &["ttl"]);
        next = event["node"]["modifiedIndex"].as_u64().expect("an index") + 1;
        events.push(event);
    }
    events.into()
}

/// The tree without its numbers.
pub(crate) fn without_indexes(tree: &Value) -> Value {
    let mut tree = tree.clone();
    strip(&mut tree, &["modifiedIndex", "createdIndex"]);
    tree
}

fn strip(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !names.contains(&&name[..]));
            fields.values_mut().for_each(|value| strip(value, names));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| strip(value, names)),
        _ => {}
    }
}

/// A member of ours shows v3's keys too.
pub(crate) fn only_v2(tree: &mut Value) {
    if let Some(nodes) = tree["nodes"].as_array_mut() {
        nodes.retain(|node| node["key"] != "/v3");
    }
}
