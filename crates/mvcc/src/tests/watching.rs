//! Who hears what, and what it costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use base::limits::{WATCHER_BYTES_WAITING_MAX, WATCHER_COMMITS_WAITING_MAX};
use bytes::Bytes;

use super::{
    Fixture, put,
    searching::{found, poll},
};
use crate::{Action, Interest, Kind, ReadError, Search, Watcher, store::Put};

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn exact(path: &str) -> Interest {
    Interest::Path { path: Bytes::copy_from_slice(path.as_bytes()), recursive: false }
}

fn recursive(path: &str) -> Interest {
    Interest::Path { path: Bytes::copy_from_slice(path.as_bytes()), recursive: true }
}

fn keys(from: &str, to: &str) -> Interest {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Interest::Keys { from: bytes(from), to: Some(bytes(to)) }
}

/// All that a watcher has to say now.
fn drain(watcher: &mut Watcher, waker: &Waker) -> Vec<i64> {
    let mut told = Vec::new();
    let mut cx = Context::from_waker(waker);
    while let Poll::Ready(commit) = poll(watcher, &mut cx) {
        told.push(commit.unwrap().main);
    }
    told
}

fn now(watcher: &mut Watcher) -> Vec<i64> {
    drain(watcher, Waker::noop())
}

/// The writes of the story, as `(revision, who must hear of it)`.
#[test]
fn live_and_history_tell_the_same_to_each_interest() {
    let interests = [
        exact("/a/b"),
        recursive("/a"),
        recursive("/"),
        recursive("/a/_h"),
        exact("/a/never/was"),
        recursive("/other"),
        keys("/a/b", "/a/b\0"),
        keys("/a/", "/a0"),
    ];
    let expected: [&[i64]; 8] =
        [&[3, 6], &[2, 3, 6], &[2, 3, 6, 7], &[4, 6], &[6], &[7], &[3, 5, 6], &[3, 4, 5, 6]];
    let mut f = Fixture::new();
    let mut live: Vec<_> =
        interests.iter().map(|interest| f.store().watch(interest.clone(), 1).unwrap()).collect();
    f.put_as(put(Kind::Dir, "/a", "")); // 2
    f.put("/a/b", "1"); // 3
    f.put("/a/_h/x", "1"); // 4
    f.put_as(Put { told: false, ..put(Kind::Key, "/a/b", "refreshed") }); // 5
    let mut txn = f.writer.begin();
    txn.delete(Kind::Dir, b"/a", Action::Delete, true);
    txn.delete(Kind::Key, b"/a/b", Action::Delete, false);
    txn.delete(Kind::Key, b"/a/_h/x", Action::Delete, false);
    let commit = txn.commit().unwrap().unwrap(); // 6
    f.finish();
    f.store().publish(&[commit]);
    f.put("/other/x", "1"); // 7
    for ((interest, live), expected) in interests.iter().zip(&mut live).zip(expected) {
        assert_eq!(now(live), expected, "live: {interest:?}");
        let mut late = f.store().watch(interest.clone(), 1).unwrap();
        assert_eq!(now(&mut late), expected, "history: {interest:?}");
        let mut half = f.store().watch(interest.clone(), 4).unwrap();
        let rest: Vec<_> = expected.iter().copied().filter(|main| *main >= 4).collect();
        assert_eq!(now(&mut half), rest, "from 4: {interest:?}");
    }
}

#[test]
fn a_full_mailbox_falls_back_to_history() {
    let mut f = Fixture::new();
    let mut watcher = f.store().watch(exact("/a"), 2).unwrap();
    assert_eq!(now(&mut watcher), []);
    let count = i64::try_from(WATCHER_COMMITS_WAITING_MAX).unwrap() * 3;
    for value in 0..count {
        f.put("/a", &value.to_string());
    }
    assert_eq!(now(&mut watcher), (2..count + 2).collect::<Vec<_>>());
    f.put("/a", "live again");
    assert_eq!(now(&mut watcher), [count + 2]);
}

