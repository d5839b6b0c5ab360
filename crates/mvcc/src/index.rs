//! The indexes in memory: from names to the revisions at which something happened to them.

mod children;
mod names;
mod points;

use std::collections::BTreeSet;

use base::{Revision, UnixNanos};

pub(crate) use self::{
    children::Walk,
    names::Names,
    points::{Point, Points},
};
use crate::{
    record::{Kind, Record, codec::Row},
    store::Usage,
};

/// What a write took the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// As [`Record::bytes`].
    pub(crate) bytes: u64,
    pub(crate) expiry: Option<UnixNanos>,
    pub(crate) lease: i64,
}

/// Everything that readers must see change in one step.
#[derive(Debug)]
pub(crate) struct Index {
    keys: Names,
    dirs: Names,
    /// What is alive and expires, in order of expiry, then name.
    expiries: BTreeSet<(UnixNanos, Box<[u8]>, Kind)>,
    /// The live keys on each lease, in order.
    leased: BTreeSet<(i64, Box<[u8]>)>,
    pub(crate) usage: Usage,
    /// The current revision.
    pub(crate) revision: i64,
    /// The oldest revision that can be read.
    pub(crate) compacted: i64,
    /// What lies below is being removed, or is gone. Never above `compacted`; below it while a
    /// reader is pinned.
    pub(crate) sweeping: i64,
    /// Whether rows below `sweeping` are left.
    pub(crate) sweep_runs: bool,
    /// From this revision on every change that v2 tells takes a number: see
    /// [`Commit::advance`](crate::Commit::advance).
    pub(crate) numbered_from: i64,
}

impl Index {
    /// As in etcd: so a compaction at 0 is one.
    pub(crate) const NEVER_COMPACTED: i64 = -1;

    /// The index of a fresh store, which stands at revision 1.
    pub(crate) fn new() -> Self {
        Self {
            keys: Names::default(),
            dirs: Names::default(),
            expiries: BTreeSet::new(),
            leased: BTreeSet::new(),
            usage: Usage::default(),
            revision: 1,
            compacted: Self::NEVER_COMPACTED,
            sweeping: Self::NEVER_COMPACTED,
            sweep_runs: false,
            numbered_from: i64::MAX,
        }
    }

    pub(crate) fn names(&self, kind: Kind) -> &Names {
        match kind {
            Kind::Key => &self.keys,
            Kind::Dir => &self.dirs,
        }
    }

    fn names_mut(&mut self, kind: Kind) -> &mut Names {
        match kind {
            Kind::Key => &mut self.keys,
            Kind::Dir => &mut self.dirs,
        }
    }

    /// Where `name`'s live record at `at` is.
    pub(crate) fn live_at(&self, kind: Kind, name: &[u8], at: i64) -> Option<Revision> {
        self.names(kind).get(name)?.live_at(at)
    }

    /// Where `name`'s live record is now.
    pub(crate) fn live(&self, kind: Kind, name: &[u8]) -> Option<Revision> {
        self.names(kind).get(name)?.newest().live()
    }

    /// Adds a point that opening has read, in order of revision.
    pub(crate) fn restore(&mut self, record: &Record) {
        self.names_mut(record.kind).push(&record.name, Point::of(record));
    }

    /// Adds a record of the transaction that is being committed.
    pub(crate) fn apply(&mut self, record: &Record, replaced: Option<Replaced>) {
        self.restore(record);
        if let Some(Replaced { bytes, expiry, lease }) = replaced {
            self.usage.live_records -= 1;
            self.usage.live_bytes -= bytes;
            self.usage.history_records += 1;
            self.usage.history_bytes += bytes;
            self.set_expiry(record, expiry, false);
            if lease != record.lease {
                self.detach(record, lease);
            }
        }
        if record.deleted {
            self.usage.history_records += 1;
            self.usage.history_bytes += record.bytes();
        } else {
            self.usage.live_records += 1;
            self.usage.live_bytes += record.bytes();
            self.set_expiry(record, record.expiry, true);
        }
        if replaced.is_none_or(|replaced| replaced.lease != record.lease) {
            self.attach(record, record.lease);
        }
    }

    /// Puts a record's key on a lease, if that is one.
    pub(crate) fn attach(&mut self, record: &Record, lease: i64) {
        if lease != 0 && record.kind == Kind::Key {
            self.leased.insert((lease, Box::from(record.name.as_ref())));
        }
    }

    /// Takes a record's key off a lease, if that is one.
    pub(crate) fn detach(&mut self, record: &Record, lease: i64) {
        if lease != 0 && record.kind == Kind::Key {
            self.leased.remove(&(lease, Box::from(record.name.as_ref())));
        }
    }

    /// The live keys on a lease, in order.
    pub(crate) fn leased(&self, lease: i64) -> impl Iterator<Item = &[u8]> {
        let from = (lease, Box::default());
        let rest = self.leased.range(from..).take_while(move |(of, _)| *of == lease);
        rest.map(|(_, name)| name.as_ref())
    }

    /// Adds or removes `record`'s name in the order of expiry.
    pub(crate) fn set_expiry(&mut self, record: &Record, expiry: Option<UnixNanos>, add: bool) {
        let Some(expiry) = expiry else { return };
        let entry = (expiry, Box::from(record.name.as_ref()), record.kind);
        if add {
            self.expiries.insert(entry);
        } else {
            self.expiries.remove(&entry);
        }
    }

    /// What expires, the nearest first.
    pub(crate) fn expiries(&self) -> impl Iterator<Item = (UnixNanos, Kind, &[u8])> {
        self.expiries.iter().map(|(expiry, name, kind)| (*expiry, *kind, name.as_ref()))
    }

    /// Whether a compaction at `target` condemns the record of `name` at `revision`: it lies
    /// strictly below, and something else was newest at `target`, or `name` was deleted by then.
    fn is_condemned(&self, kind: Kind, name: &[u8], revision: Revision, target: i64) -> bool {
        let Some(points) = self.names(kind).get(name) else { return true };
        revision.main < target && points.live_at(target) != Some(revision)
    }

    /// Removes a record's point if a compaction at `target` condemns it.
    pub(crate) fn sweep(&mut self, row: &Row, target: i64) -> bool {
        let Record { kind, name, revision, .. } = &row.record;
        if !self.is_condemned(*kind, name, *revision, target) {
            return false;
        }
        self.names_mut(*kind).remove(name, *revision);
        self.usage.history_records -= 1;
        self.usage.history_bytes -= row.bytes();
        true
    }

    /// The live names strictly below `dir` at `at` that v2 can name, hidden or not; keys, then
    /// directories.
    pub(crate) fn below(&self, dir: &[u8], at: i64) -> impl Iterator<Item = (Kind, &[u8])> {
        let live = move |kind| {
            self.names(kind)
                .below(dir)
                .filter(move |(name, points)| {
                    points.live_at(at).is_some() && crate::path::is_path(name)
                })
                .map(move |(name, _)| (kind, name))
        };
        live(Kind::Key).chain(live(Kind::Dir)).filter(move |(_, name)| *name != b"/")
    }
}
