//! Writes that become visible together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use base::{Revision, UnixNanos};
use bytes::Bytes;

use super::{Writer, codec};
use crate::{
    index::Replaced,
    path,
    record::{Action, Commit, Kind, Record, record_bytes},
    store::{ReadError, Store},
};

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
    writer: &'a mut Writer,
    writes: Vec<Write>,
    /// The newest of `writes` for each name.
    own: BTreeMap<(Kind, Bytes), usize>,
    /// A predecessor could not be read: the commit fails.
    failed: Option<ReadError>,
}

#[derive(Debug)]
struct Write {
    record: Arc<Record>,
    replaced: Option<Replaced>,
    /// Where the record is that this one takes the place of, unless that is an own write.
    before: Option<Revision>,
}

/// What a write needs to know of the live record before it.
struct Predecessor {
    create_revision: i64,
    version: i64,
    created_index: i64,
    replaced: Replaced,
}

impl Predecessor {
    fn of(record: &Record, value_len: usize) -> Self {
        let bytes = record_bytes(record.name.len(), value_len);
        Self {
            create_revision: record.create_revision,
            version: record.version,
            created_index: record.created_index,
            replaced: Replaced { bytes, expiry: record.expiry },
        }
    }
}

impl<'a> Txn<'a> {
    pub(super) fn new(writer: &'a mut Writer) -> Self {
        Self { writer, writes: Vec::new(), own: BTreeMap::new(), failed: None }
    }

    fn store(&self) -> &Arc<Store> {
        &self.writer.store
    }

    /// The revision before this transaction.
    pub fn revision(&self) -> i64 {
        self.store().revision()
    }

    /// The own write of a name, if there is one.
    fn own(&self, kind: Kind, name: &[u8]) -> Option<&Arc<Record>> {
        // A transaction mostly has no writes yet when it reads.
        if self.own.is_empty() {
            return None;
        }
        let at = self.own.get(&(kind, Bytes::copy_from_slice(name)))?;
        self.writes.get(*at).map(|write| &write.record)
    }

    /// The live record, own writes first. `revision` of an own write is this transaction's.
    pub fn get(&self, kind: Kind, name: &[u8]) -> Result<Option<Arc<Record>>, ReadError> {
        match self.own(kind, name) {
            Some(record) if record.deleted => Ok(None),
            Some(record) => Ok(Some(Arc::clone(record))),
            None => self.store().get(kind, name, 0),
        }
    }

    /// Whether it lives, without reading its record.
    pub fn exists(&self, kind: Kind, name: &[u8]) -> bool {
        match self.own(kind, name) {
            Some(record) => !record.deleted,
            None => self.store().view().head(kind, name).is_some(),
        }
    }

    /// As [`View::has_children`](crate::View::has_children), own writes included.
    pub fn has_children(&self, dir: &[u8]) -> bool {
        if self.own_below(dir).any(|record| !record.deleted) {
            return true;
        }
        let index = self.store().index.read();
        let mut below = index.below(dir, index.revision);
        below.any(|(kind, name)| self.own(kind, name).is_none())
    }

    /// The names of all live keys and directories strictly below, own writes included, that v2 can
    /// name.
    pub fn descendants(&self, dir: &[u8]) -> Vec<(Kind, Bytes)> {
        let mut all: BTreeSet<(Kind, Bytes)> = {
            let index = self.store().index.read();
            let below = index.below(dir, index.revision);
            below.map(|(kind, name)| (kind, Bytes::copy_from_slice(name))).collect()
        };
        for record in self.own_below(dir) {
            let name = (record.kind, record.name.clone());
            if record.deleted {
                all.remove(&name);
            } else {
                all.insert(name);
            }
        }
        all.into_iter().collect()
    }

    /// The newest own write of each name below `dir` that v2 can name.
    fn own_below(&self, dir: &[u8]) -> impl Iterator<Item = &Record> {
        let writes = self.own.values().filter_map(|at| self.writes.get(*at));
        let below = move |name: &[u8]| path::is_below(dir, name) && path::is_path(name);
        writes.map(|write| write.record.as_ref()).filter(move |record| below(&record.name))
    }

    /// Writes a name. Whether it is new, and its numbers, follow from what is there.
    #[allow(clippy::needless_pass_by_value, reason = "built for this call alone")]
    pub fn put(&mut self, put: Put) {
        let before = self.predecessor(put.kind, &put.name);
        let revision = self.next_revision();
        let main = revision.main;
        let (create_revision, version, created_index) = match &before {
            None => (main, 1, main),
            Some((old, _)) => {
                let created_index = if put.new_node { main } else { old.created_index };
                (old.create_revision, old.version + 1, created_index)
            }
        };
        let record = Record {
            kind: put.kind,
            // Copied, since they may be slices of a whole batch of entries and live for long.
            name: Bytes::copy_from_slice(&put.name),
            revision,
            deleted: false,
            value: Bytes::copy_from_slice(&put.value),
            create_revision,
            version,
            lease: put.lease,
            created_index,
            expiry: put.expiry,
            action: put.action,
            told: put.told,
        };
        self.add(record, before);
    }

