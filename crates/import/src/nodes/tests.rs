//! Stores and requests as etcd 2 writes them.

use std::{path::Path, sync::Arc};

use base::{Disk, disk::MemDisk};
use bytes::Bytes;
use mvcc::{Action, Kind, Record};
use proto::authpb::{Permission, permission::Type};
use serde_json::{Value, json};

use super::{Nodes, store};
use crate::{
    Note,
    messages::{ConfChange, Request},
    snap::Snap,
};

const NEVER: &str = "0001-01-01T00:00:00Z";

fn file(path: &str, value: &str, (created, modified): (u64, u64)) -> Value {
    json!({"Path": path, "CreatedIndex": created, "ModifiedIndex": modified,
        "ExpireTime": NEVER, "Value": value, "Children": null})
}

fn dir(path: &str, created: u64, children: &[Value]) -> Value {
    let name = |child: &Value| {
        let path = child["Path"].as_str().unwrap();
        path.rsplit('/').next().unwrap().to_owned()
    };
    let children: serde_json::Map<_, _> =
        children.iter().map(|child| (name(child), child.clone())).collect();
    json!({"Path": path, "CreatedIndex": created, "ModifiedIndex": created,
        "ExpireTime": NEVER, "Value": "", "Children": children})
}

fn store_of(children: &[Value], index: u64, events: &[Value]) -> Value {
    let root = dir("/", 0, &[dir("/0", 0, &[]), dir("/1", 0, children)]);
    json!({"Root": root, "CurrentIndex": index, "CurrentVersion": 2, "Stats": {},
        "WatcherHub": {"EventHistory": {
            "Queue": {"Events": events, "Size": events.len(), "Front": 0, "Back": 0, "Capacity": 1000},
            "StartIndex": 0, "LastIndex": index}}})
}

fn open(store: Option<&Value>) -> Nodes {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    disk.create_dir_all(Path::new("/d")).unwrap();
    let snap = store.map(|store| Snap { index: 9, store: Bytes::from(store.to_string()) });
    Nodes::open(&disk, Path::new("/d/nodes"), snap.as_ref(), Path::new("/snap")).unwrap()
}

fn request(method: &str, path: &str, value: &str) -> Request {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Request { method: method.to_owned(), path: path.to_owned(), value, ..Request::default() }
}

/// What came of it, as `index.sub path=value`, with a `-` in front of deletions and a `~` in front of
/// what nobody is told; and the standing.
fn history(nodes: &Nodes) -> (Vec<String>, i64, i64) {
    let mut all = Vec::new();
    let show = |record: &Record| {
        let sign = if record.deleted { "-" } else { "" };
        let told = if record.told { "" } else { "~" };
        let kind = if record.kind == Kind::Dir { "/" } else { "=" };
        let (name, value) = (&record.name[..], &record.value[..]);
        let [name, value] = [name, value].map(String::from_utf8_lossy);
        format!("{} {sign}{told}{name}{kind}{value}", record.revision.main)
    };
    let standing = nodes.each_revision(&mut |records| {
        all.extend(records.iter().map(show));
        Ok(())
    });
    let standing = standing.unwrap();
    (all, standing.revision, standing.compacted)
}

#[test]
fn requests_take_the_numbers_that_they_took() {
    let mut nodes = open(None);
    nodes.apply_change(&ConfChange { kind: 0, context: Bytes::new() }).unwrap();
    nodes.apply(&request("PUT", "/0/members/1/attributes", "{}")).unwrap();
    assert_eq!(nodes.index(), 2);
    nodes.apply(&request("PUT", "/1/a/b", "1")).unwrap();
    nodes.apply(&Request { prev_index: 99, ..request("PUT", "/1/a/b", "no") }).unwrap();
    nodes.apply(&Request { prev_exist: Some(true), ..request("PUT", "/1/a/b", "2") }).unwrap();
    nodes.apply(&Request { prev_exist: Some(false), ..request("PUT", "/1/a/b", "no") }).unwrap();
    nodes.apply(&request("POST", "/1/q", "x")).unwrap();
    nodes
        .apply(&Request { expiration: 2_000_000_000_000_000_000, ..request("PUT", "/1/t", "") })
        .unwrap();
    nodes.apply(&request("QGET", "/1/a", "")).unwrap();
    nodes.apply(&Request { recursive: true, ..request("DELETE", "/1", "") }).unwrap();
    nodes.apply(&Request { time: 2_000_000_000_000_000_001, ..request("SYNC", "", "") }).unwrap();
    nodes.apply(&Request { recursive: true, ..request("DELETE", "/1/a/", "") }).unwrap();
    let (all, revision, compacted) = history(&nodes);
    let expected = [
        "3 ~/a/",
        "3 /a/b=1",
        "4 /a/b=2",
        "5 ~/q/",
        "5 /q/00000000000000000005=x",
        "6 /t=",
        "7 -/t=",
        "8 -~/a/b=",
        "8 -/a/",
    ];
    assert_eq!(all, expected);
    assert_eq!((revision, compacted), (8, -1));
}

