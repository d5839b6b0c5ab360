//! The hash that etcd has of its history (`HashKV`), for the same history the same.
//!
//! A CRC-32C over the keys' revisions in order, each as it lies in etcd's own table: 17 bytes of
//! revision (18 of a deletion), then the pair as a message. Directories have no part in it.

use std::sync::Arc;

use backend::Table;
use base::Revision;
use bytes::{BufMut as _, BytesMut};

use super::{Pin, ReadError, Store};
use crate::{
    path,
    record::{
        Kind, Record,
        codec::{self, put_varint},
    },
};

/// What the table of etcd is called; it goes in first.
const TABLE: &[u8] = b"key";

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
    _pin: Pin,
}

impl Store {
    /// Begins a hash of all that happened up to a revision (0: the current one), less what is
    /// compacted.
    pub fn hash(self: &Arc<Self>, revision: i64) -> Result<Hashing, ReadError> {
        let pin = self.pin();
        let (current, at) = self.resolved(revision)?;
        let compacted = self.compacted();
        // As in etcd: unless nothing is alive, when it takes what compaction has left.
        let is_empty = self.range(b"", None, at, 1)?.is_empty();
        let kept_at = if is_empty { compacted } else { at };
        let hash = crc32c::crc32c(TABLE);
        Ok(Hashing {
            store: Arc::clone(self),
            hash: KeysHash { hash, compacted, revision: at, current },
            kept_at,
            next: Vec::new(),
            _pin: pin,
        })
    }
}

impl Hashing {
    /// Goes on for so many rows; the hash once all are done. `Compacted` if it took too long, and
    /// removal did not wait any more: begin again.
    pub fn step(&mut self, rows: usize) -> Result<Option<KeysHash>, ReadError> {
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
        Ok(is_last.then_some(self.hash))
    }

    fn add(&mut self, record: &Record) -> Result<(), ReadError> {
        if record.kind != Kind::Key || !self.counts(record) {
            return Ok(());
        }
        let Some(whole) = self.store.record(record.revision)? else {
            return Err(ReadError::Compacted);
        };
        self.hash.hash = crc32c::crc32c_append(self.hash.hash, &encode(&whole));
        Ok(())
    }

    /// Whether etcd would have it, if its compaction is finished.
    fn counts(&self, record: &Record) -> bool {
        let Record { revision, deleted, .. } = record;
        if revision.main > self.hash.compacted {
            return true;
        }
        let index = self.store.index.read();
        !deleted && index.live_at(Kind::Key, &record.name, self.kept_at) == Some(*revision)
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
