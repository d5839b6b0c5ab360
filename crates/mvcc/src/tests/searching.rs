//! What a search in history costs, and that both ways find the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;

use super::{Fixture, put};
use crate::{Commit, Interest, Kind, ReadError, Search, Store, Watcher};

/// What a search finds, whichever way it goes: as revisions.
pub(super) fn found(store: &Store, search: impl Fn() -> Search) -> Result<Vec<i64>, ReadError> {
    let ways = [Store::look, Store::look_at_names, Store::look_at_records];
    let mut all = ways.map(|way| {
        let mut search = search();
        loop {
            if let Some(found) = way(store, &mut search)? {
                return Ok(found.into_iter().map(|place| place.main).collect::<Vec<_>>());
            }
        }
    });
    if let [Ok(one), Ok(by_name), Ok(by_record)] = &all {
        assert_eq!(one, by_name, "by name");
        assert_eq!(by_name, by_record, "by record");
    } else {
        assert!(all.iter().all(Result::is_err), "{all:?}");
    }
    std::mem::replace(&mut all[0], Ok(Vec::new()))
}

/// What a watcher says once its search is over.
pub(super) fn poll(
    watcher: &mut Watcher,
    cx: &mut Context<'_>,
) -> Poll<Result<Arc<Commit>, ReadError>> {
    loop {
        let polled = watcher.poll_next(cx);
        if polled.is_ready() || !watcher.is_searching() {
            return polled;
        }
    }
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a watcher has to say, and in how many portions it was searched for.
fn drain(watcher: &mut Watcher) -> (Vec<i64>, usize) {
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut cx = Context::from_waker(&waker);
    let (mut told, mut pending) = (Vec::new(), 0);
    loop {
        match watcher.poll_next(&mut cx) {
            Poll::Ready(commit) => told.push(commit.unwrap().main),
            Poll::Pending if watcher.is_searching() => pending += 1,
            Poll::Pending => {
                assert_eq!(counter.0.load(Ordering::Relaxed), pending, "it wakes itself");
                return (told, pending);
            }
        }
    }
}

fn keys(from: &'static str, to: &'static str) -> Interest {
    Interest::Keys { from: Bytes::from(from), to: Some(Bytes::from(to)) }
}

fn below(path: &'static str) -> Interest {
    Interest::Path { path: Bytes::from(path), recursive: true }
}

const MANY: usize = 20_000;

/// Puts many names at one revision.
fn put_many(f: &mut Fixture, name: impl Fn(usize) -> String) {
    let mut txn = f.writer.begin();
    for number in 0..MANY {
        txn.put(put(Kind::Key, &name(number), ""));
    }
    txn.commit().unwrap();
    f.finish();
}

/// Who was there a moment ago costs nothing, however many names there are.
#[test]
fn what_happened_lately_is_found_without_a_look_at_all_names() {
    let mut f = Fixture::new();
    put_many(&mut f, |number| format!("/many/{number:05}"));
    let since = f.store().revision() + 1;
    let mut expected = Vec::new();
    for number in 0..20 {
        expected.push(f.put(&format!("/many/{:05}", number * 997), "again"));
    }
    for interest in [keys("/many/", "/many0"), below("/many")] {
        let mut watcher = f.store().watch(interest.clone(), since).unwrap();
        assert_eq!(drain(&mut watcher), (expected.clone(), 0), "{interest:?}");
    }
}

/// Who waits for few names costs nothing, however much has happened to others since.
#[test]
fn few_names_are_found_without_a_look_at_all_that_happened() {
    let mut f = Fixture::new();
    let mut expected = vec![f.put("/few/a", "")];
    for _ in 0..3 {
        put_many(&mut f, |number| format!("/many/{number:05}"));
        expected.push(f.put("/few/b", ""));
    }
    for interest in [keys("/few/", "/few0"), below("/few")] {
        let mut watcher = f.store().watch(interest.clone(), 2).unwrap();
        assert_eq!(drain(&mut watcher), (expected.clone(), 0), "{interest:?}");
    }
    let quiet = Interest::Path { path: Bytes::from("/few/a"), recursive: false };
    assert_eq!(drain(&mut f.store().watch(quiet, 2).unwrap()), (vec![2], 0));
}

/// Where both ways are long, others have their turn, and the shorter one is walked once.
#[test]
fn a_long_way_is_walked_in_portions() {
    let mut f = Fixture::new();
    let first = f.put("/many/00000", "");
    for _ in 0..2 {
        put_many(&mut f, |number| format!("/other/{number:05}"));
    }
    put_many(&mut f, |number| format!("/many/quiet/{number:05}"));
    f.flush_all();
    let last = f.put("/many/zz", "");
    // By name: 20,002 of them. By record 60,002.
    let mut watcher = f.store().watch(keys("/many/", "/many0"), first).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut portions = 0;
    while watcher.poll_next(&mut cx).is_pending() {
        assert!(watcher.is_searching());
        portions += 1;
    }
    assert_eq!(portions, MANY / 512, "the names, and no more");
    let (told, portions) = drain(&mut watcher);
    assert_eq!(told.last(), Some(&last));
    // As many as there are batches: the records of each are read in order.
    assert!(portions < 20 * MANY / 512, "{portions}");
}

#[test]
fn the_past_can_be_asked_for_hidden_names_too() {
    let mut f = Fixture::new();
    f.put("/a/_h/x", "1"); // 2
    f.put("/a/b", "1"); // 3
    f.put("/_top", "1"); // 4
    let store = f.store();
    let visible = found(&store, || Search::revisions(below("/a"), 1, 9, 9)).unwrap();
    assert_eq!(visible, [3]);
    let hidden = |path, from| found(&store, || Search::with_hidden(below(path), from, 9, 9));
    assert_eq!(hidden("/a", 1).unwrap(), [2, 3]);
    assert_eq!(hidden("/", 3).unwrap(), [3, 4]);
}
