//! What the audit log is told of every method.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::methods::{
    Caller, Needs::Nothing, Row, begin_json, expected, is_refusal, metadata, paths, prepare, rows,
};
use crate::{
    client::Client,
    member::{Member, eventually},
};

/// What whoever keeps an audit log is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<api::Record>>);

impl api::AuditLog for Told {
    fn keep(&self, record: api::Record) {
        self.0.lock().unwrap().push(record);
    }
}

impl Told {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Waits until the records of what has been answered are there.
    fn settle(&self) {
        let mut seen = usize::MAX;
        eventually("no more records come", || {
            std::thread::sleep(Duration::from_millis(100));
            let before = std::mem::replace(&mut seen, self.count());
            before == seen
        });
    }

    /// The record that comes next, after so many; and no second one.
    #[track_caller]
    fn next(&self, after: usize, of: &str) -> api::Record {
        eventually(&format!("a record of {of}"), || self.count() > after);
        let records = self.0.lock().unwrap();
        assert_eq!(records.len(), after + 1, "{of}: {:?}", &records[after..]);
        records[after].clone()
    }
}

/// A member, and what is recorded there.
fn audited() -> (Member, Arc<Told>) {
    let told = Arc::new(Told::default());
    let audit: api::Audit = Arc::<Told>::clone(&told);
    let auth = api::AuthConfig { bcrypt_cost: 4, ..api::AuthConfig::default() };
    let member =
        Member::start_with(api::Config { auth, audit: Some(audit), ..api::Config::default() });
    (member, told)
}

/// What is asked is told of as well, beyond the keys.
fn tells_what(record: &api::Record) -> bool {
    let about = &record.about;
    match &record.method[..] {
        "etcdserverpb.KV/Compact" => about.revision == Some(999),
        "etcdserverpb.Maintenance/MoveLeader" | "etcdserverpb.Cluster/MemberRemove" => {
            about.member.as_deref() == Some("9")
        }
        "etcdserverpb.Cluster/MemberAdd" => about.peer_urls == ["x"],
        "etcdserverpb.Cluster/MemberUpdate" => about.peer_urls == ["http://127.0.0.1:1"],
        "etcdserverpb.Maintenance/Alarm" => {
            about.alarm.as_deref() == Some("DEACTIVATE NOSPACE")
                && about.member.as_deref() == Some("1")
        }
        "etcdserverpb.Maintenance/Downgrade" => about.downgrade.as_deref() == Some("VALIDATE x"),
        "etcdserverpb.Auth/RoleGrantPermission" => record.keys[0].kind == Some("read"),
        _ => true,
    }
}

/// By whoever may and whoever may not, over gRPC and through the gateway.
#[test]
fn every_method_leaves_one_record() {
    let (member, told) = audited();
    let client = Client::connect(&member);
    let callers = prepare(&member, &client);
    told.settle();
    for Row { method, message, json, needs } in rows() {
        for caller in &callers {
            // What root has disabled or locked is not asked for again.
            let asks_twice = caller.name != "root";
            let of = format!("{method} by {}", caller.name);
            let check = |record: &api::Record, api| {
                assert_eq!((record.api, &record.method[..]), (api, method), "{of}");
                let who = match caller.name {
                    _ if needs == Nothing => api::Who::Unknown,
                    "idle" | "alice" | "root" => api::Who::User,
                    _ => api::Who::Unknown,
                };
                assert_eq!(record.who, who, "{of}: {record:?}");
                let refusal = record.error.as_deref().filter(|text| is_refusal(text));
                assert_eq!(refusal, expected(caller.name, needs), "{of}: {record:?}");
                assert_eq!(record.allowed, record.error.is_none(), "{of}: {record:?}");
                assert_ne!(record.code, "Cancelled", "{of}");
                assert!(tells_what(record), "{of}: {record:?}");
            };
            let after = told.count();
            let mut call = client.begin::<(), ()>(&metadata(caller), &format!("/{method}"));
            call.send_raw(crate::client::framed(0, &message));
            call.close();
            while let Some(Ok(())) = call.next() {}
            check(&told.next(after, &of), "v3");
            for path in paths(method).iter().take(usize::from(asks_twice)) {
                let (after, mut wire) = (told.count(), member.connect());
                begin_json(&mut wire, caller, path, &json);
                wire.answer();
                check(&told.next(after, &of), "v3-json");
            }
        }
    }
}

