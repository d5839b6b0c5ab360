//! What writes take of the space quota.
//!
//! What counts is what the keyspace holds: history too, until it is compacted, but not what is free
//! in its file.

use proto::{
    command::{KeysMethod, KeysWrite, Op},
    etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request},
};

/// What etcd reckons for a lease.
pub(crate) const LEASE_BYTES: u64 = 64;
/// And for a key, besides name and value.
const KEY_BYTES: u64 = 256;

/// What a command takes at most; 0: none, so that it goes on when the quota is used up. As etcd
/// reckons, but that it forgets nested transactions.
pub fn cost(op: &Op) -> u64 {
    match op {
        Op::Keys(write) => keys(write),
        Op::Put(request) => put(request),
        Op::Txn(request) => txn(request),
        Op::LeaseGrant(_) => LEASE_BYTES,
        Op::Expire(_)
        | Op::Publish(_)
        | Op::ClusterVersion(_)
        | Op::Downgrade(_)
        | Op::Compact(_)
        | Op::DeleteRange(_)
        | Op::LeaseRevoke(_)
        | Op::LeaseCheckpoint(_)
        | Op::Alarm(_)
        | Op::Auth(_) => 0,
        #[cfg(feature = "next-version")]
        Op::Note(_) => 0,
    }
}

fn keys(write: &KeysWrite) -> u64 {
    match KeysMethod::try_from(write.method) {
        Ok(KeysMethod::Delete | KeysMethod::CompareAndDelete) => 0,
        _ => KEY_BYTES + (write.path.len() + write.value.len()) as u64,
    }
}

fn put(request: &PutRequest) -> u64 {
    KEY_BYTES + (request.key.len() + request.value.len()) as u64
}

fn txn(request: &TxnRequest) -> u64 {
    let branch = |operations: &[RequestOp]| -> u64 {
        let cost = |op: &RequestOp| match &op.request {
            Some(Request::RequestPut(request)) => put(request),
            Some(Request::RequestTxn(request)) => txn(request),
            Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
        };
        operations.iter().map(cost).sum()
    };
    branch(&request.success).max(branch(&request.failure))
}