    /// Deletes a name. A directory without a record can be deleted too (an implied one): its
    /// tombstone tells the watchers.
    pub fn delete(&mut self, kind: Kind, name: &[u8], action: Action, told: bool) {
        let before = self.predecessor(kind, name);
        let record = Record {
            kind,
            name: Bytes::copy_from_slice(name),
            revision: self.next_revision(),
            deleted: true,
            value: Bytes::new(),
            create_revision: 0,
            version: 0,
            lease: 0,
            created_index: before.as_ref().map_or(0, |(old, _)| old.created_index),
            expiry: None,
            action,
            told,
        };
        self.add(record, before);
    }

    fn next_revision(&self) -> Revision {
        let sub = u32::try_from(self.writes.len()).unwrap_or(u32::MAX);
        Revision::new(self.revision() + 1, sub)
    }

    fn add(&mut self, record: Record, before: Option<(Predecessor, Option<Revision>)>) {
        let (replaced, before) = before.map_or((None, None), |(old, at)| (Some(old.replaced), at));
        self.own.insert((record.kind, record.name.clone()), self.writes.len());
        self.writes.push(Write { record: Arc::new(record), replaced, before });
    }

    /// The live record before this write, and where it is if it is not an own write.
    fn predecessor(&mut self, kind: Kind, name: &[u8]) -> Option<(Predecessor, Option<Revision>)> {
        if let Some(record) = self.own(kind, name) {
            let old = Predecessor::of(record, record.value.len());
            return (!record.deleted).then_some((old, None));
        }
        let revision = self.store().view().head(kind, name)?;
        match self.stored(revision) {
            Ok(old) => Some((old, Some(revision))),
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }

    fn stored(&self, revision: Revision) -> Result<Predecessor, ReadError> {
        if let Some(record) = self.store().in_memory(revision) {
            return Ok(Predecessor::of(&record, record.value.len()));
        }
        // The value is not needed. Nobody but this thread removes rows.
        let row = self.store().row(revision)?.ok_or_else(|| {
            crate::store::damaged(backend::Table::Records, revision, "a live record is missing")
        })?;
        Ok(Predecessor::of(&row.record, row.value_len))
    }

    /// Up to `limit` names whose expiry is at or before `up_to`, in order of expiry, then name.
    pub fn due(&self, up_to: UnixNanos, limit: usize) -> Vec<(Kind, Bytes)> {
        let own = self.own.values().filter_map(|at| self.writes.get(*at));
        let mut due: BTreeSet<(UnixNanos, Bytes, Kind)> = own
            .filter_map(|write| {
                let record = &write.record;
                let expiry = record.expiry.filter(|expiry| *expiry <= up_to)?;
                Some((expiry, record.name.clone(), record.kind))
            })
            .collect();
        let index = self.store().index.read();
        let stored = index.expiries().take_while(|(expiry, ..)| *expiry <= up_to);
        let stored = stored.filter(|(_, kind, name)| self.own(*kind, name).is_none());
        due.extend(
            stored
                .take(limit)
                .map(|(expiry, kind, name)| (expiry, Bytes::copy_from_slice(name), kind)),
        );
        due.into_iter().take(limit).map(|(_, name, kind)| (kind, name)).collect()
    }

    /// Makes the writes visible at the next revision; `None` if there were none. The caller hands
    /// the commit to [`Store::publish`] once it has answered.
    ///
    /// An error means that a record which these writes replace could not be read: nothing was
    /// written, and the member must stop.
    pub fn commit(self) -> Result<Option<Arc<Commit>>, ReadError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.writes.is_empty() {
            return Ok(None);
        }
        let store = Arc::clone(&self.writer.store);
        let main = store.revision() + 1;
        // First where readers find the records, then that they are there.
        {
            let mut unfinished = store.unfinished.write();
            unfinished.extend(
                self.writes.iter().map(|write| (write.record.revision, Arc::clone(&write.record))),
            );
        }
        for write in &self.writes {
            codec::encode(&write.record, &mut self.writer.changes);
            store.cache.insert(&write.record);
            if let Some(before) = write.before {
                store.cache.demote(before);
            }
        }
        {
            let mut index = store.index.write();
            for write in &self.writes {
                index.apply(&write.record, write.replaced);
            }
            index.revision = main;
            store.revision.store(main, Ordering::Release);
        }
        self.writer.moved = true;
        let records = self.writes.iter().map(|write| (*write.record).clone()).collect();
        Ok(Some(Arc::new(Commit { main, advance: 1, records })))
    }
}
