//! One writer, many readers, the flusher and compaction at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

use base::Revision;

use super::{Fixture, put};
use crate::{Interest, Kind, ReadError, Store};

const PAIRS: usize = 10;
const WRITES: i64 = 2_000;

/// What each reader saw, so that a test in which nobody read anything fails.
#[derive(Default)]
struct Seen {
    now: AtomicU64,
    old: AtomicU64,
    listings: AtomicU64,
    told: AtomicU64,
}

/// Both names of a pair are written in one transaction with the same value, and never deleted:
/// whatever is read at one revision must agree.
fn read_pair(store: &Store, pair: usize, at: i64) -> Result<(), ReadError> {
    let names = [format!("/l/{pair}"), format!("/r/{pair}")];
    let read = |name: &String| store.get(Kind::Key, name.as_bytes(), at);
    let (left, right) = (read(&names[0])?, read(&names[1])?);
    match (left, right) {
        (Some(left), Some(right)) => {
            assert_eq!(left.value, right.value, "at {at}");
            assert_eq!(left.revision.main, right.revision.main);
        }
        (left, right) => assert!(left.is_none() && right.is_none(), "half a commit at {at}"),
    }
    Ok(())
}

fn read_now(store: &Store, pair: usize) {
    let name = format!("/l/{pair}");
    if store.view().head(Kind::Key, name.as_bytes()).is_some() {
        assert!(store.get(Kind::Key, name.as_bytes(), 0).unwrap().is_some(), "{name} is alive");
    }
}

fn read_all(store: &Store) -> Result<(), ReadError> {
    let at = store.revision();
    let left = store.children(b"/l", at, None, usize::MAX)?;
    let right = store.children(b"/r", at, None, usize::MAX)?;
    let mains = |children: &[crate::Child]| {
        children.iter().map(|c| c.revision.map(|r: Revision| r.main)).collect::<Vec<_>>()
    };
    assert_eq!(mains(&left), mains(&right), "at {at}");
    assert_eq!(store.count(b"/l/", Some(b"/l0"), at)?, left.len() as u64);
    Ok(())
}

fn fine(result: Result<(), ReadError>) {
    match result {
        Ok(()) | Err(ReadError::Compacted) => {}
        Err(error) => panic!("{error}"),
    }
}

fn reader(store: &Store, seen: &Seen, done: &AtomicBool) {
    let mut turn = 0;
    while !done.load(Ordering::Relaxed) {
        turn += 1;
        let pair = turn % PAIRS;
        read_now(store, pair);
        seen.now.fetch_add(1, Ordering::Relaxed);
        let at = store.revision();
        fine(read_pair(store, pair, at));
        let back = i64::try_from(turn % 97).unwrap();
        let old = (at - back).max(1);
        if read_pair(store, pair, old).is_ok() {
            seen.old.fetch_add(1, Ordering::Relaxed);
        }
        fine(read_all(store));
        seen.listings.fetch_add(1, Ordering::Relaxed);
    }
}

/// Follows everything from the start: no commit may be missing or come twice.
fn follower(store: &Arc<Store>, seen: &Seen) {
    let interest = Interest::Path { path: "/l".into(), recursive: true };
    let mut watcher = store.watch(interest, 1).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = 2;
    while next < WRITES + 2 {
        match watcher.poll_next(&mut cx) {
            Poll::Ready(commit) => {
                let commit = commit.unwrap();
                assert_eq!(commit.main, next);
                assert_eq!(commit.records.len(), 2);
                next += 1;
                seen.told.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Pending => thread::yield_now(),
        }
    }
}

fn write(f: &mut Fixture, number: i64, compact: bool) {
    let pair = usize::try_from(number * 7).unwrap() % PAIRS;
    let mut txn = f.writer.begin();
    for side in ["l", "r"] {
        // Of one pair in ten so large that no cache takes them.
        let value = if pair == 0 { format!("{number:034000}") } else { format!("{number:0200}") };
        txn.put(put(Kind::Key, &format!("/{side}/{pair}"), &value));
    }
    let commit = txn.commit().unwrap().unwrap();
    f.finish();
    f.store().publish(&[commit]);
    if compact {
        if number % 50 == 0 {
            f.compact((number - 20).max(1)).unwrap_or_default();
        }
        f.writer.compact_step(20).unwrap();
    }
}

fn run(compact: bool) -> Seen {
    let mut f = Fixture::new();
    let store = f.store();
    let backend = Arc::clone(&f.backend);
    let (seen, done) = (Seen::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| reader(&store, &seen, &done));
        }
        if !compact {
            scope.spawn(|| follower(&store, &seen));
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                backend.flush().unwrap();
            }
        });
        for number in 0..WRITES {
            write(&mut f, number, compact);
        }
        done.store(true, Ordering::Relaxed);
    });
    f.sweep();
    assert_eq!(f.store().usage(), f.recount());
    seen
}

#[test]
fn readers_never_see_half_a_commit_nor_miss_a_live_value() {
    let seen = run(true);
    assert!(seen.now.into_inner() > 0 && seen.old.into_inner() > 0);
    assert!(seen.listings.into_inner() > 0);
}

#[test]
fn a_watcher_beside_the_writer_misses_nothing() {
    let seen = run(false);
    assert_eq!(i64::try_from(seen.told.into_inner()).unwrap(), WRITES);
}
