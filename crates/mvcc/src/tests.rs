//! The keyspace as its users see it.

mod concurrency;
mod model;
mod regressions;
mod replacing;
mod scripts;
mod searching;
mod watching;

use std::{path::Path, sync::Arc};

use backend::{Applied, Backend, Options};
use base::{Disk, Index, Revision, Term, disk::MemDisk};
use bytes::Bytes;

use crate::{Action, Census, Kind, ReadError, Store, Usage, Writer, record::codec, store::Put};

/// A keyspace on a disk in memory.
pub(crate) struct Fixture {
    pub(crate) disk: MemDisk,
    pub(crate) backend: Arc<Backend>,
    pub(crate) writer: Writer,
    pub(crate) entry: u64,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::open(MemDisk::new(1))
    }

    pub(crate) fn open(disk: MemDisk) -> Self {
        let options = Options { cache_bytes: 1 << 20 };
        disk.create_dir_all(Path::new("/data")).unwrap();
        let backend = Backend::open(Arc::new(disk.clone()), Path::new("/data/keyspace"), options);
        let backend = Arc::new(backend.unwrap());
        let writer = Writer::open(Arc::clone(&backend)).unwrap();
        let entry = backend.applied().index.0;
        Self { disk, backend, writer, entry }
    }

    pub(crate) fn store(&self) -> Arc<Store> {
        Arc::clone(self.writer.store())
    }

    pub(crate) fn finish(&mut self) {
        self.entry += 1;
        self.writer.finish_entry(Applied { index: Index(self.entry), term: Term(1) });
    }

    pub(crate) fn flush_all(&self) {
        while self.backend.durable() < self.backend.applied() || self.backend.tail_bytes() > 0 {
            self.backend.flush().unwrap();
        }
    }

    /// Closes it in good order and opens it again.
    pub(crate) fn reopen(self) -> Self {
        self.flush_all();
        let disk = self.disk.clone();
        drop(self);
        Self::open(disk)
    }

    /// The power is lost.
    pub(crate) fn crash(self) -> Self {
        let disk = self.disk.clone();
        disk.crash();
        drop(self);
        Self::open(disk)
    }

    /// One put in an entry of its own, published.
    pub(crate) fn put(&mut self, name: &str, value: &str) -> i64 {
        self.put_as(put(Kind::Key, name, value))
    }

    pub(crate) fn put_as(&mut self, put: Put) -> i64 {
        let mut txn = self.writer.begin();
        txn.put(put);
        let commit = txn.commit().unwrap().unwrap();
        self.finish();
        let main = commit.main;
        self.store().publish(&[commit]);
        main
    }

    pub(crate) fn delete(&mut self, kind: Kind, name: &str) -> i64 {
        let mut txn = self.writer.begin();
        txn.delete(kind, name.as_bytes(), Action::Delete, true);
        let commit = txn.commit().unwrap().unwrap();
        self.finish();
        let main = commit.main;
        self.store().publish(&[commit]);
        main
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), ReadError> {
        let done = self.writer.compact(revision);
        self.finish();
        done
    }

    pub(crate) fn sweep(&mut self) {
        while self.writer.compact_step(7).unwrap() {}
    }

    /// Usage, counted from the rows.
    pub(crate) fn recount(&self) -> Usage {
        let store = self.store();
        let mut usage = Usage::default();
        let rows = self.backend.scan(backend::Table::Records, b"", None, usize::MAX).unwrap();
        for (key, row) in &rows {
            let row = codec::decode(key, row).unwrap();
            let head = store.view().head(row.record.kind, &row.record.name);
            if head == Some(row.record.revision) {
                usage.live_records += 1;
                usage.live_bytes += row.bytes();
            } else {
                usage.history_records += 1;
                usage.history_bytes += row.bytes();
            }
        }
        usage
    }
}

pub(crate) fn put(kind: Kind, name: &str, value: &str) -> Put {
    Put {
        kind,
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        lease: 0,
        expiry: None,
        new_node: false,
        action: Action::Set,
        told: true,
    }
}

#[test]
fn a_fresh_store_stands_at_one_and_a_watch_can_begin_there() {
    let f = Fixture::new();
    assert_eq!(f.store().revision(), 1);
    assert_eq!(f.store().compacted(), -1);
    let interest = crate::Interest::Path { path: "/".into(), recursive: true };
    assert!(f.store().watch(interest, 1).is_ok());
}

