//! What happened to one name at one revision.

pub(crate) mod codec;

use base::{Revision, UnixNanos};
use bytes::Bytes;

use crate::path;

/// The two kinds of name. A directory's name is its path without a trailing slash; the root has no
/// record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Key,
    Dir,
}

/// What v2 calls the change; `None` for a write through v3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    #[default]
    None,
    Set,
    Create,
    Update,
    CompareAndSwap,
    CompareAndDelete,
    Delete,
    Expire,
}

/// What happened to one name at one revision: it got a value, or it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    pub name: Bytes,
    pub revision: Revision,
    /// A tombstone: the name has no value from here on. `value` is empty then.
    pub deleted: bool,
    pub value: Bytes,
    /// v3 `create_revision`: when it came into being after its last deletion. 0 in a tombstone.
    pub create_revision: i64,
    /// v3 `version`: how often it was written since then; 1 at first. 0 in a tombstone.
    pub version: i64,
    /// v3 lease id; 0: none.
    pub lease: i64,
    /// v2 `createdIndex`: a plain `set` makes a new node, whereas update and compare-and-swap keep
    /// it. In a tombstone: that of the node that went.
    pub created_index: i64,
    /// v2 expiry. Not a lease.
    pub expiry: Option<UnixNanos>,
    pub action: Action,
    /// Whether v2 tells of it: false for implied parents, the cascade of a recursive delete, a
    /// refresh, the file that gave way to a directory.
    pub told: bool,
}

/// All that happened at one main revision, in order of `sub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub main: i64,
    /// How many numbers this revision took: 1, or for a v3 write in a store that v2 has written
    /// to, the count of changes that v2 tells. `main` is the last of them.
    pub advance: i64,
    pub records: Vec<Record>,
}

impl Record {
    /// Whether v2 hears of it.
    pub fn is_told(&self) -> bool {
        self.told && path::is_path(&self.name)
    }

    /// What usage counts for this record, in bytes: name, numbers and value. A formula and not
    /// what the file takes, so that members with other builds agree.
    pub(crate) fn bytes(&self) -> u64 {
        record_bytes(self.name.len(), self.value.len())
    }
}

/// The numbers that a commit of these records takes, if each told change takes one.
pub(crate) fn numbers<'a>(records: impl Iterator<Item = &'a Record>) -> i64 {
    let told = records.filter(|record| record.is_told()).count();
    i64::try_from(told).unwrap_or(i64::MAX).max(1)
}

/// See [`Record::bytes`].
pub(crate) fn record_bytes(name: usize, value: usize) -> u64 {
    const NUMBERS_BYTES: usize = 48;
    (NUMBERS_BYTES + name + value) as u64
}
