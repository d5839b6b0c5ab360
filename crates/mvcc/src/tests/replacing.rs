//! A keyspace that another member's takes the place of: what readers and watchers see.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

use backend::{Incoming, Options};
use bytes::Bytes;

use super::Fixture;
use crate::{Interest, Kind, ReadError, Store, Watcher};

pub(super) fn incoming() -> PathBuf {
    PathBuf::from("/data/keyspace.incoming")
}

/// Puts the leader's keyspace beside the follower's.
pub(super) fn carry(leader: &Fixture, follower: &Fixture) {
    leader.flush_all();
    let mut export = leader.backend.export();
    let (applied, path) = (export.applied(), incoming());
    let options = Options { cache_bytes: 1 << 20 };
    let mut into = Incoming::create(&follower.disk, &path, &options).unwrap();
    while let Some(chunk) = export.next_chunk(16 << 10).unwrap() {
        into.add(chunk).unwrap();
    }
    into.finish(applied).unwrap();
}

fn watch(store: &Arc<Store>, since: i64) -> Watcher {
    let all = Interest::Path { path: Bytes::from_static(b"/"), recursive: true };
    store.watch(all, since).unwrap()
}

fn told(watcher: &mut Watcher) -> Result<Vec<i64>, ReadError> {
    let mut told = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(commit) = watcher.poll_next(&mut cx) {
        told.push(commit?.main);
    }
    Ok(told)
}

/// Both write the same, as far as they do.
fn write(fixture: &mut Fixture, number: i64) -> i64 {
    fixture.put(&format!("/k/{}", number % 10), &number.to_string())
}

#[test]
fn readers_and_watchers_go_on_with_the_later_state() {
    let (mut leader, mut follower) = (Fixture::new(), Fixture::new());
    for number in 0..100 {
        write(&mut leader, number);
        if number < 40 {
            write(&mut follower, number);
        }
    }
    let store = follower.store();
    // One that has heard of all so far, one that reads history, and one that waits for later.
    let (mut live, mut slow, mut future) =
        (watch(&store, 2), watch(&store, 20), watch(&store, 120));
    assert_eq!(told(&mut live).unwrap().len(), 40);
    carry(&leader, &follower);
    follower.writer.replace(&incoming()).unwrap();
    assert_eq!((store.revision(), store.usage()), (101, leader.store().usage()));
    assert_eq!(told(&mut live).unwrap(), (42..=101).collect::<Vec<_>>());
    assert_eq!(told(&mut slow).unwrap(), (20..=101).collect::<Vec<_>>());
    let record = store.get(Kind::Key, b"/k/9", 0).unwrap().unwrap();
    assert_eq!((&record.value[..], record.revision.main), (&b"99"[..], 101));
    // And on it goes.
    follower.entry = leader.entry;
    for number in 100..140 {
        write(&mut follower, number);
    }
    for watcher in [&mut live, &mut slow] {
        assert_eq!(told(watcher).unwrap(), (102..=141).collect::<Vec<_>>());
    }
    assert_eq!(told(&mut future).unwrap(), (120..=141).collect::<Vec<_>>());
    let follower = follower.crash();
    assert!(follower.store().revision() >= 101);
}

#[test]
fn a_watcher_whose_history_was_compacted_meanwhile_is_told_so() {
    let (mut leader, mut follower) = (Fixture::new(), Fixture::new());
    for number in 0..100 {
        write(&mut leader, number);
        if number < 10 {
            write(&mut follower, number);
        }
    }
    leader.compact(90).unwrap();
    leader.sweep();
    let store = follower.store();
    let (mut behind, mut future) = (watch(&store, 12), watch(&store, 95));
    carry(&leader, &follower);
    follower.writer.replace(&incoming()).unwrap();
    assert!(matches!(told(&mut behind), Err(ReadError::Compacted)));
    assert_eq!(told(&mut future).unwrap(), (95..=101).collect::<Vec<_>>());
    assert!(matches!(store.get(Kind::Key, b"/k/1", 50), Err(ReadError::Compacted)));
    assert_eq!(store.usage(), follower.recount());
}

#[test]
fn readers_beside_it_never_miss_a_live_value() {
    for seed in 0..20 {
        let (mut leader, mut follower) = (Fixture::new(), Fixture::new());
        for number in 0..400 {
            write(&mut leader, number);
            if number < 100 + seed {
                write(&mut follower, number);
            }
        }
        leader.compact(395).unwrap();
        leader.sweep();
        carry(&leader, &follower);
        let store = follower.store();
        let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) || last < 401 {
                    for key in 0..10 {
                        let name = format!("/k/{key}");
                        let record = store.get(Kind::Key, name.as_bytes(), 0).unwrap().unwrap();
                        let number: i64 =
                            std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                        assert_eq!(number % 10, key);
                        assert_eq!(record.revision.main, number + 2);
                        last = last.max(record.revision.main);
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
            while reads.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            follower.writer.replace(Path::new(&incoming())).unwrap();
            done.store(true, Ordering::Relaxed);
        });
        assert!(reads.into_inner() > 0);
    }
}