#[test]
fn numbers_restart_when_a_deleted_name_comes_back() {
    let mut f = Fixture::new();
    f.put("/a", "1");
    f.put("/a", "2");
    f.delete(Kind::Key, "/a");
    f.put("/a", "3");
    f.put("/a", "4");
    let record = f.store().get(Kind::Key, b"/a", 0).unwrap().unwrap();
    assert_eq!((record.create_revision, record.version, record.created_index), (5, 2, 5));
    let before = f.store().get(Kind::Key, b"/a", 3).unwrap().unwrap();
    assert_eq!((before.create_revision, before.version, before.created_index), (2, 2, 2));
    assert_eq!(f.store().get(Kind::Key, b"/a", 4).unwrap(), None);
}

#[test]
fn only_a_new_node_moves_the_created_index() {
    let mut f = Fixture::new();
    f.put("/a", "1");
    let set = Put { new_node: true, ..put(Kind::Key, "/a", "2") };
    f.put_as(set);
    f.put("/a", "3");
    let f = f.reopen();
    let record = f.store().get(Kind::Key, b"/a", 0).unwrap().unwrap();
    assert_eq!((record.create_revision, record.version, record.created_index), (2, 3, 3));
}

#[test]
fn a_transaction_sees_its_own_writes_and_a_dropped_one_leaves_nothing() {
    let mut f = Fixture::new();
    f.put("/d/a", "1");
    let mut txn = f.writer.begin();
    txn.put(put(Kind::Key, "/d/b", "2"));
    txn.delete(Kind::Key, b"/d/a", Action::Delete, true);
    assert!(!txn.exists(Kind::Key, b"/d/a"));
    let own = txn.get(Kind::Key, b"/d/b").unwrap().unwrap();
    assert_eq!((own.value.as_ref(), own.revision), (b"2".as_slice(), Revision::new(3, 0)));
    assert_eq!(txn.descendants(b"/d"), [(Kind::Key, "/d/b".into())]);
    txn.delete(Kind::Key, b"/d/b", Action::Delete, true);
    assert!(!txn.has_children(b"/d"));
    drop(txn);
    assert_eq!(f.store().revision(), 2);
    assert!(f.store().view().has_children(b"/d"));
    assert!(f.writer.begin().commit().unwrap().is_none());
}

#[test]
fn a_transaction_can_write_one_name_twice() {
    let mut f = Fixture::new();
    f.put("/a", "1");
    let mut txn = f.writer.begin();
    txn.put(put(Kind::Key, "/a", "22"));
    txn.delete(Kind::Key, b"/a", Action::Delete, true);
    txn.put(put(Kind::Key, "/a", "333"));
    txn.commit().unwrap();
    f.finish();
    let record = f.store().get(Kind::Key, b"/a", 0).unwrap().unwrap();
    assert_eq!((record.version, record.create_revision), (1, 3));
    assert_eq!(record.revision, Revision::new(3, 2));
    assert_eq!(f.store().usage(), f.recount());
    assert_eq!(f.store().commit_at(3).unwrap().records.len(), 3);
}

#[test]
fn what_is_due_comes_in_order_of_expiry_then_name() {
    let mut f = Fixture::new();
    let at = |nanos| Some(base::UnixNanos(nanos));
    for (name, expiry) in [("/c", 5), ("/b", 5), ("/a", 9), ("/later", 99)] {
        f.put_as(Put { expiry: at(expiry), ..put(Kind::Key, name, "") });
    }
    f.put_as(Put { expiry: at(1), ..put(Kind::Dir, "/d", "") });
    f.put_as(put(Kind::Key, "/c", "no longer expires"));
    for _ in 0..2 {
        assert_eq!(f.store().next_expiry(), at(1));
        let due = f.writer.begin().due(base::UnixNanos(9), 10);
        let expected = [
            (Kind::Dir, Bytes::from("/d")),
            (Kind::Key, Bytes::from("/b")),
            (Kind::Key, Bytes::from("/a")),
        ];
        assert_eq!(due, expected);
        assert_eq!(f.writer.begin().due(base::UnixNanos(9), 2), expected[..2]);
        f = f.reopen();
    }
    f.delete(Kind::Dir, "/d");
    assert_eq!(f.store().next_expiry(), at(5));
}

