//! Writes to an etcd, through both APIs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{Member, Request};
use serde_json::{Value, json};

pub(crate) fn text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn post(member: &Member, path: &str, body: &Value) -> Value {
    member.ask(&Request::json("POST", path, &body.to_string())).expect(&[200]).json()
}

/// Puts a key, and gives the revision.
pub(crate) fn put(member: &Member, key: &[u8], value: &[u8], lease: i64) -> i64 {
    let body = json!({"key": text(key), "value": text(value), "lease": lease.to_string()});
    let answer = post(member, "/v3/kv/put", &body);
    answer["header"]["revision"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

fn delete(member: &Member, from: &[u8], to: &[u8]) {
    post(member, "/v3/kv/deleterange", &json!({"key": text(from), "range_end": text(to)}));
}

fn grant(member: &Member, id: i64, ttl: i64) {
    post(member, "/v3/lease/grant", &json!({"ID": id.to_string(), "TTL": ttl.to_string()}));
}

/// Some of everything: many keys and revisions, deletions, large values, names of all bytes, leases,
/// transactions with many writes, a compaction.
pub(crate) fn v3(member: &Member) {
    for round in 0..3 {
        for at in 0..40 {
            put(
                member,
                format!("/v3/key{at:03}").as_bytes(),
                format!("{round}.{at}").as_bytes(),
                0,
            );
        }
    }
    for (id, ttl) in [(11, 1_000), (22, 5_000), (33, 9_000), (44, 3_000)] {
        grant(member, id, ttl);
    }
    for at in 0..5 {
        put(member, format!("leased{at}").as_bytes(), b"x", 11);
    }
    put(member, b"\x00\xff name", &(0..=255).collect::<Vec<u8>>(), 22);
    for size in [127, 128, 129, 4_000, 70_000, 1_000_000] {
        put(member, format!("large{size}").as_bytes(), &vec![b'l'; size], 0);
    }
    delete(member, b"/v3/key010", b"/v3/key015");
    let compacted = put(member, b"leased1", b"y", 0);
    post(
        member,
        "/v3/kv/compaction",
        &json!({"revision": compacted.to_string(), "physical": true}),
    );
    let puts: Vec<Value> = (0..100)
        .map(|at| json!({"request_put": {"key": text(format!("txn{at:02}").as_bytes()), "value": text(b"t")}}))
        .collect();
    let compare = json!({"key": text(b"nobody"), "target": "CREATE", "result": "EQUAL", "create_revision": "0"});
    post(member, "/v3/kv/txn", &json!({"compare": [compare], "success": puts}));
    put(member, b"/v3/key012", b"again", 0);
    delete(member, b"txn0", b"txn2");
    post(member, "/v3/lease/revoke", &json!({"ID": "44"}));
    put(member, b"leased2", b"other lease", 33);
}

/// Files, directories, times to live, and all kinds of writes that succeed or fail.
pub(crate) fn v2(member: &Member) {
    let ask = |method: &str, target: &str, form: &[(&str, &str)]| {
        let request = Request::new(method, &format!("/v2/keys{target}")).form(form);
        // 3.5 tells its refusals as errors of its own, 500.
        drop(member.ask(&request).expect(&[200, 201, 400, 403, 404, 412, 500]));
    };
    ask("PUT", "/a/b/c", &[("value", "1")]);
    ask("PUT", "/a/b/c", &[("value", "2"), ("prevExist", "true")]);
    ask("PUT", "/a/b/c", &[("value", "3"), ("prevValue", "2")]);
    ask("PUT", "/a/b/c", &[("value", "4"), ("prevValue", "no")]);
    ask("PUT", "/a/b/d", &[("value", "with time"), ("ttl", "1000")]);
    ask("PUT", "/dir", &[("dir", "true")]);
    ask("PUT", "/dir", &[("dir", "true"), ("ttl", "5000"), ("prevExist", "true")]);
    ask("PUT", "/dir/e", &[("value", "")]);
    ask("POST", "/queue", &[("value", "first")]);
    ask("POST", "/queue", &[("value", "second")]);
    ask("PUT", "/_hidden/x", &[("value", "h")]);
    ask("PUT", "/gone/x", &[("value", "g")]);
    ask("DELETE", "/gone?dir=true", &[]);
    ask("DELETE", "/gone?recursive=true", &[]);
    ask("PUT", "/\u{fc}ml\u{e4}ut", &[("value", "\u{4e16}\u{754c}")]);
    ask("PUT", "/file", &[("value", "1")]);
    ask("PUT", "/file", &[("dir", "true")]);
    ask("PUT", "/file/x", &[("value", "2")]);
    for at in 0..30 {
        ask("PUT", &format!("/many/{at}"), &[("value", &at.to_string())]);
    }
    ask("DELETE", "/many/7", &[]);
    ask("DELETE", "/many/8?prevValue=8", &[]);
    ask("PUT", "/many/9", &[("ttl", "700"), ("refresh", "true"), ("prevExist", "true")]);
    ask("PUT", "/many/10", &[("value", "last")]);
}
