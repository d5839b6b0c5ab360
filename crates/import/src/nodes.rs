//! The v2 store: what its JSON holds, and what the log says since.
//!
//! It is built up as a keyspace of its own, with the numbers of the original: `/1` is what clients
//! see, `/0` and `/2` are the original's members and users. All take part in the counting.

mod history;
mod requests;
mod store;
#[cfg(test)]
mod tests;
mod users;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use base::Disk;
use bytes::Bytes;
use mvcc::{Kind, Record};
use proto::command::KeysMethod;
use state::{apply::Standing, auth::Parts};

use self::requests::Step;
use crate::{
    Damage, ImportError, Note,
    building::Building,
    messages::{ConfChange, Request},
    snap::Snap,
};

/// Where the nodes are that clients see.
const CLIENTS: &[u8] = b"/1";
/// What the original keeps of its members, and its version.
const MEMBERS: &str = "/0/";

/// The v2 store as it was.
#[derive(Debug)]
pub(crate) struct Nodes {
    building: Building,
    /// From here on history is known. 1, if there was no snapshot: then it is all there.
    since: i64,
    has_base: bool,
    /// Nothing has been counted: the original's first number is 1, where a keyspace of ours begins.
    is_fresh: bool,
    /// What was there before that, in order.
    base: Vec<(i64, Kind, Bytes)>,
    /// From 3.5 on an update of a directory is refused, even of its time to live.
    pub(crate) refuses_updates_of_dirs: bool,
}

impl Nodes {
    /// The store of a snapshot, or an empty one.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        snap: Option<&Snap>,
        of: &Path,
    ) -> Result<Self, ImportError> {
        let mut building = Building::create(disk, path)?;
        let (mut since, mut base, mut has_base) = (1, Vec::new(), false);
        if let Some(snap) = snap.filter(|snap| !snap.store.is_empty()) {
            let store = store::read(&snap.store).map_err(|what| {
                Damage::new(of.to_path_buf(), format!("its v2 store cannot be read: {what}"))
            })?;
            (since, has_base) = (store.since, true);
            for records in store.revisions {
                let before = records.iter().filter(|record| record.revision.main < since);
                base.extend(before.map(|one| (one.revision.main, one.kind, one.name.clone())));
                building.load(records)?;
            }
            building.stand(Standing { revision: store.index, compacted: since, swept: since })?;
        }
        let (is_fresh, refuses_updates_of_dirs) = (!has_base, false);
        Ok(Self { building, since, has_base, is_fresh, base, refuses_updates_of_dirs })
    }

    /// Carries out a request of the log.
    pub(crate) fn apply(&mut self, request: &Request) -> Result<(), ImportError> {
        if self.is_fresh && request.method == "PUT" && request.path.starts_with(MEMBERS) {
            // The first number of all, which no write of ours has: of the original's own, in a log out
            // of which `etcdctl backup` took the changes of members.
            return self.count(1);
        }
        match requests::step(request) {
            Some(Step::Keys(write)) => {
                let is_dir =
                    || self.building.state().reader().store().get(Kind::Dir, &write.path, 0);
                let is_update = write.method == i32::from(KeysMethod::Update);
                if self.refuses_updates_of_dirs && is_update && is_dir()?.is_some() {
                    return Ok(());
                }
                self.building.apply(proto::command::Op::Keys(write))?;
            }
            Some(Step::Expire(up_to)) => loop {
                let nodes_max = EXPIRED_TOGETHER;
                let expire = proto::command::Expire { up_to, nodes_max };
                let done = self.building.apply(proto::command::Op::Expire(expire))?;
                if !matches!(done, state::Response::Expired(count) if count == nodes_max) {
                    break;
                }
            },
            None => {}
        }
        Ok(())
    }

    /// A change of the original's members takes numbers, too. A log begins with one.
    pub(crate) fn apply_change(&mut self, change: &ConfChange) -> Result<(), ImportError> {
        const REMOVE: i32 = 1;
        self.count(if change.kind == REMOVE { 2 } else { 1 })
    }

    /// Something took numbers that no client sees.
    pub(crate) fn count(&mut self, numbers: i64) -> Result<(), ImportError> {
        let counted = self.building.revision() - i64::from(self.is_fresh);
        self.is_fresh = false;
        self.building.skip_to(counted + numbers)
    }

    /// The index of the original.
    pub(crate) fn index(&self) -> i64 {
        self.building.revision()
    }

    /// Users and roles of v2, and what of them cannot be taken over.
    pub(crate) fn auth(&self, notes: &mut Vec<Note>) -> Result<Parts, ImportError> {
        users::read(self.building.state().reader().store(), notes)
    }

    /// All nodes that clients see, by the index at which they were written; with the names that
    /// clients know.
    pub(crate) fn live(&mut self) -> Result<Live, ImportError> {
        let store = Arc::clone(self.building.state().reader().store());
        let mut revisions: BTreeMap<i64, Vec<(Kind, Bytes)>> = BTreeMap::new();
        let mut dirs = 0;
        for (kind, name) in self.building.node_names()? {
            if visible(&name).is_none() {
                continue;
            }
            let Some(place) = store.view().head(kind, &name) else { continue };
            dirs += u64::from(kind == Kind::Dir);
            revisions.entry(place.main).or_default().push((kind, name));
        }
        Ok(Live { store, revisions, dirs })
    }

    /// What happened, as far as it is known, and before that all that was there then, revision by
    /// revision; with the names that clients know.
    pub(crate) fn each_revision(
        &self,
        take: &mut dyn FnMut(Vec<Record>) -> Result<(), ImportError>,
    ) -> Result<Standing, ImportError> {
        let store = Arc::clone(self.building.state().reader().store());
        let mut base = self.base.iter().peekable();
        while let Some((main, ..)) = base.peek().copied() {
            let mut records = Vec::new();
            while let Some((_, kind, name)) = base.next_if(|(of, ..)| of == main) {
                let found = store.get(*kind, name, self.since)?;
                // It may have been written again, at that very index.
                let found = found.filter(|record| record.revision.main == *main);
                records.extend(found.and_then(|record| renamed(&record)));
            }
            if !records.is_empty() {
                take(records)?;
            }
        }
        for main in self.since..=store.revision() {
            let commit = store.commit_at(main)?;
            let records: Vec<Record> = commit.records.iter().filter_map(renamed).collect();
            if !records.is_empty() {
                take(records)?;
            }
        }
        let compacted = if self.has_base { self.since } else { -1 };
        Ok(Standing { revision: store.revision(), compacted, swept: compacted })
    }

    pub(crate) fn finish(self) -> Result<(), ImportError> {
        self.building.finish()
    }
}

