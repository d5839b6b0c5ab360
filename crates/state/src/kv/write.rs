//! Puts and deletions.

use base::Refused;
use mvcc::{Action, Kind, Txn, store::Put};
use proto::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse};

use super::{
    Error,
    answer::{Budget, header},
    range::Keys,
};
use crate::lease::Leases;

/// Which check of a put comes first; in the original it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Lease,
    Key,
}

/// A put that is a request of its own.
pub(crate) fn put(
    txn: &mut Txn<'_>,
    leases: &Leases,
    request: &PutRequest,
) -> Result<PutResponse, Error> {
    put_in(txn, leases, request, First::Lease, &mut Budget::new())
}

pub(super) fn put_in(
    txn: &mut Txn<'_>,
    leases: &Leases,
    request: &PutRequest,
    first: First,
    budget: &mut Budget,
) -> Result<PutResponse, Error> {
    let PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = request;
    let check_lease = || {
        let is_known = *lease == 0 || leases.contains(*lease);
        if is_known { Ok(()) } else { Err(Refused::LeaseNotFound) }
    };
    if first == First::Lease {
        check_lease()?;
    }
    let keeps = *ignore_value || *ignore_lease;
    let prev = if keeps || *prev_kv { txn.get(Kind::Key, key)? } else { None };
    if keeps && prev.is_none() {
        return Err(Refused::KeyNotFound.into());
    }
    check_lease()?;
    let kept = prev.as_ref().filter(|_| *ignore_lease);
    txn.put(Put {
        kind: Kind::Key,
        name: key.clone(),
        value: match prev.as_ref().filter(|_| *ignore_value) {
            Some(prev) => prev.value.clone(),
            None => value.clone(),
        },
        lease: kept.map_or(*lease, |prev| prev.lease),
        // A time to live that v2 has given goes as a lease would.
        expiry: kept.and_then(|prev| prev.expiry),
        new_node: false,
        action: Action::None,
        told: true,
    });
    let prev = prev.filter(|_| *prev_kv);
    let prev_kv = prev.map(|prev| budget.pair(&prev)).transpose()?;
    Ok(PutResponse { header: Some(header(txn.main())), prev_kv })
}

/// A deletion that is a request of its own.
pub(crate) fn delete_range(
    txn: &mut Txn<'_>,
    request: &DeleteRangeRequest,
) -> Result<DeleteRangeResponse, Error> {
    delete_range_in(txn, request, &mut Budget::new())
}

pub(super) fn delete_range_in(
    txn: &mut Txn<'_>,
    request: &DeleteRangeRequest,
    budget: &mut Budget,
) -> Result<DeleteRangeResponse, Error> {
    let names = match Keys::new(&request.key, &request.range_end) {
        Keys::Range(from, to) => txn.keys(from, to),
        Keys::One(key) if txn.exists(Kind::Key, key) => vec![request.key.clone()],
        Keys::One(_) => Vec::new(),
    };
    let mut prev_kvs = Vec::new();
    if request.prev_kv {
        for name in &names {
            let prev = txn.get(Kind::Key, name)?;
            prev_kvs.extend(prev.map(|prev| budget.pair(&prev)).transpose()?);
        }
    }
    for name in &names {
        txn.delete(Kind::Key, name, Action::None, true);
    }
    let deleted = i64::try_from(names.len()).unwrap_or(i64::MAX);
    let revision = if txn.has_writes() { txn.main() } else { txn.revision() };
    Ok(DeleteRangeResponse { header: Some(header(revision)), deleted, prev_kvs })
}
