//! What v3 can write and v2 cannot say: the table of `one-keyspace.md`, row by row. And reading.

use std::collections::BTreeSet;

use super::*;

fn code(result: Result<Node, Failure>) -> (u16, String) {
    let failure = result.unwrap_err();
    (failure.code.number(), failure.cause)
}

#[test]
fn directories_of_a_v3_key_are_implied_and_have_no_indexes() {
    let mut fixture = Fixture::new();
    fixture.put(b"/a/b/c", "1");
    for path in ["/a", "/a/b"] {
        let node = fixture.get(path).unwrap();
        assert_eq!(show_node(&node), format!("{path}/ m0 c0"));
    }
    fixture.delete(b"/a/b/c");
    assert_eq!(code(fixture.get("/a/b")), (100, "/a".to_owned()));
}

#[test]
fn a_v3_key_hides_what_lies_below_it_until_it_is_gone() {
    let mut fixture = Fixture::new();
    fixture.put(b"/a/b", "below");
    fixture.write(mkdir("/a/d")).unwrap();
    fixture.put(b"/a", "file");
    assert_eq!(fixture.get("/a").unwrap().value, Some("file".into()));
    assert_eq!(code(fixture.get("/a/b")), (104, "/a".to_owned()));
    assert_eq!(fixture.write(set("/a/d/e", "1")).unwrap_err().cause, "/a");
    assert_eq!(fixture.list("/", true).len(), 1, "a file has no children");
    // Through v2 the file goes, and what was below it is there again.
    fixture.write(remove("/a", false)).unwrap();
    assert_eq!(fixture.get("/a/b").unwrap().value, Some("below".into()));
    assert!(fixture.get("/a/d").unwrap().dir);
    // A directory goes with all that is in it, out of reach or not.
    fixture.put(b"/a/b/c", "deep");
    fixture.write(remove("/a", true)).unwrap();
    assert_eq!(fixture.store().count(b"", None, 0).unwrap(), 0);
}

#[test]
fn keys_that_v2_cannot_name_do_not_exist_for_it() {
    let mut fixture = Fixture::new();
    let mut watcher = fixture.watch("/", true, 1).unwrap();
    let names: [&[u8]; 8] =
        [b"a", b"a/b", b"/a/", b"/a//b", b"/a/../b", b"/./a", b"/a/\xff", b"\0"];
    for name in names {
        fixture.put(name, "1");
    }
    assert_eq!(fixture.list("/", true), []);
    assert_eq!(code(fixture.get("/a")), (100, "/a".to_owned()));
    assert_eq!(drain(&mut watcher), []);
    // They are no content of a directory, and its end does not touch them.
    fixture.write(mkdir("/a")).unwrap();
    fixture.write(remove("/a", false)).unwrap();
    fixture.write(mkdir("/a")).unwrap();
    fixture.write(remove("/a", true)).unwrap();
    assert_eq!(fixture.store().count(b"", None, 0).unwrap(), names.len() as u64);
}

#[test]
fn a_leased_key_has_no_expiry_and_ends_as_expired() {
    let mut fixture = Fixture::new();
    let mut watcher = fixture.watch("/l", false, 1).unwrap();
    fixture.put_on(42, b"/l", "1");
    assert_eq!(fixture.get("/l").unwrap().expiry, None);
    fixture.lapse(42);
    let actions: Vec<_> = drain(&mut watcher).iter().map(|event| event.action).collect();
    assert_eq!(actions, [Action::Set, Action::Expire]);
}

#[test]
fn a_v2_write_takes_a_key_off_its_lease() {
    let writes = [
        set("/l", "2"),
        KeysWrite { value: "2".into(), ..request(KeysMethod::Update, "/l") },
        KeysWrite { prev_value: Some("1".into()), ..request(KeysMethod::CompareAndSwap, "/l") },
    ];
    for write in writes {
        let mut fixture = Fixture::new();
        fixture.put_on(42, b"/l", "1");
        fixture.write(write).unwrap();
        assert_eq!(fixture.store().get(Kind::Key, b"/l", 0).unwrap().unwrap().lease, 0);
        fixture.lapse(42);
        assert!(fixture.get("/l").is_ok(), "it does not go with the lease");
    }
}

#[test]
fn a_directory_is_no_key_for_v3() {
    let mut fixture = Fixture::new();
    fixture.write(mkdir("/a/b")).unwrap();
    assert_eq!(fixture.store().count(b"", None, 0).unwrap(), 0);
    assert_eq!(fixture.store().revision(), 2, "yet it moved the revision");
}

#[test]
fn the_directory_stays_when_v3_deletes_what_v2_has_put_in() {
    let mut fixture = Fixture::new();
    fixture.write(set("/a/b", "1")).unwrap();
    fixture.delete(b"/a/b");
    assert!(fixture.get("/a").unwrap().dir);
}

