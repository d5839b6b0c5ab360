//! What the original got wrong in its keyspace, by the numbers of its issues.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{
    Fixture,
    replacing::{carry, incoming},
};
use crate::{Interest, Kind, ReadError, Store, Watcher};

/// As v3 watches: all keys.
fn watch(store: &Arc<Store>, since: i64) -> Result<Watcher, ReadError> {
    store.watch(Interest::Keys { from: Bytes::from_static(b"\0"), to: None }, since)
}

/// What it is told now: revision and name, `-` before what is deleted.
fn told(watcher: &mut Watcher) -> Vec<(i64, String)> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut told = Vec::new();
    while let Poll::Ready(commit) = watcher.poll_next(&mut cx) {
        let commit = commit.unwrap();
        told.extend(commit.records.iter().map(|record| {
            let sign = if record.deleted { "-" } else { "" };
            (commit.main, format!("{sign}{}", String::from_utf8_lossy(&record.name)))
        }));
    }
    told
}

fn event(main: i64, what: &str) -> (i64, String) {
    (main, what.to_owned())
}

/// After a network partition a follower was given a snapshot, and all its watchers were "unsynced"
/// again, from the revision at which they had *begun*: those that had been told everything were told
/// it a second time.
#[test]
fn issue_15271_a_watcher_is_told_nothing_again_when_a_snapshot_takes_the_keyspaces_place() {
    let (mut leader, mut follower) = (Fixture::new(), Fixture::new());
    for fixture in [&mut leader, &mut follower] {
        fixture.put("/a", "1"); // 2
        fixture.put("/b", "1"); // 3
    }
    let store = follower.store();
    let (mut from_the_start, mut from_now) = (watch(&store, 2).unwrap(), watch(&store, 4).unwrap());
    assert_eq!(told(&mut from_the_start), [event(2, "/a"), event(3, "/b")]);
    assert_eq!(told(&mut from_now), []);
    leader.put("/a", "2"); // 4
    leader.delete(Kind::Key, "/b"); // 5
    carry(&leader, &follower);
    follower.writer.replace(&incoming()).unwrap();
    for watcher in [&mut from_the_start, &mut from_now] {
        assert_eq!(told(watcher), [event(4, "/a"), event(5, "-/b")]);
    }
    // Not a second time with a second snapshot that has nothing new, either.
    carry(&leader, &follower);
    follower.writer.replace(&incoming()).unwrap();
    for watcher in [&mut from_the_start, &mut from_now] {
        assert_eq!(told(watcher), []);
    }
}

/// The current revision was that of the highest row in the file. When it belonged to a deletion, a
/// compaction there removed it; after a crash before the compaction was noted as finished, the
/// revision began again below what clients had seen.
#[test]
fn issue_17780_the_revision_does_not_fall_when_a_compaction_of_the_last_deletion_is_interrupted() {
    // A flush, too, may be interrupted by a loss of power at each of its operations.
    for operations in 0.. {
        let mut f = Fixture::new();
        for number in 0..20 {
            f.put(&format!("/k/{number}"), "x");
        }
        for number in 0..20 {
            f.delete(Kind::Key, &format!("/k/{number}"));
        }
        let last = f.store().revision();
        f.flush_all();
        f.compact(last).unwrap();
        // Some of the rows are gone, and the sweep is not over.
        assert!(f.writer.compact_step(35).unwrap());
        f.disk.fail_after(operations);
        let mut flushed = Ok(f.backend.applied());
        while flushed.is_ok() && f.backend.tail_bytes() > 0 {
            flushed = f.backend.flush();
        }
        let is_over = flushed.is_ok();
        let mut f = f.crash();
        assert_eq!(f.store().revision(), last, "operation {operations}");
        // And the next one is new.
        assert_eq!(f.put("/k/0", "y"), last + 1);
        if is_over {
            assert_eq!(f.store().compacted(), last);
            return;
        }
    }
}

/// A compaction at the revision of a deletion removed the deletion too; whoever then watched from that
/// revision, which is the first that can be watched, never heard of it.
#[test]
fn issue_18089_a_deletion_at_the_compacted_revision_is_still_told() {
    let mut f = Fixture::new();
    f.put("/a", "1"); // 2
    f.put("/b", "1"); // 3
    let deleted = f.delete(Kind::Key, "/a"); // 4
    f.put("/b", "2"); // 5
    let mut before = watch(&f.store(), deleted).unwrap();
    f.compact(deleted).unwrap();
    let expected = [event(deleted, "-/a"), event(deleted + 1, "/b")];
    assert_eq!(told(&mut watch(&f.store(), deleted).unwrap()), expected, "before it is removed");
    f.sweep();
    assert_eq!(told(&mut before), expected, "a watcher that was there");
    assert_eq!(told(&mut watch(&f.store(), deleted).unwrap()), expected, "one that comes later");
    assert!(matches!(watch(&f.store(), deleted - 1), Err(ReadError::Compacted)));
}

/// At a start the original rebuilt its index without a deletion of which nothing else was left: the
/// puts before it had been compacted. A compaction at its revision then removed it, or a watch from
/// there did not find it.
#[test]
fn issue_19179_a_deletion_that_alone_is_left_of_its_key_is_told_after_a_restart() {
    for compacts_again in [false, true] {
        let mut f = Fixture::new();
        f.put("/a", "1"); // 2
        let deleted = f.delete(Kind::Key, "/a"); // 3
        f.put("/b", "1"); // 4
        if compacts_again {
            f.compact(deleted - 1).unwrap();
            f.sweep();
        }
        let mut f = f.reopen();
        f.compact(deleted).unwrap();
        f.sweep();
        let mut f = f.reopen();
        f.sweep();
        let mut watcher = watch(&f.store(), deleted).unwrap();
        assert_eq!(told(&mut watcher), [event(deleted, "-/a"), event(deleted + 1, "/b")]);
        // It has gone for good with the next one.
        f.compact(deleted + 1).unwrap();
        f.sweep();
        assert!(matches!(watch(&f.store(), deleted), Err(ReadError::Compacted)));
        assert_eq!(f.recount(), f.store().usage());
    }
}

/// A watch of a revision that is still to come was told of earlier ones when a snapshot took the place
/// of its member's keyspace: restored watchers began where the member stood. The other half of the
/// issue, progress that is told below the start, is in `api`'s tests.
#[test]
fn issue_20221_a_watch_of_the_future_is_told_nothing_older_after_a_snapshot() {
    let (mut leader, mut follower) = (Fixture::new(), Fixture::new());
    let store = follower.store();
    let mut future = watch(&store, 5).unwrap();
    assert_eq!(told(&mut future), []);
    for number in 2..4 {
        leader.put("/a", &number.to_string());
    }
    carry(&leader, &follower);
    follower.writer.replace(&incoming()).unwrap();
    assert_eq!(store.revision(), 3);
    assert_eq!((told(&mut future), future.position()), (vec![], 5));
    follower.entry = leader.entry;
    follower.put("/a", "4");
    assert_eq!(told(&mut future), []);
    follower.put("/a", "5");
    assert_eq!(told(&mut future), [event(5, "/a")]);
}