/// Of one request of the log.
const EXPIRED_TOGETHER: u32 = 1_000;

/// Nodes that clients see.
pub(crate) struct Live {
    store: Arc<mvcc::Store>,
    revisions: BTreeMap<i64, Vec<(Kind, Bytes)>>,
    pub(crate) dirs: u64,
}

impl Live {
    /// At how many indexes they were written.
    pub(crate) fn len(&self) -> usize {
        self.revisions.len()
    }

    /// Their names, as clients know them.
    pub(crate) fn names(&self) -> impl Iterator<Item = Bytes> {
        self.revisions.values().flatten().filter_map(|(_, name)| visible(name))
    }

    /// The nodes of each index, in order; those that hold others first.
    pub(crate) fn revisions(&self) -> impl Iterator<Item = Result<Vec<Record>, ImportError>> {
        self.revisions.values().map(|nodes| {
            let mut records = Vec::new();
            for (kind, name) in nodes {
                let found = self.store.get(*kind, name, 0)?;
                records.extend(found.and_then(|record| renamed(&record)));
            }
            records.sort_by(|one: &Record, other| one.name.cmp(&other.name));
            Ok(records)
        })
    }
}

/// Whether a request is of a client.
pub(crate) fn is_clients(path: &str) -> bool {
    path.as_bytes().starts_with(CLIENTS)
}

/// The name that clients know, if they see it.
fn visible(name: &Bytes) -> Option<Bytes> {
    let below = name.strip_prefix(CLIENTS)?;
    below.starts_with(b"/").then(|| name.slice(CLIENTS.len()..))
}

fn renamed(record: &Record) -> Option<Record> {
    Some(Record { name: visible(&record.name)?, ..record.clone() })
}
