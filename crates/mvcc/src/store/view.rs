//! A few lookups in the indexes that agree with one another.

use base::Revision;
use parking_lot::RwLockReadGuard;

use crate::{index::Index, record::Kind};

/// The indexes, locked for reading at the current revision.
#[derive(Debug)]
pub struct View<'a> {
    pub(super) index: RwLockReadGuard<'a, Index>,
}

impl View<'_> {
    pub fn revision(&self) -> i64 {
        self.index.revision
    }

    /// The revision of the live record of `name`.
    pub fn head(&self, kind: Kind, name: &[u8]) -> Option<Revision> {
        self.index.live(kind, name)
    }

    /// Whether any live key or directory lies strictly below this directory, hidden or not
    /// (keys that v2 cannot name do not count).
    pub fn has_children(&self, dir: &[u8]) -> bool {
        self.index.below(dir, self.index.revision).next().is_some()
    }
}
