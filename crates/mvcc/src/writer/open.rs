//! Rebuilding the indexes from the tables.

use std::collections::BTreeMap;

use backend::{Backend, Table};
use base::UnixNanos;
use bytes::Bytes;

use super::{decode_number, decode_sum, decode_usage, meta};
use crate::{
    digest::{self, Digests},
    index::Index,
    path,
    record::{Kind, codec},
    store::ReadError,
};

/// Why a keyspace is not opened whose rows do not add up.
const OTHER_ROWS: &str = "records are missing, or not those that were written";
/// Rows read at once.
const ROWS_PER_READ: usize = 1_000;

/// What lives and expires, or is on a lease, as far as the records have been read.
type Ends = BTreeMap<(Kind, Bytes), (Option<UnixNanos>, i64)>;

/// What lies in the tables.
pub(super) struct Found {
    pub(super) index: Index,
    /// Up to where compaction has removed rows.
    pub(super) swept: i64,
    /// Over the rows of `Records`.
    pub(super) sum: u64,
    pub(super) digests: Digests,
}

/// Reads all that is to be in memory. Refused if the rows of `Records` are not those that were written:
/// each has a checksum of its own, but one that is missing says nothing.
pub(super) fn read(backend: &Backend) -> Result<Found, ReadError> {
    let mut index = Index::new();
    let number = |key| read_meta(backend, key, decode_number);
    // The newest record can be gone, when it was a deletion: hence a row of its own.
    index.revision = number(meta::REVISION)?.unwrap_or(index.revision);
    index.compacted = number(meta::COMPACTED)?.unwrap_or(index.compacted);
    index.usage = read_meta(backend, meta::USAGE, decode_usage)?.unwrap_or_default();
    index.numbered_from = number(meta::NUMBERED_FROM)?.unwrap_or(i64::MAX);
    let swept = number(meta::SWEPT)?.unwrap_or(Index::NEVER_COMPACTED);
    // A sweep that was going on may have removed anything that it could.
    index.sweeping = index.compacted;
    index.sweep_runs = swept < index.compacted;
    let mut ends = Ends::new();
    let (mut from, mut sum) = (Vec::new(), 0_u64);
    loop {
        let rows = backend.scan(Table::Records, &from, None, ROWS_PER_READ)?;
        let Some((last, _)) = rows.last() else { break };
        from = path::successor(last);
        for (key, row) in &rows {
            add(&mut index, &mut ends, key, row)?;
            sum = sum.wrapping_add(digest::of_record(key, row));
        }
    }
    if read_meta(backend, meta::SUM, decode_sum)?.is_some_and(|said| said != sum) {
        return Err(backend::Error::damaged(Table::Meta, meta::SUM.as_bytes(), OTHER_ROWS).into());
    }
    let digest = backend.get(Table::Meta, meta::DIGEST.as_bytes())?;
    let digests = Digests::at(digest.as_ref(), backend.applied().index.0);
    Ok(Found { index, swept, sum, digests })
}

fn add(index: &mut Index, ends: &mut Ends, key: &[u8], row: &Bytes) -> Result<(), ReadError> {
    let mut record = codec::decode(key, row)?.record;
    index.restore(&record);
    let before = ends.get(&(record.kind, record.name.clone())).copied().unwrap_or_default();
    let after = (record.expiry, record.lease);
    if before == after {
        return Ok(());
    }
    index.set_expiry(&record, before.0, false);
    index.set_expiry(&record, record.expiry, true);
    index.detach(&record, before.1);
    index.attach(&record, record.lease);
    // Not a slice of the row, which has more bytes.
    record.name = Bytes::copy_from_slice(&record.name);
    if after == (None, 0) {
        ends.remove(&(record.kind, record.name));
    } else {
        ends.insert((record.kind, record.name), after);
    }
    Ok(())
}

fn read_meta<T>(
    backend: &Backend,
    key: &'static str,
    decode: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, ReadError> {
    let Some(row) = backend.get(Table::Meta, key.as_bytes())? else { return Ok(None) };
    let decoded = decode(&row)
        .ok_or_else(|| backend::Error::damaged(Table::Meta, key.as_bytes(), "another length"))?;
    Ok(Some(decoded))
}
