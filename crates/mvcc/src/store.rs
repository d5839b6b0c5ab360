//! The readers' end: what everybody shares.

mod cache;
mod hash;
mod history;
mod ranges;
mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
};

use backend::{Backend, Table};
use base::{Revision, UnixNanos};
use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};

use self::cache::Cache;
pub(crate) use self::hash::SweepHash;
pub use self::{
    hash::{Hashing, KeysHash},
    history::Search,
    view::View,
};
pub use crate::writer::{LoadError, Put, Txn, Writer};
use crate::{
    digest::{DigestAt, Digests},
    index::Index,
    record::{
        Commit, Kind, Record,
        codec::{self, Row},
        numbers,
    },
    watch::{Hub, Interest, Watcher},
};

/// Names that are looked at under one hold of the index's lock, in a long read.
const NAMES_PER_HOLD: usize = 512;
/// Steps of compaction that pinned readers can hold back in a row.
const PINNED_STEPS_MAX: u32 = 1_000;

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
    /// What a compaction at the current revision would free, sooner or later: everything
    /// superseded, and all tombstones.
    pub history_records: u64,
    pub history_bytes: u64,
}

/// A value is larger than was asked for: its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Larger(pub usize);

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
pub struct Store {
    pub(crate) backend: Arc<Backend>,
    pub(crate) index: RwLock<Index>,
    /// As in the index: so that asking for it takes no lock. Moves after the index has.
    pub(crate) revision: AtomicI64,
    /// Committed, but not given to the backend yet, because its raft entry is not finished.
    pub(crate) unfinished: RwLock<BTreeMap<Revision, Arc<Record>>>,
    pub(crate) cache: Cache,
    pub(crate) hub: Hub,
    /// The oldest revisions that pinned readers may read, with how many readers each.
    pins: Mutex<BTreeMap<i64, usize>>,
    pinned_steps: AtomicU32,
    pub(crate) swept_rows: AtomicU64,
    /// Of the last compactions, if they hash what they see.
    hashes: Mutex<VecDeque<KeysHash>>,
    pub(crate) digests: Mutex<Digests>,
}

impl Store {
    /// A row of small replicated state, as the last finished entry left it.
    pub fn meta(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        Ok(self.backend.get(Table::Meta, key.as_bytes())?)
    }

    pub(crate) fn new(backend: Arc<Backend>, index: Index, digests: Digests) -> Self {
        let revision = index.revision;
        Self {
            backend,
            revision: AtomicI64::new(revision),
            index: RwLock::new(index),
            unfinished: RwLock::default(),
            cache: Cache::new(),
            hub: Hub::at(revision),
            pins: Mutex::default(),
            pinned_steps: AtomicU32::new(0),
            swept_rows: AtomicU64::new(0),
            hashes: Mutex::default(),
            digests: Mutex::new(digests),
        }
    }

    /// What all that entries have written comes to, after the entry of this index.
    ///
    /// Two members differ if it differs, with the same beginning.
    pub fn digest(&self, index: u64) -> DigestAt {
        self.digests.lock().look(index)
    }

    /// The current revision. A fresh store stands at 1.
    pub fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    /// The oldest revision that can be read; what lies strictly below is gone. -1 in a store that
    /// was never compacted.
    pub fn compacted(&self) -> i64 {
        self.index.read().compacted
    }

    /// Whether compaction still has rows to remove, so that [`Store::usage`] will fall by itself.
    pub fn is_compacting(&self) -> bool {
        let index = self.index.read();
        index.sweeping < index.compacted || index.sweep_runs
    }

