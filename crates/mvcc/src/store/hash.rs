//! The hash that etcd has of its history (`HashKV`), for the same history the same.
//!
//! A CRC-32C over the keys' revisions in order, each as it lies in etcd's own table: 17 bytes of
//! revision (18 of a deletion), then the pair as a message. Directories have no part in it.

use std::sync::Arc;

use backend::Table;
use base::Revision;
use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Pin, ReadError, Store};
use crate::{
    index::{Index, Points},
    path,
    record::{
        Kind, Record,
        codec::{self, put_varint},
    },
};

/// What the table of etcd is called; it goes in first.
const TABLE: &[u8] = b"key";
/// Compactions whose hashes are kept, as in etcd.
const HASHES_MAX: usize = 10;

/// What [`Hashing::step`] comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysHash {
    pub hash: u32,
    /// See [`Store::compacted`].
    pub compacted: i64,
    /// The last revision in it.
    pub revision: i64,
    /// The current revision when it began.
    pub current: i64,
}

/// A hash that is being computed, a few rows at a time. Holds back removal meanwhile, for a bounded
/// time.
#[derive(Debug)]
pub struct Hashing {
    store: Arc<Store>,
    hash: KeysHash,
    /// At what revision a record that lies below the compacted one must be alive, to count.
    kept_at: i64,
    /// The first row not looked at.
    next: Vec<u8>,
    is_done: bool,
    _pin: Pin,
}

impl Store {
    /// Begins a hash of all that happened up to a revision (0: the current one), less what is
    /// compacted. If a compaction there has [left one](crate::Writer::hash_compactions), that is it.
    pub fn hash(self: &Arc<Self>, revision: i64) -> Result<Hashing, ReadError> {
        let pin = self.pin();
        if let Some(hash) = self.hashes().into_iter().find(|hash| hash.revision == revision) {
            let (store, current) = (Arc::clone(self), self.revision());
            let hash = KeysHash { current, ..hash };
            return Ok(Hashing {
                store,
                hash,
                kept_at: 0,
                next: Vec::new(),
                is_done: true,
                _pin: pin,
            });
        }
        let (current, at) = self.resolved(revision)?;
        let compacted = self.compacted();
        let kept_at = kept_at(&self.index.read(), compacted, at);
        let hash = KeysHash { hash: crc32c::crc32c(TABLE), compacted, revision: at, current };
        let (store, next) = (Arc::clone(self), Vec::new());
        Ok(Hashing { store, hash, kept_at, next, is_done: false, _pin: pin })
    }

    /// The hashes that the last compactions have left, oldest first: of what happened after the
    /// compaction before, up to each.
    pub fn hashes(&self) -> Vec<KeysHash> {
        self.hashes.lock().iter().copied().collect()
    }

    pub(crate) fn keep_hash(&self, hash: KeysHash) {
        let mut hashes = self.hashes.lock();
        hashes.push_back(hash);
        if hashes.len() > HASHES_MAX {
            hashes.pop_front();
        }
    }
}

/// As in etcd: what lies below the compacted revision counts if it lives at the other one; but if
/// nothing lives there, all that compaction has left does.
fn kept_at(index: &Index, compacted: i64, at: i64) -> i64 {
    let lives = |(_, points): (&[u8], &Points)| points.live_at(at).is_some();
    if index.names(Kind::Key).range(b"", None).any(lives) { at } else { compacted }
}

/// Whether etcd would have a record, if its compaction is finished.
fn counts(index: &Index, record: &Record, compacted: i64, kept_at: i64) -> bool {
    let Record { kind, name, revision, deleted, .. } = record;
    let is_kept = || !deleted && index.live_at(*kind, name, kept_at) == Some(*revision);
    *kind == Kind::Key && (revision.main > compacted || is_kept())
}

/// Adds a record that counts.
fn add(store: &Store, hash: &mut u32, revision: Revision) -> Result<(), ReadError> {
    let whole = store.record(revision)?.ok_or(ReadError::Compacted)?;
    *hash = crc32c::crc32c_append(*hash, &encode(&whole));
    Ok(())
}

