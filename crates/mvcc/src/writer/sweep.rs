//! Removing what compaction has condemned, in small steps, in order of revision.
//!
//! In that order rows that lie side by side go together, and a name's points go from the front of
//! its list. Living rows below the compacted revision are looked at too, as in etcd.

use std::sync::atomic::Ordering::Relaxed;

use backend::{Change, Table};
use base::Revision;
use bytes::Bytes;

use super::{Writer, encode_number, encode_sum, encode_usage, meta, set_meta};
use crate::{
    digest, path,
    record::codec::{self, Row},
    store::{ReadError, SweepHash},
};

/// Rows that are looked at under one hold of the index's lock.
const ROWS_PER_HOLD: usize = 64;

/// A sweep that is going on.
#[derive(Debug)]
pub(super) struct Sweep {
    target: i64,
    /// The first row not looked at.
    next: Vec<u8>,
    hash: Option<SweepHash>,
}

impl Writer {
    /// Removes up to `rows` rows of what compaction has condemned; true if there is more to do now.
    /// Local to the member: between entries, whenever there is time.
    ///
    /// It looks at `rows` rows, so a step can remove fewer, or none. While readers are pinned it
    /// does nothing and says false, up to a bound: see [`Store::pin`].
    ///
    /// [`Store::pin`]: crate::Store::pin
    pub fn compact_step(&mut self, rows: usize) -> Result<bool, ReadError> {
        let Some(mut sweep) = self.next_sweep() else { return Ok(false) };
        let end = Revision::new(sweep.target, 0).to_bytes();
        let found =
            self.store.backend.scan(Table::Records, &sweep.next, Some(&end), rows.max(1))?;
        let Some((last, _)) = found.last() else {
            self.end_sweep(sweep)?;
            return Ok(self.store.is_compacting());
        };
        sweep.next = path::successor(last);
        if let Some(hash) = &mut sweep.hash {
            hash.add(&self.store, &found)?;
        }
        let mut changes = Vec::new();
        for chunk in found.chunks(ROWS_PER_HOLD) {
            self.condemn(sweep.target, chunk, &mut changes)?;
        }
        if !changes.is_empty() {
            changes.push(set_meta(meta::USAGE, encode_usage(self.store.usage())));
            changes.push(set_meta(meta::SUM, encode_sum(self.sum)));
            self.store.backend.write(None, changes);
        }
        self.sweep = Some(sweep);
        Ok(true)
    }

    fn next_sweep(&mut self) -> Option<Sweep> {
        if let Some(sweep) = self.sweep.take() {
            return Some(sweep);
        }
        let target = self.store.compacted();
        if target <= self.swept || self.store.holds_back(target) {
            return None;
        }
        let mut index = self.store.index.write();
        index.sweeping = target;
        index.sweep_runs = true;
        let hash =
            (self.hashes && self.sees_all).then(|| SweepHash::new(&index, self.swept, target));
        Some(Sweep { target, next: Vec::new(), hash })
    }

    fn end_sweep(&mut self, sweep: Sweep) -> Result<(), ReadError> {
        if let Some(mut hash) = sweep.hash {
            // What happened at the revision itself stays, and counts.
            let ends = [sweep.target, sweep.target + 1].map(|at| Revision::new(at, 0).to_bytes());
            let [from, to] = ends;
            let rows = self.store.backend.scan(Table::Records, &from, Some(&to), usize::MAX)?;
            hash.add(&self.store, &rows)?;
            self.store.keep_hash(hash.finish(&self.store));
        }
        self.sees_all = true;
        self.swept = sweep.target;
        self.store.index.write().sweep_runs = false;
        let swept = set_meta(meta::SWEPT, encode_number(sweep.target));
        self.store.backend.write(None, vec![swept]);
        Ok(())
    }

    /// Takes what is condemned out of the index, then out of the tables: a reader that still has
    /// its revision finds nothing there, and looks again.
    fn condemn(
        &mut self,
        target: i64,
        rows: &[(Bytes, Bytes)],
        changes: &mut Vec<Change>,
    ) -> Result<(), ReadError> {
        let decoded: Vec<Row> =
            rows.iter().map(|(key, row)| codec::decode(key, row)).collect::<Result<_, _>>()?;
        let mut index = self.store.index.write();
        for (row, (key, stored)) in decoded.iter().zip(rows) {
            if index.sweep(row, target) {
                self.sum = self.sum.wrapping_sub(digest::of_record(key, stored));
                let revision = row.record.revision;
                codec::encode_removal(revision, row.value_len, changes);
                self.store.swept_rows.fetch_add(1, Relaxed);
                self.store.cache.remove(revision);
            }
        }
        Ok(())
    }
}