#[test]
fn compaction_keeps_the_newest_version_and_what_happened_at_its_revision() {
    let mut f = Fixture::new();
    f.put("/a", "1"); // 2
    f.put("/a", "2"); // 3
    f.put("/b", "1"); // 4
    f.put("/gone", "1"); // 5
    f.delete(Kind::Key, "/gone"); // 6
    f.delete(Kind::Key, "/b"); // 7
    f.put("/a", "3"); // 8
    f.compact(7).unwrap();
    let check = |f: &Fixture| {
        let store = f.store();
        assert!(matches!(store.get(Kind::Key, b"/a", 6), Err(ReadError::Compacted)));
        assert!(matches!(store.get(Kind::Key, b"/a", 9), Err(ReadError::Future)));
        let kept = store.get(Kind::Key, b"/a", 7).unwrap().unwrap();
        assert_eq!(kept.revision.main, 3);
        let at = store.commit_at(7).unwrap();
        assert_eq!((at.records.len(), at.records[0].deleted), (1, true));
        assert!(matches!(store.commit_at(6), Err(ReadError::Compacted)));
    };
    check(&f);
    f.sweep();
    check(&f);
    let left = |f: &Fixture| {
        let rows = f.backend.scan(backend::Table::Records, b"", None, 99).unwrap();
        rows.iter().map(|(key, _)| Revision::from_bytes(key).unwrap().main).collect::<Vec<_>>()
    };
    assert_eq!(left(&f), [3, 7, 8]);
    assert_eq!(f.store().usage(), f.recount());
    let mut f = f.reopen();
    check(&f);
    assert_eq!(left(&f), [3, 7, 8]);
    assert!(matches!(f.compact(7), Err(ReadError::Compacted)));
    assert!(matches!(f.compact(9), Err(ReadError::Future)));
    f.compact(8).unwrap();
    f.sweep();
    assert_eq!(left(&f), [8]);
    assert_eq!(f.store().usage(), f.recount());
}

#[test]
fn the_revision_survives_when_everything_is_compacted_away() {
    let mut f = Fixture::new();
    f.put("/a", "1");
    f.delete(Kind::Key, "/a");
    f.put("/b", "1");
    f.delete(Kind::Key, "/b");
    let compactor = f.delete(Kind::Dir, "/never-was");
    f.compact(compactor).unwrap();
    f.sweep();
    let mut f = f.reopen();
    assert_eq!(f.store().revision(), 6);
    assert_eq!(f.put("/c", ""), 7);
}

#[test]
fn a_sweep_goes_on_after_reopening() {
    let mut f = Fixture::new();
    for value in 0..100 {
        f.put("/a", &value.to_string());
    }
    f.compact(101).unwrap();
    assert!(f.writer.compact_step(30).unwrap());
    assert!(f.store().is_compacting());
    let mut f = f.reopen();
    assert!(f.store().is_compacting());
    f.sweep();
    assert!(!f.store().is_compacting());
    assert_eq!(f.store().usage().history_records, 0);
    assert_eq!(f.store().usage(), f.recount());
    let mut f = f.reopen();
    assert!(!f.writer.compact_step(30).unwrap(), "nothing left");
}

#[test]
fn a_pinned_reader_reads_on_behind_a_compaction_but_not_for_ever() {
    let mut f = Fixture::new();
    f.put("/a", "1");
    f.put("/a", "2");
    let store = f.store();
    let pin = store.pin();
    f.compact(3).unwrap();
    assert!(!f.writer.compact_step(10).unwrap());
    let place = store.place(b"/a", 2).unwrap().unwrap();
    assert_eq!(store.record(place).unwrap().unwrap().value, "1");
    for _ in 0..1_000 {
        f.writer.compact_step(10).unwrap();
    }
    f.sweep();
    assert!(matches!(store.place(b"/a", 2), Err(ReadError::Compacted)));
    drop(pin);
    let pin = store.pin();
    f.put("/a", "3");
    f.compact(4).unwrap();
    drop(pin);
    assert!(f.writer.compact_step(10).unwrap(), "nobody holds it back any more");
}

#[test]
fn a_read_that_begins_below_the_compacted_revision_is_refused_whatever_others_have_pinned() {
    let mut f = Fixture::new();
    f.put("/a", "1");
    f.put("/a", "2");
    let store = f.store();
    let pin = store.pin();
    f.compact(3).unwrap();
    assert!(!f.writer.compact_step(10).unwrap(), "it is still there");
    assert!(matches!(store.get(Kind::Key, b"/a", 2), Err(ReadError::Compacted)));
    assert!(matches!(store.resolved(2), Err(ReadError::Compacted)));
    assert_eq!(store.resolved(3).unwrap(), (3, 3));
    drop(pin);
}

