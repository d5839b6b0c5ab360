//! The apply thread's end: transactions, raft entries, compaction.

mod open;
mod sweep;
mod txn;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use backend::{Applied, Backend, Change, Table};
use bytes::{BufMut, Bytes, BytesMut};

use self::sweep::Sweep;
pub use self::txn::{Put, Txn};
use crate::{
    record::codec,
    store::{ReadError, Store, Usage},
};

/// Rows of `Meta` that are the keyspace's own; `state` names its rows otherwise.
mod meta {
    pub(super) const REVISION: &str = "mvcc.revision";
    pub(super) const COMPACTED: &str = "mvcc.compacted";
    /// Up to where rows have been removed: local to the member.
    pub(super) const SWEPT: &str = "mvcc.swept";
    pub(super) const USAGE: &str = "mvcc.usage";
}

/// The apply thread's end: not shared, not cloned.
#[derive(Debug)]
pub struct Writer {
    store: Arc<Store>,
    /// Rows of the entry that is not finished.
    changes: Vec<Change>,
    /// Its rows of `Meta`.
    meta: BTreeMap<&'static str, Option<Bytes>>,
    /// Rows of revisions were written in this entry.
    moved: bool,
    sweep: Option<Sweep>,
    /// A sweep up to here is finished.
    swept: i64,
}

impl Writer {
    /// Opens the keyspace: reads the `Records` table to rebuild the indexes.
    pub fn open(backend: Arc<Backend>) -> Result<Self, ReadError> {
        let (index, swept) = open::read(&backend)?;
        Ok(Self {
            store: Arc::new(Store::new(backend, index)),
            changes: Vec::new(),
            meta: BTreeMap::new(),
            moved: false,
            sweep: None,
            swept,
        })
    }

    /// Goes on with a later state of the same keyspace, from another member: the whole file at this
    /// path takes the place of ours.
    ///
    /// Readers see the one or the other. Watchers are told what happened in between from history,
    /// or that it is compacted. For a moment both indexes are in memory.
    pub fn replace(&mut self, incoming: &Path) -> Result<(), ReadError> {
        let aside = self.store.backend.look_aside(incoming)?;
        let (next, swept) = open::read(&aside)?;
        aside.close()?;
        drop(aside);
        let revision = next.revision;
        {
            let store = &self.store;
            // A reader that has looked into the index that was finds in the tables what it looked
            // for, or nothing: then it looks again.
            let mut index = store.backend.replace(incoming, || store.index.write())?;
            *index = next;
            store.revision.store(revision, Ordering::Release);
            store.unfinished.write().clear();
        }
        self.changes.clear();
        self.meta.clear();
        (self.moved, self.sweep, self.swept) = (false, None, swept);
        self.store.hub.skip(revision);
        Ok(())
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Begins a transaction. Several in one raft entry are possible (each expiry is its own).
    pub fn begin(&mut self) -> Txn<'_> {
        Txn::new(self)
    }

    /// Small replicated state that goes with the current raft entry (table `Meta`).
    ///
    /// Names that begin with `mvcc.` are the keyspace's own.
    pub fn set_meta(&mut self, key: &'static str, value: Option<Bytes>) {
        self.meta.insert(key, value);
    }

    pub fn meta(&self, key: &'static str) -> Result<Option<Bytes>, ReadError> {
        match self.meta.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.meta(key),
        }
    }

    /// Gives all changes since the last call to the backend as those of one raft entry.
    pub fn finish_entry(&mut self, applied: Applied) {
        if self.moved {
            let revision = self.store.revision();
            self.set_meta(meta::REVISION, Some(encode_number(revision)));
            let usage = encode_usage(self.store.usage());
            self.set_meta(meta::USAGE, Some(usage));
        }
        let mut changes = std::mem::take(&mut self.changes);
        for (key, value) in std::mem::take(&mut self.meta) {
            let key = Bytes::from_static(key.as_bytes());
            changes.push(Change { table: Table::Meta, key, value });
        }
        self.store.backend.write(Some(applied), changes);
        if self.moved {
            // Only now, so that a reader always finds a record in one place or the other.
            self.store.unfinished.write().clear();
            self.moved = false;
        }
    }

    /// Everything strictly below `revision` that is not the newest of a live name is gone from now
    /// on; [`Writer::compact_step`] removes it. `Compacted` or `Future` as in etcd 3.
    ///
    /// What happened at `revision` itself stays whole, deletions too: a watch can begin there.
    pub fn compact(&mut self, revision: i64) -> Result<(), ReadError> {
        {
            let mut index = self.store.index.write();
            if revision <= index.compacted {
                return Err(ReadError::Compacted);
            }
            if revision > index.revision {
                return Err(ReadError::Future);
            }
            index.compacted = revision;
        }
        self.set_meta(meta::COMPACTED, Some(encode_number(revision)));
        Ok(())
    }
}

fn encode_number(number: i64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn decode_number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

fn encode_usage(usage: Usage) -> Bytes {
    let mut bytes = BytesMut::with_capacity(32);
    bytes.put_u64(usage.live_records);
    bytes.put_u64(usage.live_bytes);
    bytes.put_u64(usage.history_records);
    bytes.put_u64(usage.history_bytes);
    bytes.freeze()
}

fn decode_usage(bytes: &[u8]) -> Option<Usage> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let &[live_records, live_bytes, history_records, history_bytes] = numbers else { return None };
    rest.is_empty().then_some(Usage {
        live_records: u64::from_be_bytes(live_records),
        live_bytes: u64::from_be_bytes(live_bytes),
        history_records: u64::from_be_bytes(history_records),
        history_bytes: u64::from_be_bytes(history_bytes),
    })
}