#[test]
fn who_has_history_to_read_and_what_waits_in_mailboxes_is_counted() {
    let mut f = Fixture::new();
    f.put("/a", "1"); // 2
    let mut late = f.store().watch(exact("/a"), 1).unwrap();
    let mut live = f.store().watch(exact("/a"), 3).unwrap();
    assert_eq!(f.store().watch_backlog(), (1, 0));
    assert_eq!(now(&mut late), [2]);
    assert_eq!(f.store().watch_backlog(), (0, 0));
    f.put("/a", "2"); // 3
    assert_eq!(f.store().watch_backlog(), (0, 2));
    assert_eq!(now(&mut live), [3]);
    assert_eq!(f.store().watch_backlog(), (0, 1));
    assert_eq!(now(&mut late), [3]);
    // More than there is room for.
    for _ in 0..2 * WATCHER_COMMITS_WAITING_MAX {
        f.put("/a", "3");
    }
    assert_eq!(f.store().watch_backlog(), (2, 2 * WATCHER_COMMITS_WAITING_MAX));
    assert_eq!(now(&mut live).len(), 2 * WATCHER_COMMITS_WAITING_MAX);
    assert_eq!(f.store().watch_backlog(), (1, WATCHER_COMMITS_WAITING_MAX));
    drop(late);
    assert_eq!(f.store().watch_backlog(), (0, 0));
}

#[test]
fn what_waits_for_a_watcher_is_bounded_in_bytes() {
    const VALUE_BYTES: usize = 50_000;
    let check = |value_bytes: usize, waiting_max: usize| {
        let mut f = Fixture::new();
        let mut watchers: Vec<_> = ["/a", "/b", "/c"]
            .map(|key| (key, f.store().watch(keys(key, &format!("{key}\0")), 2).unwrap()))
            .into();
        let (value, mut kept, mut expected) = ("v".repeat(value_bytes), Vec::new(), Vec::new());
        for _ in 0..20 {
            for (key, _) in &watchers {
                let mut txn = f.writer.begin();
                txn.put(put(Kind::Key, key, &value));
                let commit = txn.commit().unwrap().unwrap();
                f.finish();
                f.store().publish(&[Arc::clone(&commit)]);
                expected.push((*key, commit.main));
                kept.push(Arc::downgrade(&commit));
            }
        }
        let waiting = kept.iter().filter(|commit| commit.strong_count() > 0).count();
        assert_eq!(waiting, 3 * waiting_max, "of {value_bytes} bytes each");
        for (key, watcher) in &mut watchers {
            let expected = expected.iter().filter(|(of, _)| of == key).map(|(_, main)| *main);
            assert_eq!(now(watcher), expected.collect::<Vec<_>>());
        }
        // There is room again.
        let last = f.put("/a", &value);
        assert_eq!(now(&mut watchers[0].1), [last]);
    };
    check(VALUE_BYTES, WATCHER_BYTES_WAITING_MAX / VALUE_BYTES);
    // One has room always.
    check(2 * WATCHER_BYTES_WAITING_MAX, 1);
    check(1, 20);
}

/// A watcher's commits as `(revision, how many records, whether it is but a part)`.
fn parts(watcher: &mut Watcher) -> Vec<(i64, usize, bool)> {
    let mut parts = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(commit) = poll(watcher, &mut cx) {
        let commit = commit.unwrap();
        let concerned = commit.records.iter().all(|one| watcher.interest().concerns(one));
        assert!(concerned);
        parts.push((commit.main, commit.records.len(), watcher.is_within_revision()));
    }
    parts
}