#[test]
fn large_values_come_back_whole() {
    let mut f = Fixture::new();
    let sizes = [0, 1, 999, 1_000, 1_400, 1_401, 2_000, 4_096, 65_536, 1_500_000];
    let value = |size: usize| "0123456789abcdef".repeat(size / 16 + 1)[..size].to_owned();
    for size in sizes {
        f.put(&format!("/{size}"), &value(size));
    }
    let mut f = f.reopen();
    for size in sizes {
        let record = f.store().get(Kind::Key, format!("/{size}").as_bytes(), 0).unwrap().unwrap();
        assert!(record.value == value(size), "{size}");
    }
    for size in sizes {
        f.delete(Kind::Key, &format!("/{size}"));
    }
    let last = f.store().revision();
    f.put("/", "");
    f.compact(last + 1).unwrap();
    f.sweep();
    let pieces = f.backend.scan(backend::Table::Values, b"", None, 9).unwrap();
    assert!(pieces.is_empty(), "every piece of a value goes with it: {pieces:?}");
}

#[test]
fn meta_is_seen_at_once_and_lasts_with_its_entry() {
    let mut f = Fixture::new();
    f.writer.set_meta("members", Some("x".into()));
    assert_eq!(f.writer.meta(b"members").unwrap().unwrap(), "x");
    let mut f = f.crash();
    assert_eq!(f.writer.meta(b"members").unwrap(), None);
    f.writer.set_meta("members", Some("y".into()));
    f.finish();
    let f = f.reopen();
    assert_eq!(f.writer.meta(b"members").unwrap().unwrap(), "y");
}

#[test]
fn a_damaged_row_is_an_error_that_names_it() {
    let mut f = Fixture::new();
    f.put("/a", "1");
    f.flush_all();
    let key = Bytes::copy_from_slice(&Revision::new(2, 0).to_bytes());
    for row in ["", "\u{1}", "\u{1}\u{40}\u{1}", "\u{1}\u{0}\u{9}", "\u{1}\u{0}\u{1}\u{1}"] {
        let change = backend::Change {
            table: backend::Table::Records,
            key: key.clone(),
            value: Some(row.into()),
        };
        f.backend.write(None, vec![change]);
        let error = Writer::open(Arc::clone(&f.backend)).unwrap_err().to_string();
        assert!(error.contains("Records row 000000000000000200000000"), "{error}");
    }
}

#[test]
fn a_census_of_the_rows_finds_what_the_index_holds() {
    let mut fixture = Fixture::new();
    for (name, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
        fixture.put(name, value);
    }
    fixture.put_as(put(Kind::Dir, "/dir", ""));
    fixture.delete(Kind::Key, "b");
    fixture.compact(4).unwrap();
    fixture.sweep();
    fixture.flush_all();
    let mut census = Census::default();
    let mut export = fixture.backend.export();
    while let Some(chunk) = export.next_chunk(50).unwrap() {
        for row in backend::rows(chunk).unwrap() {
            census.add(&row).unwrap();
        }
    }
    assert_eq!((census.keys(), census.revision()), (2, fixture.store().revision()));
    assert_eq!((Census::default().keys(), Census::default().revision()), (0, 1));
}

#[test]
fn a_store_that_is_raised_goes_on_there_and_all_before_is_compacted() {
    let mut fixture = Fixture::new();
    for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        fixture.put(name, value);
    }
    fixture.writer.raise(1_000).unwrap();
    fixture.finish();
    for _ in 0..2 {
        let store = fixture.store();
        assert_eq!((store.revision(), store.compacted()), (1_000, 1_000));
        let head = store.view().head(Kind::Key, b"a");
        assert_eq!(head, Some(Revision::new(4, 0)));
        assert_eq!(store.record(Revision::new(4, 0)).unwrap().unwrap().value, "3");
        fixture = fixture.reopen();
    }
    fixture.sweep();
    assert_eq!(fixture.store().record(Revision::new(2, 0)).unwrap(), None);
    assert_eq!(fixture.put("a", "4"), 1_001);
    assert_eq!(fixture.reopen().store().revision(), 1_001);
}