/// More children than a page holds, at several levels, some only implied.
#[test]
fn a_listing_of_many_pages_gives_every_child_once_and_in_order() {
    let mut fixture = Fixture::new();
    let mut names = BTreeSet::new();
    for child in 0..300 {
        let depth = child % 3;
        names.insert(format!("/d/{child:03}{}", "/x".repeat(depth)));
    }
    let puts = names.iter().map(|name| Request::RequestPut(put(name.as_bytes(), "1")));
    fixture.v3(txn(puts.collect())).unwrap();
    fixture.write(mkdir("/d/_hidden")).unwrap();
    let children: Vec<Bytes> = fixture
        .list("/d", false)
        .into_iter()
        .map(|step| {
            let Step::Leaf(node) = step else { panic!("{step:?}") };
            node.key
        })
        .collect();
    let expected: Vec<String> = (0..300).map(|child| format!("/d/{child:03}")).collect();
    assert_eq!(children, expected);
    let mut depth = 0_u32;
    let mut files = Vec::new();
    for step in fixture.list("/", true) {
        match step {
            Step::Leaf(node) => files.push(String::from_utf8(node.key.to_vec()).unwrap()),
            Step::Enter(node) => {
                assert!(node.dir);
                depth += 1;
            }
            Step::Leave => depth -= 1,
        }
    }
    assert_eq!(depth, 0);
    assert_eq!(files, names.into_iter().collect::<Vec<_>>());
}

/// A listing shows one moment, whatever is written and compacted while it is read.
#[test]
fn a_listing_stays_at_its_revision() {
    let mut fixture = Fixture::new();
    for child in 0..200 {
        fixture.write(set(&format!("/d/{child:03}"), "old")).unwrap();
    }
    let found = keys::get(&fixture.store(), &Bytes::from_static(b"/d"), false).unwrap();
    let mut listing = found.listing.unwrap();
    assert!(matches!(listing.next_step().unwrap(), Some(Step::Leaf(_))));
    for child in 0..200 {
        fixture.write(set(&format!("/d/{child:03}"), "new")).unwrap();
    }
    fixture.write(set("/d/last", "new")).unwrap();
    let revision = fixture.store().revision();
    fixture.apply(Op::Compact(proto::command::Compact { revision }));
    while fixture.state.compact_step(1_000).unwrap() {}
    let mut rest = 0;
    while let Some(Step::Leaf(node)) = listing.next_step().unwrap() {
        assert_eq!(node.value, Some("old".into()), "{node:?}");
        rest += 1;
    }
    assert_eq!(rest, 199);
    // The pin goes with the listing, and the compaction does its work.
    drop(listing);
    while fixture.state.compact_step(1_000).unwrap() {}
    assert_eq!(fixture.store().usage().history_records, 0);
}

fn overwrite_and_compact(fixture: &mut Fixture, value: &str) {
    fixture.write(set("/a", value)).unwrap();
    let revision = fixture.store().revision();
    fixture.apply(Op::Compact(proto::command::Compact { revision }));
    while fixture.state.compact_step(100).unwrap() {}
}

#[test]
fn a_file_that_went_while_it_was_looked_up_is_looked_up_again() {
    let mut fixture = Fixture::new();
    overwrite_and_compact(&mut fixture, "0");
    let (store, path) = (fixture.store(), Bytes::from_static(b"/a"));
    let mut times = 0;
    let found = keys::get_while(&store, &path, false, || {
        times += 1;
        if times < 5 {
            overwrite_and_compact(&mut fixture, &times.to_string());
        }
    });
    assert_eq!(times, 5);
    assert_eq!(show_node(&found.unwrap().node), "/a \"4\" m6 c6");
    // Into a directory, too.
    fixture.write(set("/a", "5")).unwrap();
    let mut once = true;
    let found = keys::get_while(&store, &path, false, || {
        if std::mem::take(&mut once) {
            fixture.write(remove("/a", false)).unwrap();
            overwrite_and_compact(&mut fixture, "6");
            fixture.write(mkdir("/a")).unwrap();
            let revision = fixture.store().revision();
            fixture.apply(Op::Compact(proto::command::Compact { revision }));
            while fixture.state.compact_step(100).unwrap() {}
        }
    });
    let found = found.unwrap();
    assert!(found.node.dir && found.listing.is_some());
    assert_eq!(found.index, index(&fixture));
}

fn index(fixture: &Fixture) -> u64 {
    fixture.store().revision().try_into().unwrap()
}

/// A file that is overwritten and compacted all the time is found all the time.
#[test]
fn a_get_never_misses_a_file_that_is_there() {
    let mut fixture = Fixture::new();
    fixture.write(set("/a", "0")).unwrap();
    let store = fixture.store();
    let path = Bytes::from_static(b"/a");
    std::thread::scope(|scope| {
        let read = || {
            let mut last = 0;
            for _ in 0..10_000 {
                let found = keys::get(&store, &path, false).unwrap();
                assert!(found.node.modified_index >= last && found.index >= last);
                last = found.node.modified_index;
            }
        };
        // More than there are cores, so that they are stopped between two of their steps.
        let readers = [0; 6].map(|_| scope.spawn(read));
        while readers.iter().any(|reader| !reader.is_finished()) {
            overwrite_and_compact(&mut fixture, "x");
        }
    });
}