impl Hashing {
    /// Goes on for so many rows; the hash once all are done. `Compacted` if it took too long, and
    /// removal did not wait any more: begin again.
    pub fn step(&mut self, rows: usize) -> Result<Option<KeysHash>, ReadError> {
        if self.is_done {
            return Ok(Some(self.hash));
        }
        let store = Arc::clone(&self.store);
        let end = Revision::new(self.hash.revision + 1, 0).to_bytes();
        // First what is not given to the backend yet: what is not there any more then is here.
        let unfinished = store.unfinished_from(&self.next);
        let found = store.backend.scan(Table::Records, &self.next, Some(&end), rows.max(1))?;
        let is_last = found.len() < rows.max(1);
        let mut last = None;
        for (key, row) in found {
            let row = codec::decode(&key, &row)?;
            self.add(&row.record)?;
            self.next = path::successor(&key);
            last = Some(row.record.revision);
        }
        if is_last {
            let newer = |record: &&Arc<Record>| last.is_none_or(|last| record.revision > last);
            let is_in = |record: &&Arc<Record>| record.revision.main <= self.hash.revision;
            let rest: Vec<_> = unfinished.iter().filter(newer).filter(is_in).cloned().collect();
            for record in rest {
                self.add(&record)?;
            }
        }
        if store.index.read().sweeping > self.hash.compacted {
            return Err(ReadError::Compacted);
        }
        self.is_done = is_last;
        Ok(is_last.then_some(self.hash))
    }

    fn add(&mut self, record: &Record) -> Result<(), ReadError> {
        let index = self.store.index.read();
        let counts = counts(&index, record, self.hash.compacted, self.kept_at);
        drop(index);
        if counts { add(&self.store, &mut self.hash.hash, record.revision) } else { Ok(()) }
    }
}

/// The hash of what a compaction sees: all that happened since the one before, up to its own
/// revision.
#[derive(Debug)]
pub(crate) struct SweepHash {
    hash: u32,
    before: i64,
    target: i64,
    kept_at: i64,
}

impl SweepHash {
    /// `before`: up to where all was removed.
    pub(crate) fn new(index: &Index, before: i64, target: i64) -> Self {
        let kept_at = kept_at(index, before, target);
        Self { hash: crc32c::crc32c(TABLE), before, target, kept_at }
    }

    /// Adds rows, before those among them go that are condemned.
    pub(crate) fn add(&mut self, store: &Store, rows: &[(Bytes, Bytes)]) -> Result<(), ReadError> {
        for (key, row) in rows {
            let record = codec::decode(key, row)?.record;
            let counts = counts(&store.index.read(), &record, self.before, self.kept_at);
            if counts {
                add(store, &mut self.hash, record.revision)?;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self, store: &Store) -> KeysHash {
        let Self { hash, before, target, .. } = self;
        KeysHash { hash, compacted: before, revision: target, current: store.revision() }
    }
}

/// A row of etcd's table.
fn encode(record: &Record) -> BytesMut {
    let mut row = BytesMut::with_capacity(64 + record.name.len() + record.value.len());
    row.put_i64(record.revision.main);
    row.put_u8(b'_');
    row.put_u64(record.revision.sub.into());
    if record.deleted {
        row.put_u8(b't');
    }
    put_bytes(&mut row, 1, &record.name);
    if record.deleted {
        return row;
    }
    put_number(&mut row, 2, record.create_revision);
    put_number(&mut row, 3, record.revision.main);
    put_number(&mut row, 4, record.version);
    put_bytes(&mut row, 5, &record.value);
    put_number(&mut row, 6, record.lease);
    row
}

/// A field of a message; left out if it is empty.
fn put_bytes(into: &mut BytesMut, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        into.put_u8(field << 3 | 2);
        put_varint(into, bytes.len() as u64);
        into.put_slice(bytes);
    }
}

fn put_number(into: &mut BytesMut, field: u8, number: i64) {
    if number != 0 {
        into.put_u8(field << 3);
        put_varint(into, number.cast_unsigned());
    }
}