#[test]
fn of_a_revision_of_many_keys_a_watcher_is_handed_its_own_in_parts() {
    const KEYS: usize = 10_000;
    let mut f = Fixture::new();
    let mut watchers = [keys("/k00042", "/k00042\0"), keys("/k", "/l"), keys("/k03", "/k05")]
        .map(|interest| f.store().watch(interest, 1).unwrap());
    let mut txn = f.writer.begin();
    for at in 0..KEYS {
        txn.put(put(Kind::Key, &format!("/k{at:05}"), "value"));
    }
    let commit = txn.commit().unwrap().unwrap();
    f.finish();
    f.store().publish(&[commit]);
    f.put("/k00042", "again");
    let thousands = |count: usize| (1..=count).map(move |at| (2, 1_000, at < count));
    let expected = [
        vec![(2, 1, false), (3, 1, false)],
        thousands(10).chain([(3, 1, false)]).collect(),
        thousands(2).collect(),
    ];
    for (watcher, expected) in watchers.iter_mut().zip(&expected) {
        assert_eq!(parts(watcher), *expected, "from live on: {:?}", watcher.interest());
        let mut late = f.store().watch(watcher.interest().clone(), 1).unwrap();
        assert_eq!(parts(&mut late), *expected, "later: {:?}", watcher.interest());
    }
    // The order of names is that of the writes, and none is missing where parts meet.
    let mut late = f.store().watch(keys("/k", "/l"), 1).unwrap();
    let (mut names, mut cx) = (Vec::new(), Context::from_waker(Waker::noop()));
    while let Poll::Ready(commit) = poll(&mut late, &mut cx) {
        names.extend(commit.unwrap().records.iter().map(|record| record.name.clone()));
    }
    assert_eq!(names.pop().unwrap(), "/k00042");
    assert_eq!(names, (0..KEYS).map(|at| format!("/k{at:05}")).collect::<Vec<_>>());
    // What is compacted in the midst of it ends the watch.
    let mut late = f.store().watch(keys("/k", "/l"), 1).unwrap();
    assert!(matches!(poll(&mut late, &mut cx), Poll::Ready(Ok(_))));
    f.compact(3).unwrap();
    let ended = std::iter::from_fn(|| match poll(&mut late, &mut cx) {
        Poll::Ready(Err(error)) => Some(error),
        Poll::Ready(_) | Poll::Pending => None,
    });
    assert!(matches!(ended.take(1).next(), Some(ReadError::Compacted)));
}

#[test]
fn a_watcher_that_lost_what_was_compacted_ends_and_a_quiet_one_does_not() {
    let mut f = Fixture::new();
    let mut busy = f.store().watch(exact("/a"), 2).unwrap();
    let mut quiet = f.store().watch(exact("/quiet"), 2).unwrap();
    assert_eq!((now(&mut busy), now(&mut quiet)), (vec![], vec![]));
    for value in 0..200 {
        f.put("/a", &value.to_string());
    }
    f.compact(200).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let ended = loop {
        match busy.poll_next(&mut cx) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => break error,
            Poll::Pending => panic!("it should have ended"),
        }
    };
    assert!(matches!(ended, ReadError::Compacted));
    let last = f.put("/quiet", "");
    assert_eq!(now(&mut quiet), [last]);
    assert!(matches!(f.store().watch(exact("/a"), 199), Err(ReadError::Compacted)));
    let mut at_it = f.store().watch(exact("/a"), 200).unwrap();
    assert_eq!(now(&mut at_it), [200, 201]);
}

/// Whoever has something to tell first asks again afterwards: what comes then must not be what follows a
/// gap.
#[test]
fn a_watcher_that_lost_something_says_so_as_often_as_it_is_asked() {
    let mut f = Fixture::new();
    for revision in 2..9 {
        f.put("/a", &revision.to_string());
    }
    let watch = |interest| f.store().watch(interest, 2).unwrap();
    let mut watchers = [keys("/a", "/b"), exact("/a")].map(watch);
    let mut cx = Context::from_waker(Waker::noop());
    for watcher in &mut watchers {
        let Poll::Ready(Ok(commit)) = watcher.poll_next(&mut cx) else { panic!("history") };
        assert_eq!(commit.main, 2);
    }
    f.compact(5).unwrap();
    for watcher in &mut watchers {
        for _ in 0..3 {
            let next = watcher.poll_next(&mut cx);
            assert!(matches!(next, Poll::Ready(Err(ReadError::Compacted))), "{next:?}");
        }
        assert_eq!(watcher.position(), 3);
    }
}

