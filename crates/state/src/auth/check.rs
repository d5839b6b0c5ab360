//! What commands and reads need (etcd 3.6.14).

use base::Refused;
use bytes::Bytes;
use proto::{
    command::{AuthChange, By, Op},
    etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
    },
};

use super::{
    Account, Auth,
    ranges::{Keys, Permits, Ranges},
};

/// Where keys are asked for that a command does not name.
pub(crate) trait Known {
    /// The live keys on a lease.
    fn leased(&self, lease: i64) -> Vec<Bytes>;

    /// Whether there is a key of that name.
    fn has_key(&self, name: &[u8]) -> bool;
}

/// Whether a command may be carried out. Those of members themselves may; what clients may do with
/// members, alarms and history is asked before they are proposed, and not here.
pub(crate) fn check(
    auth: &Auth,
    by: Option<&By>,
    op: &Op,
    known: &impl Known,
) -> Result<(), Refused> {
    if !auth.enabled {
        return Ok(());
    }
    let check = Check { auth, by, known };
    match op {
        Op::Put(request) => check.put(request),
        Op::DeleteRange(request) => check.delete_range(request),
        Op::Txn(request) => check.txn(request),
        Op::LeaseGrant(_) => auth.identified(by),
        // By the leader.
        Op::LeaseRevoke(revoke) if revoke.expired => Ok(()),
        Op::LeaseRevoke(revoke) => {
            auth.identified(by)?;
            check.lease(revoke.id)
        }
        Op::Keys(write) => auth.v2_writes(by, write, known),
        Op::Auth(change) => match change.change {
            Some(AuthChange::Authenticate(_)) => Ok(()),
            _ => auth.is_admin(by),
        },
        Op::Expire(_)
        | Op::Publish(_)
        | Op::ClusterVersion(_)
        | Op::Compact(_)
        | Op::Downgrade(_)
        | Op::LeaseCheckpoint(_)
        | Op::Alarm(_) => Ok(()),
        #[cfg(feature = "next-version")]
        Op::Note(_) => Ok(()),
    }
}

impl Auth {
    /// Whether somebody has said who he is, and is.
    pub fn identified(&self, by: Option<&By>) -> Result<(), Refused> {
        if !self.enabled {
            return Ok(());
        }
        let by = by.filter(|by| !by.user.is_empty()).ok_or(Refused::UserEmpty)?;
        match self.user(&by.user) {
            Some(user) if user.since <= by.auth_revision => Ok(()),
            Some(_) => Err(Refused::AuthOldRevision),
            None => Err(Refused::PermissionDenied),
        }
    }

    /// Whether this is somebody who may do everything.
    pub fn is_admin(&self, by: Option<&By>) -> Result<(), Refused> {
        if !self.enabled {
            return Ok(());
        }
        let by = by.filter(|by| !by.user.is_empty()).ok_or(Refused::UserEmpty)?;
        let user = self.user(&by.user).ok_or(Refused::UserNotFound)?;
        if user.since > by.auth_revision {
            return Err(Refused::AuthOldRevision);
        }
        if user.is_root() { Ok(()) } else { Err(Refused::PermissionDenied) }
    }

    /// Whether somebody may read these keys.
    pub fn reads(&self, by: Option<&By>, key: &[u8], range_end: &[u8]) -> Result<(), Refused> {
        self.permits(by, Keys::new(key, range_end), Want::Read)
    }

    /// Whether somebody may write these keys.
    pub fn writes(&self, by: Option<&By>, key: &[u8], range_end: &[u8]) -> Result<(), Refused> {
        self.permits(by, Keys::new(key, range_end), Want::Write)
    }

    fn permits(&self, by: Option<&By>, keys: Keys<'_>, want: Want) -> Result<(), Refused> {
        let Some(account) = self.account(by)? else { return Ok(()) };
        let permitted = account.user.is_root() || self.allows(account, keys, want);
        if permitted { Ok(()) } else { Err(Refused::PermissionDenied) }
    }

    pub(super) fn allows(&self, account: &Account, keys: Keys<'_>, want: Want) -> bool {
        want.of(account.permits(&self.roles)).cover(keys)
    }

    /// Whose permissions count; `None`: nobody is asked.
    pub(super) fn account(&self, by: Option<&By>) -> Result<Option<&Account>, Refused> {
        if !self.enabled {
            return Ok(None);
        }
        let by = by.filter(|by| by.auth_revision != 0).ok_or(Refused::UserEmpty)?;
        if by.auth_revision < self.revision {
            return Err(Refused::AuthOldRevision);
        }
        let account = self.users.get(&by.user).ok_or(Refused::PermissionDenied)?;
        Ok(Some(account))
    }

    /// Whether somebody may read all of a transaction that only reads.
    pub fn reads_all(&self, by: Option<&By>, request: &TxnRequest) -> Result<(), Refused> {
        for compare in &request.compare {
            self.reads(by, &compare.key, &compare.range_end)?;
        }
        for op in request.success.iter().chain(&request.failure) {
            if let Some(Request::RequestRange(range)) = &op.request {
                self.reads(by, &range.key, &range.range_end)?;
            }
        }
        Ok(())
    }
}

/// What somebody wants to do with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Read,
    Write,
}

impl Want {
    fn of(self, permits: &Permits) -> &Ranges {
        match self {
            Self::Read => &permits.read,
            Self::Write => &permits.write,
        }
    }
}

struct Check<'a, K> {
    auth: &'a Auth,
    by: Option<&'a By>,
    known: &'a K,
}

impl<K: Known> Check<'_, K> {
    /// Whoever puts a key on a lease has its fate hang on that of the others on it: he must be allowed
    /// to write them. (Else he could not revoke it, either.)
    fn put(&self, request: &PutRequest) -> Result<(), Refused> {
        let PutRequest { key, lease, prev_kv, .. } = request;
        self.auth.writes(self.by, key, b"")?;
        if *lease != 0 {
            self.lease(*lease)?;
        }
        if *prev_kv { self.auth.reads(self.by, key, b"") } else { Ok(()) }
    }

    fn delete_range(&self, request: &DeleteRangeRequest) -> Result<(), Refused> {
        let DeleteRangeRequest { key, range_end, prev_kv } = request;
        self.auth.writes(self.by, key, range_end)?;
        if *prev_kv { self.auth.reads(self.by, key, range_end) } else { Ok(()) }
    }

    /// Both branches, whichever is taken.
    fn txn(&self, request: &TxnRequest) -> Result<(), Refused> {
        for compare in &request.compare {
            self.auth.reads(self.by, &compare.key, &compare.range_end)?;
        }
        request.success.iter().chain(&request.failure).try_for_each(|op| self.op(op))
    }

    fn op(&self, op: &RequestOp) -> Result<(), Refused> {
        match &op.request {
            Some(Request::RequestRange(RangeRequest { key, range_end, .. })) => {
                self.auth.reads(self.by, key, range_end)
            }
            Some(Request::RequestPut(request)) => self.put(request),
            Some(Request::RequestDeleteRange(request)) => self.delete_range(request),
            Some(Request::RequestTxn(request)) => self.txn(request),
            None => Ok(()),
        }
    }

    /// Whether all keys on a lease may be written.
    fn lease(&self, lease: i64) -> Result<(), Refused> {
        if self.auth.is_admin(self.by).is_ok() {
            return Ok(());
        }
        let keys = self.known.leased(lease);
        keys.iter().try_for_each(|key| self.auth.writes(self.by, key, b""))
    }
}
