//! The store's two ends: a writer that is one, and a reader that everybody shares.

use std::sync::Arc;

use backend::{Applied, Backend};
use base::{Revision, UnixNanos};
use bytes::Bytes;

use crate::{
    record::{Action, Commit, Kind, Record},
    watch::{Interest, Watcher},
};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Text of etcd 3.x, to the letter.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    Future,
    /// The member must stop.
    #[error(transparent)]
    Backend(#[from] backend::Error),
}

/// How much there is, in rows and bytes (names, numbers and values).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub live_records: u64,
    pub live_bytes: u64,
    /// What a compaction at the current revision would free.
    pub history_records: u64,
    pub history_bytes: u64,
}

/// A child of a directory in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its full path.
    pub name: Bytes,
    pub kind: Kind,
    /// Where its newest record is; `None` for a directory that only exists because a v3 key lies
    /// below it.
    pub revision: Option<Revision>,
}

/// The readers' end.
#[derive(Debug)]
pub struct Store {}

#[allow(unused_variables, reason = "contract")]
impl Store {
    /// The current revision. A fresh store stands at 1.
    pub fn revision(&self) -> i64 {
        unimplemented!()
    }

    /// The oldest revision that can be read; what lies strictly below is gone.
    pub fn compacted(&self) -> i64 {
        unimplemented!()
    }

    /// Locks the indexes for reading, for a few lookups that must agree. Hold it for microseconds.
    pub fn view(&self) -> View<'_> {
        unimplemented!()
    }

    /// The record at exactly this revision, with its value; `None` once compaction has removed it.
    /// Small recent records come from a bounded cache.
    pub fn record(&self, revision: Revision) -> Result<Option<Arc<Record>>, ReadError> {
        unimplemented!()
    }

    /// The newest record of `name` at or before `at` (0: now); `None` if there is none or it is
    /// deleted.
    pub fn get(&self, kind: Kind, name: &[u8], at: i64) -> Result<Option<Arc<Record>>, ReadError> {
        unimplemented!()
    }

    /// Where the live keys with `from <= key < to` (no `to`: to the end) stand at `at` (0: now),
    /// at most `limit` of them. For v3 ranges; directories never appear.
    pub fn range(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        at: i64,
        limit: usize,
    ) -> Result<Vec<(Bytes, Revision)>, ReadError> {
        unimplemented!()
    }

    /// How many live keys that range holds at `at`.
    pub fn count(&self, from: &[u8], to: Option<&[u8]>, at: i64) -> Result<u64, ReadError> {
        unimplemented!()
    }

    /// The visible (`path::is_path`, not hidden below `dir`) children of a directory at `at` (0:
    /// now) in order of their names, after the child `after`, at most `limit`. Costs about the
    /// number of children, not of descendants: it seeks past each subtree.
    pub fn children(
        &self,
        dir: &[u8],
        at: i64,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Child>, ReadError> {
        unimplemented!()
    }

    /// The main revisions in `from..=to` that concern `interest`, oldest first, at most `limit`.
    /// Asks the indexes; never scans the log. For a path interest only changes that v2 tells count.
    pub fn history(
        &self,
        interest: &Interest,
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<i64>, ReadError> {
        unimplemented!()
    }

    /// All that happened at one main revision.
    pub fn commit_at(&self, main: i64) -> Result<Arc<Commit>, ReadError> {
        unimplemented!()
    }

    /// Watches from `since` (at most the current revision + 1, or later to wait for the future):
    /// first what history has, then what comes, with no gap and nothing twice.
    pub fn watch(self: &Arc<Self>, interest: Interest, since: i64) -> Result<Watcher, ReadError> {
        unimplemented!()
    }

    /// Hands commits to the watchers they concern. Called by whoever applies, after answering.
    pub fn publish(&self, commits: &[Arc<Commit>]) {
        unimplemented!()
    }

    /// Watchers registered now.
    pub fn watchers(&self) -> usize {
        unimplemented!()
    }

    /// The nearest v2 expiry.
    pub fn next_expiry(&self) -> Option<UnixNanos> {
        unimplemented!()
    }

    pub fn usage(&self) -> Usage {
        unimplemented!()
    }

    /// Holds back physical compaction while the guard lives, for a long read at one revision.
    pub fn pin(self: &Arc<Self>) -> Pin {
        unimplemented!()
    }
}

/// See [`Store::pin`].
#[derive(Debug)]
pub struct Pin {}

/// The indexes, locked for reading at the current revision.
#[derive(Debug)]
pub struct View<'a> {
    _store: &'a Store,
}