    /// Locks the indexes for reading, for a few lookups that must agree. Hold it for microseconds.
    pub fn view(&self) -> View<'_> {
        View { index: self.index.read() }
    }

    /// The record at exactly this revision, with its value; `None` once compaction has removed it.
    /// Small recent records come from a bounded cache.
    ///
    /// A revision that came from [`View::head`] can have been superseded and compacted before it is
    /// read here: look it up again then.
    pub fn record(&self, revision: Revision) -> Result<Option<Arc<Record>>, ReadError> {
        // No value is larger than that.
        Ok(self.record_up_to(revision, usize::MAX)?.and_then(Result::ok))
    }

    /// As [`Store::record`]; a value with more than so many bytes is not read.
    pub fn record_up_to(
        &self,
        revision: Revision,
        value_max: usize,
    ) -> Result<Option<Result<Arc<Record>, Larger>>, ReadError> {
        if let Some(record) = self.in_memory(revision) {
            let length = record.value.len();
            return Ok(Some(if length > value_max { Err(Larger(length)) } else { Ok(record) }));
        }
        let Some(row) = self.row(revision)? else { return Ok(None) };
        if row.value_len > value_max {
            return Ok(Some(Err(Larger(row.value_len))));
        }
        if row.record.value.len() == row.value_len {
            let record = Arc::new(row.record);
            self.cache.insert(&record);
            return Ok(Some(Ok(record)));
        }
        let Some(value) = self.value(revision, row.value_len)? else {
            // Compaction removes both in one step: between the two reads, or this is damage.
            return match self.row(revision)? {
                None => Ok(None),
                Some(_) => Err(damaged(Table::Values, revision, "the value is not whole")),
            };
        };
        let record = Arc::new(Record { value, ..row.record });
        self.cache.insert(&record);
        Ok(Some(Ok(record)))
    }

    pub(crate) fn in_memory(&self, revision: Revision) -> Option<Arc<Record>> {
        self.cache.get(revision).or_else(|| self.unfinished.read().get(&revision).cloned())
    }

    /// The record at exactly this revision without its value, and the value's length; `None` as of
    /// [`Store::record`].
    pub fn head(&self, revision: Revision) -> Result<Option<(Record, usize)>, ReadError> {
        if let Some(record) = self.in_memory(revision) {
            let value_len = record.value.len();
            return Ok(Some((Record { value: Bytes::new(), ..(*record).clone() }, value_len)));
        }
        let Some(Row { record, value_len }) = self.row(revision)? else { return Ok(None) };
        Ok(Some((Record { value: Bytes::new(), ..record }, value_len)))
    }

    /// The numbers alone, from the tables.
    pub(crate) fn row(&self, revision: Revision) -> Result<Option<Row>, ReadError> {
        let key = revision.to_bytes();
        let Some(row) = self.backend.get(Table::Records, &key)? else { return Ok(None) };
        Ok(Some(codec::decode(&key, &row)?))
    }

    /// A value that does not lie in the record's row; `None` if it is not whole.
    fn value(&self, revision: Revision, len: usize) -> Result<Option<Bytes>, ReadError> {
        let mut whole = BytesMut::new();
        for (at, piece) in codec::pieces(len).enumerate() {
            let row = self.backend.get(Table::Values, &codec::piece_key(revision, at))?;
            let Some(row) = row.filter(|row| row.len() == piece.len()) else { return Ok(None) };
            if piece.len() == len {
                return Ok(Some(row));
            }
            // Row by row was measured to be faster than a scan over all of them.
            whole.reserve(len - piece.start);
            whole.extend_from_slice(&row);
        }
        Ok(Some(whole.freeze()))
    }

    /// The newest record of `name` at or before `at` (0: now); `None` if there is none or it is
    /// deleted.
    pub fn get(&self, kind: Kind, name: &[u8], at: i64) -> Result<Option<Arc<Record>>, ReadError> {
        Ok(self.get_with_revision(kind, name, at)?.1)
    }

    /// As [`Store::get`], with the current revision at the time.
    pub fn get_with_revision(
        &self,
        kind: Kind,
        name: &[u8],
        at: i64,
    ) -> Result<(i64, Option<Arc<Record>>), ReadError> {
        let (current, found) = self.get_up_to(kind, name, at, usize::MAX)?;
        Ok((current, found.and_then(Result::ok)))
    }

    /// The same; a value with more than so many bytes is not read.
    #[allow(clippy::type_complexity, reason = "what is there, if something is, unless larger")]
    pub fn get_up_to(
        &self,
        kind: Kind,
        name: &[u8],
        at: i64,
        value_max: usize,
    ) -> Result<(i64, Option<Result<Arc<Record>, Larger>>), ReadError> {
        let mut missed = None;
        loop {
            let (current, found) = {
                let index = self.index.read();
                let at = Self::resolve(&index, at)?;
                (index.revision, index.live_at(kind, name, at))
            };
            let Some(revision) = found else { return Ok((current, None)) };
            if let Some(record) = self.record_up_to(revision, value_max)? {
                return Ok((current, Some(record)));
            }
            // Superseded and compacted since the look into the index; another look finds
            // something newer, or that `at` is compacted.
            if missed.replace(revision) == Some(revision) {
                return Err(damaged(Table::Records, revision, "a live record is missing"));
            }
        }
    }

    /// Turns 0 into "now" and refuses what cannot be read: at the beginning of a read, whatever others
    /// have pinned.
    fn resolve(index: &Index, at: i64) -> Result<i64, ReadError> {
        if at <= 0 {
            return Ok(index.revision);
        }
        if at > index.revision {
            return Err(ReadError::Future);
        }
        if at < index.compacted {
            return Err(ReadError::Compacted);
        }
        Ok(at)
    }

    /// The same for a read that may have begun: what its [`Pin`] keeps it goes on reading.
    fn resolve_on(&self, index: &Index, at: i64) -> Result<i64, ReadError> {
        let is_kept = at > 0 && at >= index.sweeping && self.is_pinned(at);
        if at < index.compacted && is_kept { Ok(at) } else { Self::resolve(index, at) }
    }

    fn is_pinned(&self, at: i64) -> bool {
        self.pins.lock().first_key_value().is_some_and(|(floor, _)| *floor <= at)
    }

    /// All that happened at one main revision, `Compacted` if that lies below
    /// [`Store::compacted`]. At that revision itself and above nothing is ever missing.
    pub fn commit_at(&self, main: i64) -> Result<Arc<Commit>, ReadError> {
        let mut records: Vec<Record> = self.unfinished_at(main);
        if records.is_empty() {
            let (from, to) = (Revision::new(main, 0), Revision::new(main + 1, 0));
            let rows = self.backend.scan(
                Table::Records,
                &from.to_bytes(),
                Some(&to.to_bytes()),
                usize::MAX,
            )?;
            for (key, _) in rows {
                let revision = Revision::from_bytes(&key)
                    .ok_or_else(|| backend::Error::damaged(Table::Records, &key, "no revision"))?;
                records.extend(self.record(revision)?.map(|record| (*record).clone()));
            }
        }
        // Asked last, so that nothing was removed meanwhile.
        let index = self.index.read();
        if main < index.compacted {
            return Err(ReadError::Compacted);
        }
        if main > index.revision {
            return Err(ReadError::Future);
        }
        let advance = if main >= index.numbered_from { numbers(records.iter()) } else { 1 };
        Ok(Arc::new(Commit { main, advance, records }))
    }

    /// What is not given to the backend yet, from this row on.
    fn unfinished_from(&self, row: &[u8]) -> Vec<Arc<Record>> {
        let from = Revision::from_bytes(row.get(..Revision::BYTES).unwrap_or_default());
        let unfinished = self.unfinished.read();
        unfinished.range(from.unwrap_or_default()..).map(|(_, record)| Arc::clone(record)).collect()
    }

    fn unfinished_at(&self, main: i64) -> Vec<Record> {
        let (from, to) = (Revision::new(main, 0), Revision::new(main, u32::MAX));
        let unfinished = self.unfinished.read();
        unfinished.range(from..=to).map(|(_, record)| (**record).clone()).collect()
    }

    /// Watches from `since` (at most the current revision + 1, or later to wait for the future):
    /// first what history has, then what comes, with no gap and nothing twice.
    ///
    /// `Compacted` if `since` lies below [`Store::compacted`]; that revision itself can still be
    /// told, as in etcd 3.
    pub fn watch(self: &Arc<Self>, interest: Interest, since: i64) -> Result<Watcher, ReadError> {
        Watcher::new(self, interest, since)
    }

    /// Hands commits to the watchers they concern. Called by whoever applies, after answering.
    pub fn publish(&self, commits: &[Arc<Commit>]) {
        self.hub.publish(commits);
    }

    /// The revision up to which every watcher has been offered what concerns it: one that has
    /// nothing to say then has said all up to there.
    pub fn published(&self) -> i64 {
        self.hub.published()
    }

    /// Watchers registered now.
    pub fn watchers(&self) -> usize {
        self.hub.counts().iter().sum()
    }

    /// Those of paths (v2), and those of keys (v3).
    pub fn watchers_by_interest(&self) -> [usize; 2] {
        self.hub.counts()
    }

    /// Watchers that have history to read, and commits that wait for the others.
    pub fn watch_backlog(&self) -> (usize, usize) {
        self.hub.backlog()
    }

    /// Readers that hold back compaction.
    pub fn pinned(&self) -> usize {
        self.pins.lock().values().sum()
    }

    /// Rows that compaction has removed since the store was opened.
    pub fn swept_rows(&self) -> u64 {
        self.swept_rows.load(Ordering::Relaxed)
    }

    /// The nearest v2 expiry.
    pub fn next_expiry(&self) -> Option<UnixNanos> {
        self.index.read().expiries().next().map(|(expiry, ..)| expiry)
    }

    /// The live keys on a lease, in order.
    pub fn leased(&self, lease: i64) -> Vec<Bytes> {
        self.index.read().leased(lease).map(Bytes::copy_from_slice).collect()
    }

    /// How many live keys are on a lease, if these are no more than `max`.
    pub fn leased_up_to(&self, lease: i64, max: usize) -> usize {
        self.index.read().leased(lease).take(max).count()
    }

    pub fn usage(&self) -> Usage {
        self.index.read().usage
    }

    /// Holds back physical compaction while the guard lives, for a long read at one revision: what
    /// can be read now can be read as long, even if a compaction passes it meanwhile. The revision is
    /// [resolved](Store::resolved) once; [`Store::place`], ranges, counts and children go on there.
    /// Whoever comes later hears that it is compacted.
    ///
    /// Not for ever: after a thousand steps of compaction that found a pin, removal goes on, and
    /// reads fail with `Compacted`.
    pub fn pin(self: &Arc<Self>) -> Pin {
        let index = self.index.read();
        let floor = index.compacted;
        *self.pins.lock().entry(floor).or_default() += 1;
        drop(index);
        Pin { store: Arc::clone(self), floor }
    }

    /// Whether readers hold back a sweep up to `target`; counts how often they did.
    pub(crate) fn holds_back(&self, target: i64) -> bool {
        let pinned = self.pins.lock().first_key_value().is_some_and(|(floor, _)| *floor < target);
        if pinned && self.pinned_steps.fetch_add(1, Ordering::Relaxed) < PINNED_STEPS_MAX {
            return true;
        }
        self.pinned_steps.store(0, Ordering::Relaxed);
        false
    }
}

pub(crate) fn damaged(table: Table, revision: Revision, text: &str) -> ReadError {
    backend::Error::damaged(table, &revision.to_bytes(), text).into()
}

/// See [`Store::pin`].
#[derive(Debug)]
pub struct Pin {
    store: Arc<Store>,
    floor: i64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.store.pins.lock();
        if let Some(readers) = pins.get_mut(&self.floor) {
            *readers -= 1;
            if *readers == 0 {
                pins.remove(&self.floor);
            }
        }
    }
}
