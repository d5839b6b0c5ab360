//! The form of requests, as etcd checks it before anything is proposed.
//!
//! Applying relies on none of it but the depth: what is deeper could not be read back from the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use base::{Refused, limits::TXN_DEPTH_MAX};
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
    request_op::Request,
};

use super::end;

/// Checks a range.
pub fn range(request: &RangeRequest) -> Result<(), Refused> {
    key(&request.key)?;
    let is_known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if is_known { Ok(()) } else { Err(Refused::InvalidSortOption) }
}

/// Checks a range that is to be streamed (3.7).
pub fn range_stream(request: &RangeRequest) -> Result<(), Refused> {
    range(request)?;
    let (order, target) = (request.sort_order(), request.sort_target());
    let by_key = target == SortTarget::Key && order == SortOrder::Ascend;
    if order != SortOrder::None && !by_key {
        return Err(Refused::StreamSorted);
    }
    if super::range::has_filters(request) { Err(Refused::StreamFiltered) } else { Ok(()) }
}

/// Checks a put.
pub fn put(request: &PutRequest) -> Result<(), Refused> {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refused::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refused::LeaseProvided);
    }
    Ok(())
}

/// Checks a deletion.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Refused> {
    key(&request.key)
}

/// Checks a transaction with all that is inside. `ops_max`: comparisons, and operations of a branch,
/// nested ones included (`--max-txn-ops`).
pub fn txn(request: &TxnRequest, ops_max: usize) -> Result<(), Refused> {
    operations(request, ops_max, TXN_DEPTH_MAX)?;
    // Once the number of operations is bounded.
    changes(&request.success)?;
    changes(&request.failure)?;
    Ok(())
}

fn key(key: &[u8]) -> Result<(), Refused> {
    if key.is_empty() { Err(Refused::EmptyKey) } else { Ok(()) }
}

fn operations(request: &TxnRequest, ops_max: usize, depth_max: usize) -> Result<(), Refused> {
    let TxnRequest { compare, success, failure } = request;
    let count = compare.len().max(success.len()).max(failure.len());
    if count > ops_max || depth_max == 0 {
        return Err(Refused::TooManyOps);
    }
    compare.iter().try_for_each(|compare| key(&compare.key))?;
    success.iter().chain(failure).try_for_each(|op| match &op.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete_range(request),
        Some(Request::RequestTxn(request)) => operations(request, ops_max - count, depth_max - 1),
        // As etcd has it.
        None => Err(Refused::KeyNotFound),
    })
}

/// What a list of operations writes.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deleted: Deleted<'a>,
}

impl<'a> Changes<'a> {
    fn add_put(&mut self, key: &'a [u8]) -> Result<(), Refused> {
        if self.deleted.contains(key) || !self.puts.insert(key) {
            return Err(Refused::DuplicateKey);
        }
        Ok(())
    }
}

/// Refuses a list of operations that puts a key twice, or puts and deletes one. One of a nested
/// transaction's branches is carried out: they may have keys in common. Deletions may overlap.
fn changes(operations: &[RequestOp]) -> Result<Changes<'_>, Refused> {
    let requests = || operations.iter().filter_map(|op| op.request.as_ref());
    let mut all = Changes::default();
    for request in requests() {
        if let Request::RequestDeleteRange(deletion) = request {
            all.deleted.add(deletion);
        }
    }
    for request in requests() {
        if let Request::RequestTxn(nested) = request {
            add_nested(&mut all, changes(&nested.success)?, changes(&nested.failure)?)?;
        }
    }
    for request in requests() {
        if let Request::RequestPut(put) = request {
            all.add_put(&put.key)?;
        }
    }
    Ok(all)
}

fn add_nested<'a>(
    all: &mut Changes<'a>,
    success: Changes<'a>,
    failure: Changes<'a>,
) -> Result<(), Refused> {
    for key in &success.puts {
        all.add_put(key)?;
    }
    for key in failure.puts {
        if !success.puts.contains(key) {
            all.add_put(key)?;
        }
    }
    for (from, to) in success.deleted.0.into_iter().chain(failure.deleted.0) {
        all.deleted.insert(from, to);
    }
    Ok(())
}

/// A set of keys that are deleted: ranges that do not touch, each by its first key.
#[derive(Default)]
struct Deleted<'a>(BTreeMap<&'a [u8], End<'a>>);

/// Where a range ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End<'a> {
    /// Before this key, or with it.
    At(&'a [u8], bool),
    Never,
}

impl End<'_> {
    fn is_behind(self, key: &[u8]) -> bool {
        match self {
            Self::At(end, inclusive) => key < end || inclusive && key == end,
            Self::Never => true,
        }
    }
}

impl<'a> Deleted<'a> {
    /// The original takes a range to the end of all keys (`range_end` of one zero byte) for an empty
    /// one here, lets the overlap pass, and panics when it applies it.
    fn add(&mut self, deletion: &'a DeleteRangeRequest) {
        let DeleteRangeRequest { key, range_end, .. } = deletion;
        let to = match end(range_end) {
            Some(b"") => End::At(key, true),
            Some(to) => End::At(to, false),
            None => End::Never,
        };
        if to.is_behind(key) {
            self.insert(key, to);
        }
    }

    fn insert(&mut self, from: &'a [u8], to: End<'a>) {
        let (mut from, mut to) = (from, to);
        // Whatever begins within the new range, or reaches into it, becomes one with it.
        while let Some((first, last)) =
            self.last_up_to(to).filter(|(first, last)| *first >= from || last.is_behind(from))
        {
            self.0.remove(first);
            (from, to) = (from.min(first), to.max(last));
        }
        self.0.insert(from, to);
    }

    /// The last range that begins before this end.
    fn last_up_to(&self, end: End<'a>) -> Option<(&'a [u8], End<'a>)> {
        let up_to = match end {
            End::At(end, true) => Bound::Included(end),
            End::At(end, false) => Bound::Excluded(end),
            End::Never => Bound::Unbounded,
        };
        let (first, last) = self.0.range::<[u8], _>((Bound::Unbounded, up_to)).next_back()?;
        Some((first, *last))
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.last_up_to(End::At(key, true)).is_some_and(|(_, last)| last.is_behind(key))
    }
}

#[cfg(test)]
mod tests;
