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
    record::{Action, Commit, Kind, Record, numbers, record_bytes},
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
    /// The numbers that it takes: see [`Commit::advance`].
    advance: i64,
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
            replaced: Replaced { bytes, expiry: record.expiry, lease: record.lease },
        }
    }
}

impl<'a> Txn<'a> {
    pub(super) fn new(writer: &'a mut Writer) -> Self {
        Self { writer, advance: 1, writes: Vec::new(), own: BTreeMap::new(), failed: None }
    }

    /// Whether the writes take more numbers than this transaction has; then they are undone, and
    /// it has enough.
    pub(super) fn restart_if_short(&mut self) -> bool {
        let next = self.revision() + 1;
        if self.writes.len() <= 1 || self.store().index.read().numbered_from > next {
            return false;
        }
        let needed = numbers(self.writes.iter().map(|write| write.record.as_ref()));
        if needed <= self.advance {
            return false;
        }
        self.advance = needed;
        self.writes.clear();
        self.own.clear();
        true
    }

    /// The store as it was before.
    pub fn store(&self) -> &Arc<Store> {
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

    /// Where a live key stands, own writes included.
    pub fn place(&self, name: &[u8]) -> Option<Revision> {
        match self.own(Kind::Key, name) {
            Some(record) => (!record.deleted).then_some(record.revision),
            None => self.store().view().head(Kind::Key, name),
        }
    }

    /// Where the live keys with `from <= key < to` (no `to`: to the end) stand, in order, own writes
    /// included, at most `limit` of them; and how many there are in all, or how many up to the limit, if
    /// nobody wants to know of more.
    pub fn places(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        (limit, counts_all): (usize, bool),
    ) -> (Vec<Revision>, u64) {
        let (mut places, mut total) = (Vec::new(), 0);
        self.each_key(from, to, |_, place| {
            if places.len() < limit {
                places.push(place);
            }
            total += 1;
            counts_all || places.len() < limit
        });
        (places, total)
    }

    /// The live keys of a range, in order, own writes included.
    pub fn keys(&self, from: &[u8], to: Option<&[u8]>) -> Vec<Bytes> {
        let mut names = Vec::new();
        self.each_key(from, to, |name, _| {
            names.push(Bytes::copy_from_slice(name));
            true
        });
        names
    }

    /// Calls `each` for every live key of a range until it says false.
    fn each_key(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        mut each: impl FnMut(&[u8], Revision) -> bool,
    ) {
        let index = self.store().index.read();
        let stored = index.names(Kind::Key).range(from, to);
        let stored = stored.filter_map(|(name, points)| Some((name, points.newest().live()?)));
        let mut own = self.own_keys(from, to).peekable();
        let tell_own = |record: &Record, each: &mut dyn FnMut(&[u8], Revision) -> bool| {
            record.deleted || each(&record.name, record.revision)
        };
        for (name, place) in stored {
            while let Some(record) = own.next_if(|record| record.name < name) {
                if !tell_own(record, &mut each) {
                    return;
                }
            }
            let goes_on = match own.next_if(|record| record.name == name) {
                Some(record) => tell_own(record, &mut each),
                None => each(name, place),
            };
            if !goes_on {
                return;
            }
        }
        // The last ones, until it says false.
        own.all(|record| tell_own(record, &mut each));
    }

    /// The record at a place, an own write's among them.
    pub fn record(&self, place: Revision) -> Result<Option<Arc<Record>>, ReadError> {
        match self.own_at(place) {
            Some(record) => Ok(Some(Arc::clone(record))),
            None => self.store().record(place),
        }
    }

    /// As [`Txn::record`], without the value.
    pub fn head(&self, place: Revision) -> Result<Option<Record>, ReadError> {
        match self.own_at(place) {
            Some(record) => Ok(Some(Record { value: Bytes::new(), ..(**record).clone() })),
            None => Ok(self.store().head(place)?.map(|(record, _)| record)),
        }
    }

    fn own_at(&self, place: Revision) -> Option<&Arc<Record>> {
        let write = self.writes.get(usize::try_from(place.sub).ok()?)?;
        (place.main == self.main()).then_some(&write.record)
    }

    /// The newest own write of each key of a range, in order.
    fn own_keys(&self, from: &[u8], to: Option<&[u8]>) -> impl Iterator<Item = &Record> {
        let start = (Kind::Key, Bytes::copy_from_slice(from));
        let is_empty = to.is_some_and(|to| to <= from);
        let to = to.map(Bytes::copy_from_slice);
        let own = self.own.range(start..).filter(move |_| !is_empty);
        let own = own.take_while(move |((kind, name), _)| {
            *kind == Kind::Key && to.as_ref().is_none_or(|to| name < to)
        });
        own.filter_map(|(_, at)| Some(self.writes.get(*at)?.record.as_ref()))
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

    /// Writes records of another store as they are: see [`Writer::load`].
    pub(super) fn take_over(&mut self, main: i64, records: Vec<Record>) {
        self.advance = main - self.revision();
        for mut record in records {
            let before = self.predecessor(record.kind, &record.name);
            // They may be slices of something large.
            record.name = Bytes::copy_from_slice(&record.name);
            record.value = Bytes::copy_from_slice(&record.value);
            if record.deleted {
                record.created_index = before.as_ref().map_or(0, |(old, _)| old.created_index);
            }
            self.add(record, before);
        }
    }

    fn next_revision(&self) -> Revision {
        let sub = u32::try_from(self.writes.len()).unwrap_or(u32::MAX);
        Revision::new(self.main(), sub)
    }

    /// The revision of its writes.
    pub fn main(&self) -> i64 {
        self.revision() + self.advance
    }

    /// Whether there are writes.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty()
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

    /// Makes the writes visible at their revision; `None` if there were none.
    ///
    /// An error means that a record which these writes replace could not be read: nothing was
    /// written, and the member must stop.
    pub(crate) fn commit(self) -> Result<Option<Arc<Commit>>, ReadError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.writes.is_empty() {
            return Ok(None);
        }
        let store = Arc::clone(&self.writer.store);
        let (main, advance) = (self.main(), self.advance);
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
        Ok(Some(Arc::new(Commit { main, advance, records })))
    }
}
