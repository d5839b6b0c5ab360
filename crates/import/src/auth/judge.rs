//! Whether the original has carried out a write of the log, or refused it to whoever asked.
//!
//! It asks again when it applies an entry, with users and roles as they are then. Its versions do not
//! all ask the same: from 3.3 on whoever puts a key on a lease, or revokes one, must be allowed to write
//! all keys on it; 3.5 looks into nested transactions, and at `prev_kv` of puts in them.

use base::Refused;
use bytes::Bytes;
use proto::{
    command::{By, Op},
    etcdserverpb::{DeleteRangeRequest, PutRequest, TxnRequest, request_op::Request},
};
use state::auth::Auth;

use crate::alarms::Verdict;

/// What became of a write; `leased` tells the live keys on a lease.
///
/// What some version would have refused and another one not is unknown.
#[allow(clippy::wildcard_enum_match_arm, reason = "the others are not asked for permissions")]
pub(crate) fn judge(auth: &Auth, by: &By, op: &Op, leased: &dyn Fn(i64) -> Vec<Bytes>) -> Verdict {
    let asked = Asked { auth, by, leased };
    let (always, lately) = match op {
        Op::Put(put) => (asked.put(put), asked.lease(put.lease)),
        Op::DeleteRange(deletion) => (asked.delete(deletion), Ok(())),
        Op::Txn(txn) => (asked.txn(txn), asked.txn_lately(txn)),
        Op::LeaseRevoke(revoke) => (Ok(()), asked.lease(revoke.id)),
        _ => return Verdict::Passes,
    };
    // 3.0 did not write down when whoever asks had logged in, and did not look at it.
    let is_of_3_0 = !by.user.is_empty() && by.auth_revision == 0;
    match (always, lately) {
        (Ok(()), Ok(())) => Verdict::Passes,
        (Err(_), _) if !is_of_3_0 => Verdict::Refused,
        _ => Verdict::Unknown,
    }
}

struct Asked<'a> {
    auth: &'a Auth,
    by: &'a By,
    leased: &'a dyn Fn(i64) -> Vec<Bytes>,
}

impl Asked<'_> {
    fn reads(&self, key: &[u8], range_end: &[u8]) -> Result<(), Refused> {
        self.auth.reads(Some(self.by), key, range_end)
    }

    fn writes(&self, key: &[u8], range_end: &[u8]) -> Result<(), Refused> {
        self.auth.writes(Some(self.by), key, range_end)
    }

    fn put(&self, put: &PutRequest) -> Result<(), Refused> {
        self.writes(&put.key, b"")?;
        self.prev_kv(put)
    }

    fn prev_kv(&self, put: &PutRequest) -> Result<(), Refused> {
        if put.prev_kv { self.reads(&put.key, b"") } else { Ok(()) }
    }

    fn delete(&self, deletion: &DeleteRangeRequest) -> Result<(), Refused> {
        let DeleteRangeRequest { key, range_end, prev_kv } = deletion;
        self.writes(key, range_end)?;
        if *prev_kv { self.reads(key, range_end) } else { Ok(()) }
    }

    fn lease(&self, lease: i64) -> Result<(), Refused> {
        let keys = if lease == 0 { Vec::new() } else { (self.leased)(lease) };
        keys.iter().try_for_each(|key| self.writes(key, b""))
    }

    /// What every version asks: of both branches, whichever is taken.
    fn txn(&self, txn: &TxnRequest) -> Result<(), Refused> {
        for compare in &txn.compare {
            self.reads(&compare.key, &compare.range_end)?;
        }
        parts(txn).try_for_each(|part| match part {
            Request::RequestRange(range) => self.reads(&range.key, &range.range_end),
            Request::RequestPut(put) => self.writes(&put.key, b""),
            Request::RequestDeleteRange(deletion) => self.delete(deletion),
            Request::RequestTxn(_) => Ok(()),
        })
    }

    /// What later ones ask as well.
    fn txn_lately(&self, txn: &TxnRequest) -> Result<(), Refused> {
        parts(txn).try_for_each(|part| match part {
            Request::RequestPut(put) => {
                self.lease(put.lease)?;
                self.prev_kv(put)
            }
            Request::RequestTxn(nested) => {
                self.txn(nested)?;
                self.txn_lately(nested)
            }
            Request::RequestRange(_) | Request::RequestDeleteRange(_) => Ok(()),
        })
    }
}

fn parts(txn: &TxnRequest) -> impl Iterator<Item = &Request> {
    txn.success.iter().chain(&txn.failure).filter_map(|op| op.request.as_ref())
}
