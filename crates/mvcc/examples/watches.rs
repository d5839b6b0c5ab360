//! Measures what a commit costs those who tell watches of it.
//!
//! `cargo run --release -p mvcc --example watches`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement, not a product: it may stop at any error, and it needs real time"
)]

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use backend::{Applied, Backend, Options};
use base::{Index, Term, disk::MemDisk};
use bytes::Bytes;
use mvcc::{Action, Commit, Interest, Kind, ReadError, Watcher, Writer, store::Put};

const COMMITS: usize = 2_000;

/// A range for each of so many watches, by number.
type Range = fn(usize, usize) -> (String, String);

fn main() {
    let kinds: [(&str, Range); 4] = [
        ("distinct keys", |at, _| (key(at), format!("{}\0", key(at)))),
        ("distinct ranges of two keys", |at, _| (key(at), key(at + 2))),
        ("ranges one in the other, the key in none", |at, count| {
            (key(count + at), key(4 * count - at))
        }),
        ("one range, the key in it", |_, count| (key(0), key(count))),
    ];
    for (kind, range) in kinds {
        for count in [0, 100, 1_000, 10_000] {
            let micros = measure(count, range);
            println!("{kind}: {count} watches: {micros:.2} us per commit");
        }
    }
}

fn key(at: usize) -> String {
    format!("/registry/pods/{at:07}")
}

fn measure(count: usize, range: Range) -> f64 {
    let disk = Arc::new(MemDisk::new(1));
    let options = Options { cache_bytes: 8 << 20 };
    let backend = Backend::open(disk, std::path::Path::new("/keyspace"), options).unwrap();
    let mut writer = Writer::open(Arc::new(backend)).unwrap();
    let store = Arc::clone(writer.store());
    let mut watchers: Vec<Watcher> = (0..count)
        .map(|at| {
            let (from, to) = range(at, count);
            let interest = Interest::Keys { from: from.into(), to: Some(to.into()) };
            store.watch(interest, store.revision() + 1).unwrap()
        })
        .collect();
    let commits: Vec<_> = (0..COMMITS).map(|at| put(&mut writer, at % count.max(1))).collect();
    let began = Instant::now();
    for commit in &commits {
        store.publish(std::slice::from_ref(commit));
    }
    let micros = began.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(COMMITS).unwrap());
    // Whoever should have heard has: none else.
    let mut cx = Context::from_waker(Waker::noop());
    let hears = |one: &mut Watcher| matches!(one.poll_next(&mut cx), Poll::Ready(Ok(_)));
    let heard = watchers.iter_mut().map(hears).filter(|hears| *hears).count();
    print!("{heard} heard; ");
    micros
}

fn put(writer: &mut Writer, at: usize) -> Arc<Commit> {
    let put = Put {
        kind: Kind::Key,
        name: Bytes::from(key(at)),
        value: Bytes::from_static(b"v"),
        lease: 0,
        expiry: None,
        new_node: false,
        action: Action::Set,
        told: true,
    };
    let written: Result<_, ReadError> = writer.transact(|txn| {
        txn.put(put.clone());
        Ok(())
    });
    let ((), commit) = written.unwrap();
    let entry = writer.store().revision().unsigned_abs();
    writer.finish_entry(Applied { index: Index(entry), term: Term(1) });
    commit.unwrap()
}
