//! What is not flushed yet, in generations.
//!
//! The newest generation takes entry after entry. Once it is some megabytes large it is sealed and
//! another begins; flushing writes the oldest. So a flush is a prefix of whole entries of bounded
//! size, and takes nothing but an exchange of pointers while the lock is held.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    ops::Bound,
    sync::Arc,
};

use base::limits::TAIL_FLUSH_BYTES;
use bytes::Bytes;

use crate::{Applied, Change, Table};

/// What a row costs beside its bytes: map node, two `Bytes`, two allocations.
const ROW_BYTES: usize = 128;

/// Rows that a scan takes from a generation at once, at least.
const ROWS_PER_HOLD: usize = 256;

type Rows = BTreeMap<Bytes, Option<Bytes>>;

/// A run of whole entries.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    tables: [Rows; 3],
    bytes: usize,
    applied: Applied,
}

impl Generation {
    pub(crate) fn rows(&self, table: Table) -> &Rows {
        let [records, values, meta] = &self.tables;
        match table {
            Table::Records => records,
            Table::Values => values,
            Table::Meta => meta,
        }
    }

    fn rows_mut(&mut self, table: Table) -> &mut Rows {
        let [records, values, meta] = &mut self.tables;
        match table {
            Table::Records => records,
            Table::Values => values,
            Table::Meta => meta,
        }
    }

    /// The last entry whose changes are in this generation or an older one.
    pub(crate) fn applied(&self) -> Applied {
        self.applied
    }

    fn put(&mut self, change: Change) {
        let Change { table, key, value } = change;
        let size = row_bytes(&key, value.as_ref());
        match self.rows_mut(table).entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                self.bytes += size;
            }
            Entry::Occupied(mut occupied) => {
                let before = row_bytes(occupied.key(), occupied.get().as_ref());
                if value.is_none() && occupied.get().is_some() && table.puts_once() {
                    occupied.remove();
                    self.bytes -= before;
                } else {
                    occupied.insert(value);
                    self.bytes = self.bytes - before + size;
                }
            }
        }
    }
}

fn row_bytes(key: &Bytes, value: Option<&Bytes>) -> usize {
    ROW_BYTES + key.len() + value.map_or(0, Bytes::len)
}

/// All generations, the oldest first.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Shared with the flusher, and no longer changed.
    sealed: VecDeque<Arc<Generation>>,
    newest: Generation,
    sealed_bytes: usize,
}

/// What the tail knows of a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Put(Bytes),
    Deleted,
    /// Ask the file.
    Nothing,
}

/// The tail's rows in a range.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) rows: Rows,
    /// If there may be more: rows from this key on are not in `rows`.
    pub(crate) complete_to: Option<Vec<u8>>,
}

impl Tail {
    pub(crate) fn new(applied: Applied) -> Self {
        Self {
            sealed: VecDeque::new(),
            newest: Generation { applied, ..Generation::default() },
            sealed_bytes: 0,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.sealed_bytes + self.newest.bytes
    }

    pub(crate) fn applied(&self) -> Applied {
        self.newest.applied
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Found {
        match self.newest_first().find_map(|generation| generation.rows(table).get(key)) {
            Some(Some(value)) => Found::Put(value.clone()),
            Some(None) => Found::Deleted,
            None => Found::Nothing,
        }
    }

    fn newest_first(&self) -> impl Iterator<Item = &Generation> {
        std::iter::once(&self.newest).chain(self.sealed.iter().rev().map(Arc::as_ref))
    }

    pub(crate) fn write(&mut self, applied: Option<Applied>, changes: Vec<Change>) {
        // Sealed before and not after, so that an idle tail is flushed as one generation.
        if self.newest.bytes >= TAIL_FLUSH_BYTES {
            self.seal();
        }
        for change in changes {
            self.newest.put(change);
        }
        if let Some(applied) = applied {
            self.newest.applied = applied;
        }
    }

    pub(crate) fn seal(&mut self) {
        let next = Generation { applied: self.newest.applied, ..Generation::default() };
        let sealed = std::mem::replace(&mut self.newest, next);
        self.sealed_bytes += sealed.bytes;
        self.sealed.push_back(Arc::new(sealed));
    }

    /// The generation to flush; `None` if there is nothing to do. It stays here until
    /// [`Tail::retire`].
    pub(crate) fn oldest(&mut self, durable: Applied) -> Option<Arc<Generation>> {
        if self.sealed.is_empty() {
            let idle = self.newest.applied == durable
                && Table::ALL.into_iter().all(|table| self.newest.rows(table).is_empty());
            if idle {
                return None;
            }
            self.seal();
        }
        self.sealed.front().cloned()
    }

    /// Forgets the oldest generation: the file has it.
    pub(crate) fn retire(&mut self) -> Option<Arc<Generation>> {
        let retired = self.sealed.pop_front()?;
        self.sealed_bytes -= retired.bytes;
        Some(retired)
    }

    /// The newest state of the rows in a range; of each generation at most `limit` rows, or some
    /// more, so that a run of deletions does not take a hold of the lock for each few of them.
    pub(crate) fn overlay(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Overlay {
        let bounds = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        let mut rows = Rows::new();
        let mut complete_to: Option<Vec<u8>> = None;
        if to.is_some_and(|to| to <= from) {
            return Overlay { rows, complete_to };
        }
        for generation in self.newest_first() {
            let mut range = generation.rows(table).range::<[u8], _>(bounds);
            for (key, value) in range.by_ref().take(limit.max(ROWS_PER_HOLD)) {
                rows.entry(key.clone()).or_insert_with(|| value.clone());
            }
            if let Some((next, _)) = range.next()
                && complete_to.as_deref().is_none_or(|known| next.as_ref() < known)
            {
                complete_to = Some(next.to_vec());
            }
        }
        if let Some(end) = &complete_to {
            rows.split_off(end.as_slice());
        }
        Overlay { rows, complete_to }
    }
}