#[test]
fn a_quiet_watcher_outlives_compaction_also_if_much_comes_at_once() {
    let mut f = Fixture::new();
    let mut quiet = f.store().watch(exact("/quiet"), 2).unwrap();
    assert_eq!(now(&mut quiet), []);
    for value in 0..200 {
        f.put("/a", &value.to_string());
    }
    f.compact(200).unwrap();
    let count = i64::try_from(WATCHER_COMMITS_WAITING_MAX).unwrap() * 3;
    let told: Vec<_> = (0..count).map(|value| f.put("/quiet", &value.to_string())).collect();
    // All but what the mailbox holds comes from history, where what is compacted is not missed.
    assert_eq!(now(&mut quiet), told);
}

#[test]
fn a_watcher_of_the_future_waits_for_it() {
    let mut f = Fixture::new();
    let mut watcher = f.store().watch(exact("/a"), 4).unwrap();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    assert_eq!(drain(&mut watcher, &waker), []);
    f.put("/a", "2");
    f.put("/a", "3");
    assert_eq!(counter.0.load(Ordering::Relaxed), 0);
    assert_eq!(watcher.position(), 4);
    f.put("/a", "4");
    assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    assert_eq!(drain(&mut watcher, &waker), [4]);
}

#[test]
fn one_write_wakes_those_whom_it_concerns_and_nobody_else() {
    let mut f = Fixture::new();
    let mut watch = |interest: Interest| {
        let mut watcher = f.store().watch(interest, 2).unwrap();
        let counter = Arc::new(Counter::default());
        assert_eq!(drain(&mut watcher, &Waker::from(Arc::clone(&counter))), []);
        (watcher, counter)
    };
    let many = |interest: &dyn Fn(usize) -> Interest, watch: &mut dyn FnMut(Interest) -> _| {
        (0..10_000).map(|number| watch(interest(number))).collect::<Vec<_>>()
    };
    let same = many(&|_| exact("/same"), &mut watch);
    let distinct = many(&|number| exact(&format!("/distinct/{number}")), &mut watch);
    let above = watch(recursive("/distinct"));
    assert_eq!(f.store().watchers(), 20_001);
    let woken = |watchers: &[(Watcher, Arc<Counter>)]| {
        watchers.iter().filter(|(_, counter)| counter.0.load(Ordering::Relaxed) > 0).count()
    };
    f.put("/distinct/7", "");
    assert_eq!((woken(&same), woken(&distinct), woken(&[above])), (0, 1, 1));
    f.put("/same", "");
    assert_eq!((woken(&same), woken(&distinct)), (10_000, 1));
    f.delete(Kind::Dir, "/distinct");
    assert_eq!((woken(&same), woken(&distinct)), (10_000, 10_000));
    drop((same, distinct));
    assert_eq!(f.store().watchers(), 0);
}

#[test]
fn a_quiet_key_is_found_without_a_look_at_the_others() {
    let mut f = Fixture::new();
    f.put("/quiet", "1");
    for number in 0..3_000 {
        f.put(&format!("/busy/{}", number % 7), "");
    }
    let store = f.store();
    let quiet = |from| found(&store, || Search::revisions(exact("/quiet"), from, i64::MAX, 9));
    assert_eq!(quiet(1).unwrap(), [2]);
    assert_eq!(quiet(3).unwrap(), []);
    let busy = found(&store, || Search::revisions(recursive("/busy"), 3_000, 3_002, 2)).unwrap();
    assert_eq!(busy, [3_000, 3_001]);
}
