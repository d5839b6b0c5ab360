//! The apply thread's end: transactions, raft entries, compaction.

mod load;
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
pub use self::{
    load::LoadError,
    txn::{Put, Txn},
};
use crate::{
    digest,
    index::Index,
    path,
    record::{Commit, codec},
    store::{ReadError, Store, Usage},
};

/// Rows of `Meta` that are read at once.
const META_ROWS_PER_READ: usize = 1_000;

/// Rows of `Meta` that are the keyspace's own; `state` names its rows otherwise.
mod meta {
    pub(super) const REVISION: &str = "mvcc.revision";
    pub(super) const COMPACTED: &str = "mvcc.compacted";
    /// Up to where rows have been removed: local to the member.
    pub(super) const SWEPT: &str = "mvcc.swept";
    /// Local, too: history that is condemned counts until it is removed.
    pub(super) const USAGE: &str = "mvcc.usage";
    /// The sum over the rows of `Records`: local, as what is removed.
    pub(super) const SUM: &str = "mvcc.sum";
    /// See [`crate::digest`].
    pub(super) const DIGEST: &str = "mvcc.digest";
    /// There once each told change takes a number: from which revision on.
    pub(super) const NUMBERED_FROM: &str = "mvcc.numbered_from";
}

/// The apply thread's end: not shared, not cloned.
#[derive(Debug)]
pub struct Writer {
    store: Arc<Store>,
    /// Rows of the entry that is not finished.
    changes: Vec<Change>,
    /// Its rows of `Meta`.
    meta: BTreeMap<Bytes, Option<Bytes>>,
    /// Rows of revisions were written in this entry.
    moved: bool,
    sweep: Option<Sweep>,
    /// A sweep up to here is finished.
    swept: i64,
    /// Over the rows of `Records`.
    sum: u64,
    /// Whether sweeps hash what they see; and whether they see all of it: the first one may go on where
    /// a former run was interrupted.
    hashes: bool,
    sees_all: bool,
}

impl Writer {
    /// Opens the keyspace: reads the `Records` table to rebuild the indexes.
    pub fn open(backend: Arc<Backend>) -> Result<Self, ReadError> {
        let open::Found { index, swept, sum, digests } = open::read(&backend)?;
        Ok(Self {
            sees_all: sees_all(&index, swept),
            store: Arc::new(Store::new(backend, index, digests)),
            sum,
            changes: Vec::new(),
            meta: BTreeMap::new(),
            moved: false,
            sweep: None,
            swept,
            hashes: false,
        })
    }

    /// Whether each removal of compacted history also hashes it, for [`Store::hash`] at the compacted
    /// revision, as etcd does always: every compaction then reads all that there is, values too.
    pub fn hash_compactions(&mut self, hashes: bool) {
        self.hashes = hashes;
    }

    /// Goes on with a later state of the same keyspace, from another member: the whole file at this
    /// path takes the place of ours.
    ///
    /// Readers see the one or the other. Watchers are told what happened in between from history,
    /// or that it is compacted. For a moment both indexes are in memory.
    pub fn replace(&mut self, incoming: &Path) -> Result<(), ReadError> {
        let aside = self.store.backend.look_aside(incoming)?;
        let open::Found { index: next, swept, sum, digests } = open::read(&aside)?;
        aside.close()?;
        drop(aside);
        let (revision, sees_all) = (next.revision, sees_all(&next, swept));
        {
            let store = &self.store;
            // A reader that has looked into the index that was finds in the tables what it looked
            // for, or nothing: then it looks again.
            let mut index = store.backend.replace(incoming, || store.index.write())?;
            *index = next;
            store.revision.store(revision, Ordering::Release);
            store.unfinished.write().clear();
            *store.digests.lock() = digests;
        }
        self.sum = sum;
        self.changes.clear();
        self.meta.clear();
        (self.moved, self.sweep, self.swept, self.sees_all) = (false, None, swept, sees_all);
        self.store.hub.skip(revision);
        Ok(())
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(crate) fn begin(&mut self) -> Txn<'_> {
        Txn::new(self)
    }