#[test]
fn a_store_without_events_begins_with_what_it_holds() {
    let children = [dir("/1/a", 4, &[file("/1/a/b", "x", (4, 7))]), file("/1/c", "y", (6, 6))];
    let mut nodes = open(Some(&store_of(&children, 11, &[])));
    assert_eq!(history(&nodes), (vec!["4 /a/".into(), "6 /c=y".into(), "7 /a/b=x".into()], 11, 11));
    nodes.apply(&request("PUT", "/1/c", "z")).unwrap();
    assert_eq!(history(&nodes).0[2..], ["7 /a/b=x", "12 /c=z"], "what is overwritten is history");
    let live = nodes.live().unwrap();
    let names: Vec<Bytes> = live.names().collect();
    assert_eq!(names, ["/a", "/a/b", "/c"]);
    assert_eq!((live.dirs, live.len()), (1, 3));
}

/// As JSON in nodes beside those of clients, from the snapshot and the log.
#[test]
fn users_and_roles_are_read_with_what_is_meant_by_them() {
    let alice = json!({"user": "alice", "password": "$2a$10$a", "roles": ["a", "gone"]});
    let users = dir("/2/users", 5, &[file("/2/users/alice", &alice.to_string(), (6, 6))]);
    let mut store = store_of(&[], 11, &[]);
    store["Root"]["Children"]["2"] = dir("/2", 5, &[users, dir("/2/roles", 5, &[])]);
    let mut nodes = open(Some(&store));
    let mut notes = Vec::new();
    assert!(!nodes.auth(&mut notes).unwrap().enabled);
    let kv =
        |read: Value, write: Value| json!({"permissions": {"kv": {"read": read, "write": write}}});
    for (path, value) in [
        ("/2/users/root", json!({"user": "root", "password": "$2a$10$r", "roles": null})),
        ("/2/users/broken", json!("of text")),
        ("/2/roles/a", kv(json!(["/a/*", "/one", ""]), json!(null))),
        ("/2/roles/guest", kv(json!(["*"]), json!(["/*"]))),
        ("/2/enabled", json!(true)),
    ] {
        nodes.apply(&request("PUT", path, &value.to_string())).unwrap();
    }
    let parts = nodes.auth(&mut notes).unwrap();
    assert!(parts.enabled && parts.anonymous);
    let shown = |name: &str| {
        let user = &parts.users[name];
        (user.password_hash.clone().unwrap(), user.roles.iter().cloned().collect::<Vec<_>>())
    };
    assert_eq!(shown("alice"), ("$2a$10$a".into(), vec!["a".to_owned()]));
    assert_eq!(shown("root"), ("$2a$10$r".into(), vec!["root".to_owned()]));
    let ranges = |name: &str| {
        let permission = |one: Permission| (one.perm_type(), one.key, one.range_end);
        parts.roles[name].permissions().into_iter().map(permission).collect::<Vec<_>>()
    };
    let read = |key: &'static str, end: &'static str| (Type::Read, key.into(), end.into());
    assert_eq!(ranges("a"), [read("/a/", "/a0"), read("/one", "")]);
    let write = (Type::Write, "/".into(), "0".into());
    assert_eq!(ranges("guest"), [read("\0", "\0"), write]);
    let told: Vec<String> = notes.iter().map(Note::to_string).collect();
    assert_eq!(
        told,
        [
            "role a: a permission that permits nothing was left out",
            "user broken was left out, since it cannot be read",
        ]
    );
    assert_eq!((parts.users.len(), parts.roles.len()), (2, 2));
}

fn event(action: &str, node: &Value, prev: Option<Value>) -> Value {
    let mut event = json!({"action": action, "node": node});
    if let Some(prev) = prev {
        event["prevNode"] = prev;
    }
    event
}

fn node(key: &str, value: &str, (created, modified): (u64, u64)) -> Value {
    json!({"key": key, "value": value, "createdIndex": created, "modifiedIndex": modified})
}

/// `/1/old` was there; then `/1/d/x` was set, `/1/old` changed, `/1/d` deleted, `/1/n` made.
fn story() -> (Vec<Value>, Vec<Value>) {
    let children = vec![file("/1/old", "2", (4, 11)), file("/1/n", "n", (13, 13))];
    let gone = json!({"key": "/1/d", "dir": true, "createdIndex": 10, "modifiedIndex": 12});
    let was = json!({"key": "/1/d", "dir": true, "createdIndex": 10, "modifiedIndex": 10});
    let events = vec![
        event("set", &node("/1/d/x", "x", (10, 10)), None),
        event("compareAndSwap", &node("/1/old", "2", (4, 11)), Some(node("/1/old", "1", (4, 4)))),
        event("delete", &gone, Some(was)),
        event("create", &node("/1/n", "n", (13, 13)), None),
    ];
    (children, events)
}

