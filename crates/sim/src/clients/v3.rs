//! What clients of v3 ask for: puts, transactions, deletions, leases that last some seconds, on the
//! names that those of v2 write to.

use bytes::Bytes;
use proto::{
    command::{LeaseRevoke, Op},
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
        TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
};

use state::kv::check;

use super::PATHS;
use crate::history::History;

/// Leases that there can be.
const LEASES: i64 = 4;
/// As `--max-txn-ops` has it.
const OPS_MAX: usize = 128;
/// Their times to live, in seconds: mostly short ones, which end while there are faults.
pub(crate) const TTL_MAX: i64 = 12;
const TTL_SHORT: i64 = 4;

/// A random request, of a form that the API would let pass.
pub(crate) fn request(rng: &mut fastrand::Rng, history: &History) -> Op {
    match rng.u8(..12) {
        0..4 => Op::Put(put(rng, history, 0)),
        4 => Op::DeleteRange(delete(rng)),
        5..9 => loop {
            let request = txn(rng, history);
            if check::txn(&request, OPS_MAX).is_ok() {
                break Op::Txn(request);
            }
        },
        9 | 10 => {
            let longest = if rng.u8(..4) == 0 { TTL_MAX } else { TTL_SHORT };
            let (id, ttl) = (lease(rng), rng.i64(1..=longest));
            Op::LeaseGrant(LeaseGrantRequest { id, ttl })
        }
        _ => Op::LeaseRevoke(LeaseRevoke { id: lease(rng), ..LeaseRevoke::default() }),
    }
}

/// The values that a request may write, each of which no other does.
pub(crate) fn values(op: &Op) -> Vec<Bytes> {
    let put = |op: &RequestOp| match &op.request {
        Some(Request::RequestPut(put)) => Some(put.value.clone()),
        _ => None,
    };
    match op {
        Op::Put(request) => vec![request.value.clone()],
        Op::Txn(request) => {
            request.success.iter().chain(&request.failure).filter_map(put).collect()
        }
        Op::Keys(_)
        | Op::Expire(_)
        | Op::Publish(_)
        | Op::ClusterVersion(_)
        | Op::Compact(_)
        | Op::DeleteRange(_)
        | Op::LeaseGrant(_)
        | Op::LeaseRevoke(_)
        | Op::LeaseCheckpoint(_)
        | Op::Alarm(_)
        | Op::Auth(_)
        | Op::Downgrade(_) => Vec::new(),
    }
}

fn lease(rng: &mut fastrand::Rng) -> i64 {
    rng.i64(1..=LEASES)
}

/// Names behind those of the registers: nobody but their clients writes to these.
const BEHIND: [&str; 3] = ["/z", "/z/x", "zone"];

fn path(rng: &mut fastrand::Rng) -> Bytes {
    let at = rng.usize(..PATHS.len() + BEHIND.len());
    let path = PATHS.iter().chain(&BEHIND).nth(at).copied().unwrap_or("/a");
    Bytes::from_static(path.as_bytes())
}

/// Where a range that only reads ends.
fn range_end(rng: &mut fastrand::Rng) -> Bytes {
    match rng.u8(..6) {
        0 => Bytes::from_static(b"\0"),
        1 => path(rng),
        _ => Bytes::new(),
    }
}

fn put(rng: &mut fastrand::Rng, history: &History, nth: usize) -> PutRequest {
    PutRequest {
        key: path(rng),
        value: format!("v3 {} {nth}", history.sent_v3.len() + 1).into(),
        lease: if rng.u8(..3) == 0 { lease(rng) } else { 0 },
        prev_kv: rng.bool(),
        ignore_lease: false,
        ignore_value: false,
    }
}

fn delete(rng: &mut fastrand::Rng) -> DeleteRangeRequest {
    let key = path(rng);
    let range_end = match rng.u8(..8) {
        // Not further: nobody but its clients writes to a register.
        0 if key.as_ref() < b"/r".as_slice() => Bytes::from_static(b"/r"),
        // All from there on.
        0 | 1 if key.as_ref() > b"/r".as_slice() => Bytes::from_static(b"\0"),
        1 => Bytes::from_static(b"/d0"),
        _ => Bytes::new(),
    };
    DeleteRangeRequest { key, range_end, prev_kv: rng.bool() }
}

/// As lock clients and controllers do it: if a key was not changed, or is not there, then write.
fn txn(rng: &mut fastrand::Rng, history: &History) -> TxnRequest {
    let last = history.commits.last_key_value().map_or(0, |(main, _)| *main);
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: path(rng),
        range_end: range_end(rng),
        target_union: Some(TargetUnion::ModRevision(rng.i64(0..=last) * rng.i64(0..2))),
    };
    let mut nth = 0;
    let mut branch = |rng: &mut fastrand::Rng| {
        let count = rng.usize(..4);
        let operations = (0..count).map(|_| {
            nth += 1;
            let request = match rng.u8(..8) {
                0 => Request::RequestDeleteRange(delete(rng)),
                1 => Request::RequestRange(RangeRequest {
                    key: path(rng),
                    range_end: range_end(rng),
                    ..RangeRequest::default()
                }),
                _ => Request::RequestPut(put(rng, history, nth)),
            };
            RequestOp { request: Some(request) }
        });
        operations.collect()
    };
    TxnRequest { compare: vec![compare], success: branch(rng), failure: branch(rng) }
}