    /// Carries out a transaction. Several in one raft entry are possible (each expiry is its own).
    /// An error of `write` undoes all. `None`: there were no changes.
    ///
    /// `write` is called a second time, on what was there at first, if its changes take more numbers
    /// than one: the records that it sees, and its answer, have the right ones then. The caller
    /// hands the commit to [`Store::publish`] once it has answered.
    pub fn transact<T, E: From<ReadError>>(
        &mut self,
        mut write: impl FnMut(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<(T, Option<Arc<Commit>>), E> {
        let mut txn = self.begin();
        let mut done = write(&mut txn)?;
        if txn.restart_if_short() {
            done = write(&mut txn)?;
        }
        Ok((done, txn.commit()?))
    }

    /// From the next revision on every change that v2 tells takes a number of its own; for ever.
    pub fn number_each_change(&mut self) {
        let from = {
            let mut index = self.store.index.write();
            let next = index.revision + 1;
            if index.numbered_from <= next {
                return;
            }
            index.numbered_from = next;
            next
        };
        self.set_meta(meta::NUMBERED_FROM, Some(encode_number(from)));
    }

    /// Small replicated state that goes with the current raft entry (table `Meta`).
    ///
    /// Names that begin with `mvcc.` are the keyspace's own.
    pub fn set_meta(&mut self, key: impl Into<Bytes>, value: Option<Bytes>) {
        self.meta.insert(key.into(), value);
    }

    pub fn meta(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        match self.meta.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.store.backend.get(Table::Meta, key)?),
        }
    }

    /// All rows of `Meta` whose names begin with `prefix`, without what the current entry changes.
    pub fn meta_rows(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let mut rows = self.store.backend.scan(Table::Meta, prefix, None, META_ROWS_PER_READ)?;
        let mut all = Vec::new();
        while rows.first().is_some_and(|(key, _)| key.starts_with(prefix)) {
            let next = rows.last().map(|(key, _)| path::successor(key)).unwrap_or_default();
            all.extend(rows.into_iter().filter(|(key, _)| key.starts_with(prefix)));
            rows = self.store.backend.scan(Table::Meta, &next, None, META_ROWS_PER_READ)?;
        }
        Ok(all)
    }

    /// A new digest begins with the entry that is not finished yet: builds that wrote other rows may
    /// have been members until now.
    pub fn restart_digest(&mut self) {
        self.store.digests.lock().restart();
    }

    /// A new digest begins with the next entry: what is here now does not come from entries that others
    /// have applied.
    pub fn forget_digest(&mut self) {
        self.restart_digest();
        let key = Bytes::from_static(meta::DIGEST.as_bytes());
        self.store.backend.write(None, vec![Change { table: Table::Meta, key, value: None }]);
    }

    /// Gives all changes since the last call to the backend as those of one raft entry.
    pub fn finish_entry(&mut self, applied: Applied) {
        if self.moved {
            let revision = self.store.revision();
            self.set_meta(meta::REVISION, Some(encode_number(revision)));
            let usage = encode_usage(self.store.usage());
            self.set_meta(meta::USAGE, Some(usage));
            let records = self.changes.iter().filter(|change| change.table == Table::Records);
            let added = records.filter_map(|Change { key, value, .. }| {
                value.as_ref().map(|row| digest::of_record(key, row))
            });
            self.sum = added.fold(self.sum, u64::wrapping_add);
            self.set_meta(meta::SUM, Some(encode_sum(self.sum)));
        }
        let mut changes = std::mem::take(&mut self.changes);
        for (key, value) in std::mem::take(&mut self.meta) {
            changes.push(Change { table: Table::Meta, key, value });
        }
        let rows = changes.iter().filter_map(|change| digest::of_change(change, is_local));
        if let Some(row) = self.store.digests.lock().finish(applied.index.0, rows) {
            changes.push(set_meta(meta::DIGEST, row));
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

    /// Goes on at a later revision, as if something had happened up to there: all before is compacted.
    /// For a keyspace that takes the place of one that had gone on further.
    pub fn raise(&mut self, revision: i64) -> Result<(), ReadError> {
        {
            let mut index = self.store.index.write();
            index.revision = index.revision.max(revision);
            self.store.revision.store(index.revision, Ordering::Release);
        }
        self.store.hub.skip(revision);
        self.moved = true;
        self.compact(revision)
    }
}

/// Whether a row of `Meta` follows from more than the entries so far.
fn is_local(key: &[u8]) -> bool {
    [meta::SWEPT, meta::USAGE, meta::SUM, meta::DIGEST].iter().any(|row| key == row.as_bytes())
}

fn set_meta(key: &'static str, value: Bytes) -> Change {
    Change { table: Table::Meta, key: Bytes::from_static(key.as_bytes()), value: Some(value) }
}

fn sees_all(index: &Index, swept: i64) -> bool {
    swept == index.compacted
}

/// The current revision, if it is this row of `Meta` that says it.
pub(crate) fn revision_in(key: &[u8], row: &[u8]) -> Result<Option<i64>, ReadError> {
    if key != meta::REVISION.as_bytes() {
        return Ok(None);
    }
    let revision = decode_number(row);
    let damaged = || backend::Error::damaged(Table::Meta, key, "another length");
    Ok(Some(revision.ok_or_else(damaged)?))
}

fn encode_number(number: i64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn decode_number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

fn encode_sum(sum: u64) -> Bytes {
    Bytes::copy_from_slice(&sum.to_be_bytes())
}

fn decode_sum(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
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