#[allow(unused_variables, reason = "contract")]
impl View<'_> {
    pub fn revision(&self) -> i64 {
        unimplemented!()
    }

    /// The revision of the live record of `name`.
    pub fn head(&self, kind: Kind, name: &[u8]) -> Option<Revision> {
        unimplemented!()
    }

    /// Whether any live key or directory lies strictly below this directory, hidden or not
    /// (keys that v2 cannot name do not count).
    pub fn has_children(&self, dir: &[u8]) -> bool {
        unimplemented!()
    }
}

/// The apply thread's end: not shared, not cloned.
#[derive(Debug)]
pub struct Writer {}

#[allow(unused_variables, reason = "contract")]
impl Writer {
    /// Opens the keyspace: reads the `Records` table to rebuild the indexes.
    pub fn open(backend: Arc<Backend>) -> Result<Self, ReadError> {
        unimplemented!()
    }

    pub fn store(&self) -> &Arc<Store> {
        unimplemented!()
    }

    /// Begins a transaction. Several in one raft entry are possible (each expiry is its own).
    pub fn begin(&mut self) -> Txn<'_> {
        unimplemented!()
    }

    /// Small replicated state that goes with the current raft entry (table `Meta`).
    pub fn set_meta(&mut self, key: &'static str, value: Option<Bytes>) {
        unimplemented!()
    }

    pub fn meta(&self, key: &'static str) -> Result<Option<Bytes>, ReadError> {
        unimplemented!()
    }

    /// Gives all changes since the last call to the backend as those of one raft entry.
    pub fn finish_entry(&mut self, applied: Applied) {
        unimplemented!()
    }

    /// Everything strictly below `revision` that is not the newest of a live name is gone from now
    /// on; [`Writer::compact_step`] removes it. `Compacted` or `Future` as in etcd 3.
    pub fn compact(&mut self, revision: i64) -> Result<(), ReadError> {
        unimplemented!()
    }

    /// Removes up to `rows` rows of what compaction has condemned; true if there is more to do now.
    /// Local to the member: between entries, whenever there is time.
    pub fn compact_step(&mut self, rows: usize) -> Result<bool, ReadError> {
        unimplemented!()
    }
}

/// A write in a [`Txn`].
#[derive(Clone, Debug)]
pub struct Put {
    pub kind: Kind,
    pub name: Bytes,
    pub value: Bytes,
    pub lease: i64,
    pub expiry: Option<UnixNanos>,
    /// A new v2 node (`createdIndex` = this revision), even over an old one; otherwise the old
    /// node's is kept if there is one.
    pub new_node: bool,
    pub action: Action,
    pub told: bool,
}

/// Writes that become visible together at one main revision. Reads see its own writes.
/// Dropping it undoes all.
#[derive(Debug)]
pub struct Txn<'a> {
    _writer: &'a mut Writer,
}

#[allow(unused_variables, reason = "contract")]
impl Txn<'_> {
    /// The revision before this transaction.
    pub fn revision(&self) -> i64 {
        unimplemented!()
    }

    /// The live record, own writes first. `revision` of an own write is this transaction's.
    pub fn get(&self, kind: Kind, name: &[u8]) -> Result<Option<Arc<Record>>, ReadError> {
        unimplemented!()
    }

    /// Whether it lives, without reading its record.
    pub fn exists(&self, kind: Kind, name: &[u8]) -> bool {
        unimplemented!()
    }

    /// As [`View::has_children`], own writes included.
    pub fn has_children(&self, dir: &[u8]) -> bool {
        unimplemented!()
    }

    /// The names of all live keys and directories strictly below, own writes included, that v2 can
    /// name.
    pub fn descendants(&self, dir: &[u8]) -> Vec<(Kind, Bytes)> {
        unimplemented!()
    }

    pub fn put(&mut self, put: Put) {
        unimplemented!()
    }

    /// Deletes a name. A directory without a record can be deleted too (an implied one): its
    /// tombstone tells the watchers.
    pub fn delete(&mut self, kind: Kind, name: &[u8], action: Action, told: bool) {
        unimplemented!()
    }

    /// Up to `limit` names whose expiry is at or before `up_to`, in order of expiry, then name.
    pub fn due(&self, up_to: UnixNanos, limit: usize) -> Vec<(Kind, Bytes)> {
        unimplemented!()
    }

    /// Makes the writes visible at the next revision; `None` if there were none. The caller hands
    /// the commit to [`Store::publish`] once it has answered.
    pub fn commit(self) -> Option<Arc<Commit>> {
        unimplemented!()
    }
}