/// Before anybody has asked who asks.
#[test]
fn what_is_refused_at_once_or_cannot_be_read_leaves_a_record_too() {
    let (member, told) = audited();
    let client = Client::connect(&member);
    for Row { method, message, .. } in rows() {
        let after = told.count();
        let metadata = [("client-api-version", &b"\xff"[..])];
        let mut call = client.begin::<(), ()>(&metadata, &format!("/{method}"));
        call.send_raw(crate::client::framed(0, &message));
        call.close();
        while let Some(Ok(())) = call.next() {}
        let record = told.next(after, method);
        assert_eq!((record.api, &record.method[..]), ("v3", method));
        assert_eq!((&record.code[..], record.who), ("InvalidArgument", api::Who::NotAsked));
        // Questions that come one after the other, and what takes none, have been begun by then.
        let begins = method.ends_with("LeaseKeepAlive") || method.ends_with("Snapshot");
        for path in paths(method).iter().filter(|_| !begins) {
            let (after, mut wire) = (told.count(), member.connect());
            begin_json(&mut wire, &Caller { name: "nobody", token: None }, path, "{");
            wire.answer().expect(400);
            let record = told.next(after, path);
            assert_eq!((record.api, &record.method[..]), ("v3-json", method));
            assert_eq!(record.code, "400", "{path}");
        }
    }
}

/// Of a stream there are records of what is asked on it, and so of what is asked there in words that nobody understands.
#[test]
fn a_question_of_a_stream_that_cannot_be_read_leaves_a_record() {
    let (member, told) = audited();
    let lease = "etcdserverpb.Lease/LeaseKeepAlive";
    let watch = "etcdserverpb.Watch/Watch";
    let keeps = r#"{"ID": "7"}"#;
    let watches = r#"{"create_request": {"key": "YQ=="}}"#;
    for (method, path, good) in [(lease, "lease/keepalive", keeps), (watch, "watch", watches)] {
        for (before, bad) in [("", "{]"), (good, r#"{"nonsense": }"#)] {
            let (after, mut wire) = (told.count(), member.connect());
            begin_json(
                &mut wire,
                &Caller { name: "nobody", token: None },
                path,
                &format!("{before}{bad}"),
            );
            wire.answer().expect(200);
            let of = format!("{path} {before}{bad}");
            let expected = if before.is_empty() { 1 } else { 2 };
            eventually(&of, || told.count() >= after + expected);
            told.settle();
            let records = told.0.lock().unwrap().split_off(after);
            assert!(records.iter().all(|one| (one.api, &one.method[..]) == ("v3-json", method)));
            // What can be answered may be over later.
            let mut codes: Vec<&str> = records.iter().map(|record| &record.code[..]).collect();
            codes.sort_unstable();
            assert_eq!(codes, &["InvalidArgument", "OK"][..expected], "{of}");
        }
        // Whoever merely goes away has said nothing that could not be read.
        let (after, mut wire) = (told.count(), member.connect());
        wire.send(format!(
            "POST /v3/{path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"
        ));
        wire.head();
        drop(wire);
        told.settle();
        assert_eq!(told.count(), after, "{path}");
    }
    let client = Client::connect(&member);
    for method in [lease, watch] {
        let after = told.count();
        let mut call = client.begin::<(), ()>(&[], &format!("/{method}"));
        call.send_raw(crate::client::framed(0, b"\xff\xff"));
        call.close();
        while let Some(Ok(())) = call.next() {}
        let record = told.next(after, method);
        assert_eq!((record.api, &record.method[..]), ("v3", method));
        assert_eq!(record.code, "Internal");
    }
}

/// What is neither v2's nor v3's, and changes or shows what is not everybody's.
#[test]
fn what_operators_ask_leaves_a_record() {
    let (member, told) = audited();
    let client = Client::connect(&member);
    let mut wire = member.connect();
    let mut ask = |method: &str, target: &str, basic: &str, body: &str| {
        let after = told.count();
        let basic = BASE64_STANDARD.encode(basic);
        wire.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        wire.answer();
        told.next(after, target)
    };
    let level = r#"{"Level":"debug"}"#;
    let record = ask("PUT", "/config/local/log", "", level);
    assert_eq!((record.api, &record.method[..]), ("http", "PUT /config/local/log"));
    assert_eq!((record.who, &record.code[..]), (api::Who::NotAsked, "204"));
    assert_eq!(record.about.level.as_deref(), Some("debug"));
    let record = ask("GET", "/debug/pprof/cmdline", "", "");
    assert_eq!((&record.method[..], &record.code[..]), ("GET /debug/pprof/cmdline", "404"));
    prepare(&member, &client);
    told.settle();
    for (basic, user, allowed, code) in [
        ("root:rootpw", Some("root"), true, "204"),
        ("alice:alicepw", Some("alice"), false, "401"),
        ("root:alicepw", None, false, "401"),
    ] {
        let record = ask("PUT", "/config/local/log", basic, level);
        assert_eq!((record.user.as_deref(), record.allowed), (user, allowed), "{basic}");
        assert_eq!(record.code, code, "{basic}");
    }
    let record = ask("GET", "/v2/members", "root:rootpw", "");
    assert_eq!(record.who, api::Who::NotAsked, "it is all one who asks");
}
