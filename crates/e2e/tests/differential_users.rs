//! Random changes of users, roles and permissions, and what these then permit: the same through the
//! JSON gateway to real etcd 3.4.23 and to ours; through v2 in `differential_users/v2.rs`.
//!
//! `RETCD_SEED` repeats a run, `RETCD_USER_SCENARIOS` makes it longer (seconds for each: passwords cost
//! time).

#[path = "differential_users/v2.rs"]
mod v2;

use std::{collections::BTreeMap, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{Connection, Member, Request, Start, binaries, rings};
use serde_json::{Value, json};

const STEPS: usize = 120;
const NAMES: [&str; 4] = ["root", "alice", "bob", ""];
const ROLES: [&str; 4] = ["root", "r", "s", ""];
/// Ranges of permissions. No two begin alike: of such the original keeps doubles.
const RANGES: [(&str, &str); 7] =
    [("a", ""), ("b", "d"), ("d", "f"), ("e", "\0"), ("f", ""), ("a\0", "b"), ("\0", "a")];
/// And of requests.
const ASKED: [(&str, &str); 12] = [
    ("a", ""),
    ("a", "b"),
    ("a\0", ""),
    ("b", ""),
    ("b", "c"),
    ("b", "f"),
    ("c", "e"),
    ("f", "\0"),
    ("e", "\0"),
    ("a", "\0"),
    ("\0", "\0"),
    ("d", ""),
];

/// One server, with the tokens that it has given out.
struct Side {
    connection: Connection,
    tokens: BTreeMap<&'static str, String>,
}

/// What is asked, and on whose behalf.
#[derive(Clone, Debug)]
struct Asked {
    by: &'static str,
    method: &'static str,
    question: Value,
}

fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn any<T: Copy>(rng: &mut fastrand::Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

fn next(rng: &mut fastrand::Rng) -> Asked {
    let (name, role) = (any(rng, &NAMES), any(rng, &ROLES));
    let (key, range_end) = any(rng, &RANGES);
    let (key, range_end) = (base64(key), base64(range_end));
    // Whoever may change them does so most of the time.
    let by = if rng.u8(..3) > 0 { "root" } else { any(rng, &NAMES) };
    let password = |name: &str| format!("{name}pw");
    let (method, question) = match rng.u8(..22) {
        0 | 1 => ("auth/user/add", json!({ "name": name, "password": password(name) })),
        2 => ("auth/user/delete", json!({ "name": name })),
        3 => ("auth/user/get", json!({ "name": name })),
        4 => ("auth/user/list", json!({})),
        5 => ("auth/user/changepw", json!({ "name": name, "password": password(name) })),
        6 | 7 => ("auth/user/grant", json!({ "user": name, "role": role })),
        8 => ("auth/user/revoke", json!({ "name": name, "role": role })),
        9 => ("auth/role/add", json!({ "name": role })),
        10 if rng.bool() => ("auth/role/delete", json!({ "role": role })),
        10 | 11 => ("auth/role/get", json!({ "role": role })),
        12 => ("auth/role/list", json!({})),
        13..16 => {
            let kind = any(rng, &["READ", "WRITE", "READWRITE"]);
            let perm = json!({ "permType": kind, "key": key, "range_end": range_end });
            ("auth/role/grant", json!({ "name": role, "perm": perm }))
        }
        16 => ("auth/role/revoke", json!({ "role": role, "key": key, "range_end": range_end })),
        17 if rng.u8(..4) == 0 => ("auth/disable", json!({})),
        17 | 18 => ("auth/enable", json!({})),
        _ => return keys(rng),
    };
    Asked { by, method, question }
}

/// Without a root user nothing would ever be asked of anybody.
fn beginning(step: usize) -> Option<Asked> {
    let user = |name: &str| json!({ "name": name, "password": format!("{name}pw") });
    let (method, question) = match step {
        0 => ("auth/user/add", user("root")),
        1 => ("auth/user/grant", json!({ "user": "root", "role": "root" })),
        2 => ("auth/user/add", user("alice")),
        3 => ("auth/role/add", json!({ "name": "r" })),
        4 => ("auth/user/grant", json!({ "user": "alice", "role": "r" })),
        5 => ("auth/enable", json!({})),
        _ => return None,
    };
    Some(Asked { by: "", method, question })
}

/// What permissions are for.
fn keys(rng: &mut fastrand::Rng) -> Asked {
    let by = any(rng, &NAMES);
    let (key, range_end) = any(rng, &ASKED);
    let (key, range_end) = (base64(key), base64(range_end));
    let range = json!({ "key": key, "range_end": range_end });
    let put = json!({ "key": key, "value": base64("x") });
    let (method, question) = match rng.u8(..5) {
        0 => ("kv/range", range),
        1 => ("kv/put", put),
        2 => ("kv/deleterange", range),
        3 => ("kv/deleterange", json!({ "key": key, "range_end": range_end, "prev_kv": true })),
        _ => {
            let compare = json!({ "key": key, "target": "VERSION", "version": "0" });
            let (success, failure) =
                (json!({ "request_range": range }), json!({ "request_put": put }));
            ("kv/txn", json!({ "compare": [compare], "success": [success], "failure": [failure] }))
        }
    };
    Asked { by, method, question }
}

impl Side {
    fn new(member: &Member) -> Self {
        Self { connection: member.connect(), tokens: BTreeMap::new() }
    }

    fn post(&mut self, token: Option<&str>, method: &str, question: &Value) -> (u16, Value) {
        let mut request = Request::new("POST", &format!("/v3/{method}")).body(question.to_string());
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let answer = self.connection.ask(&request).expect("an answer comes");
        (answer.status, answer.json())
    }

    /// Asks with the user's token, logging in if there is none that is good.
    fn ask(&mut self, Asked { by, method, question }: &Asked) -> Value {
        for _ in 0..2 {
            if !by.is_empty() && !self.tokens.contains_key(by) {
                let asked = json!({ "name": by, "password": format!("{by}pw") });
                let (_, answer) = self.post(None, "auth/authenticate", &asked);
                if let Some(token) = answer["token"].as_str() {
                    self.tokens.insert(by, token.to_owned());
                } else if answer["message"] != "etcdserver: authentication is not enabled" {
                    return told(&answer);
                }
            }
            let token = self.tokens.get(by).cloned();
            let (_, answer) = self.post(token.as_deref(), method, question);
            if answer["message"] != "etcdserver: invalid auth token" {
                return told(&answer);
            }
            self.tokens.remove(by);
        }
        json!("its tokens are no good")
    }
}

/// What is comparable of an answer.
fn told(answer: &Value) -> Value {
    if let Some(message) = answer.get("message") {
        return json!({ "message": message, "code": answer["code"] });
    }
    let mut answer = answer.clone();
    if let Some(fields) = answer.as_object_mut() {
        for name in ["header", "kvs", "prev_kvs", "responses"] {
            fields.remove(name);
        }
    }
    answer
}

/// Where ours differs: 3.4 shows what was granted to the role `root`, which permits all whatever it
/// says.
fn is_meant(asked: &Asked, theirs: &Value) -> bool {
    let is_root = asked.question["role"].as_str() == Some("root");
    let shows_root = asked.method == "auth/role/get" && is_root && theirs.get("message").is_none();
    // Who has no name is himself a user without a name, there.
    let is_himself = asked.by.is_empty() && asked.question["name"] == "";
    shows_root || (asked.method == "auth/user/get" && is_himself)
}

/// Real etcd 3.4, if it is here.
fn original() -> Option<PathBuf> {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    rings::can_run("real-etcd", original.is_some(), why_not).then_some(original).flatten()
}

#[test]
fn random_changes_of_users_are_answered_as_by_real_etcd() {
    let Some(original) = original() else { return };
    let seed = e2e::count("RETCD_SEED", fastrand::u64(..1 << 32));
    let scenarios = e2e::count("RETCD_USER_SCENARIOS", 4);
    println!("RETCD_SEED={seed} RETCD_USER_SCENARIOS={scenarios}");
    let (mut steps, mut meant, mut denied) = (0, 0, 0);
    for seed in seed..seed + scenarios {
        let theirs = Start::original(original.clone()).flag("--bcrypt-cost=4").start();
        let mut ours = Start::new().flag("--bcrypt-cost=4").start();
        ours.allow("invalid authentication was requested");
        let mut sides = [Side::new(&theirs), Side::new(&ours)];
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut story = Vec::new();
        for step in 0..STEPS {
            let asked = beginning(step).unwrap_or_else(|| next(&mut rng));
            let [theirs, ours] = &mut sides;
            let (theirs, ours) = (theirs.ask(&asked), ours.ask(&asked));
            steps += 1;
            denied += usize::from(ours["message"] == "etcdserver: permission denied");
            story.push(format!("{asked:?}\n    {theirs}"));
            if theirs != ours && is_meant(&asked, &theirs) {
                meant += 1;
                continue;
            }
            let last = story.len().saturating_sub(30);
            assert_eq!(theirs, ours, "RETCD_SEED={seed}:\n{}", story[last..].join("\n"));
        }
    }
    println!("{steps} steps compared, {denied} of them denied; {meant} differ as they should");
}