#[test]
fn events_that_a_store_kept_are_history_again() {
    let (children, events) = story();
    let nodes = open(Some(&store_of(&children, 13, &events)));
    let (all, revision, compacted) = history(&nodes);
    let expected = ["10 ~/d/", "10 /d/x=x", "11 /old=2", "12 -~/d/x=", "12 -/d/", "13 /n=n"];
    assert_eq!(all[all.len() - 6..], expected);
    assert_eq!(all[0], "4 /old=1");
    assert_eq!((revision, compacted), (13, 10));
}

#[test]
fn events_that_do_not_lead_to_the_store_are_left_out() {
    let (children, events) = story();
    for damage in 0..4 {
        let mut events = events.clone();
        match damage {
            0 => events[1]["node"]["value"] = "3".into(),
            1 => events.swap(1, 2),
            2 => events[3] = Value::Null,
            _ => drop(events.pop()),
        }
        let nodes = open(Some(&store_of(&children, 13, &events)));
        let (all, revision, compacted) = history(&nodes);
        assert_eq!((all.len(), revision, compacted), (2, 13, 13), "{damage}: {all:?}");
    }
}

/// It would be looked for beyond all ends.
#[test]
fn events_that_begin_behind_their_end_are_left_out() {
    let (children, events) = story();
    for front in [events.len(), usize::MAX] {
        let mut store = store_of(&children, 13, &events);
        store["WatcherHub"]["EventHistory"]["Queue"]["Front"] = front.into();
        let (all, revision, compacted) = history(&open(Some(&store)));
        assert_eq!((all.len(), revision, compacted), (2, 13, 13), "{front}: {all:?}");
    }
}

#[test]
fn a_store_that_cannot_be_is_told() {
    for (store, why) in [
        (json!({}), "missing field"),
        (store_of(&[file("/1/a", "", (4, 40))], 11, &[]), "was written at 40"),
        (store_of(&[file("/1/a/../b", "", (4, 4))], 11, &[]), "is no name"),
        (store_of(&[file("/1/a", "", (4, u64::MAX))], 11, &[]), "is no index"),
    ] {
        let error = store::read(store.to_string().as_bytes()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let cut = store_of(&[], 4, &[]).to_string();
    for length in 0..cut.len() {
        assert!(store::read(&cut.as_bytes()[..length]).is_err());
    }
}

#[test]
fn times_to_live_are_points_in_time() {
    let mut child = file("/1/a", "", (4, 4));
    child["ExpireTime"] = "2033-05-18T05:33:20.5+02:00".into();
    let store = store::read(store_of(&[child], 11, &[]).to_string().as_bytes()).unwrap();
    let record = store.revisions.iter().flatten().find(|record| record.name == "/1/a").unwrap();
    assert_eq!(record.expiry.map(|expiry| expiry.0), Some(2_000_000_000_500_000_000));
    assert_eq!(record.action, Action::Set);
}

/// Out of a backup's log the changes of members were taken, so that it begins with the version.
#[test]
fn the_first_number_can_be_of_the_original_itself() {
    for changes in [0, 1, 3] {
        let mut nodes = open(None);
        for _ in 0..changes {
            nodes.apply_change(&ConfChange { kind: 0, context: Bytes::new() }).unwrap();
        }
        nodes.apply(&request("PUT", "/0/version", "3.4.0")).unwrap();
        nodes.apply(&request("PUT", "/1/a", "x")).unwrap();
        assert_eq!(history(&nodes).0, [format!("{} /a=x", changes + 2)], "{changes}");
        assert_eq!(nodes.index(), changes + 2);
    }
}

#[test]
fn from_3_5_on_no_directory_is_updated() {
    for refuses in [false, true] {
        let mut nodes = open(None);
        nodes.refuses_updates_of_dirs = refuses;
        nodes.apply_change(&ConfChange { kind: 0, context: Bytes::new() }).unwrap();
        nodes.apply(&Request { dir: true, ..request("PUT", "/1/d", "") }).unwrap();
        nodes.apply(&request("PUT", "/1/f", "")).unwrap();
        for (path, dir) in [("/1/d", true), ("/1/f", false)] {
            let update = request("PUT", path, "");
            let prev_exist = Some(true);
            nodes.apply(&Request { dir, prev_exist, expiration: 1 << 62, ..update }).unwrap();
        }
        let expiry = |kind, name: &[u8]| {
            let store = nodes.building.state().reader().store().get(kind, name, 0);
            store.unwrap().unwrap().expiry.is_some()
        };
        assert_eq!(expiry(Kind::Dir, b"/1/d"), !refuses);
        assert!(expiry(Kind::Key, b"/1/f"));
        assert_eq!(nodes.index(), if refuses { 4 } else { 5 });
    }
}
