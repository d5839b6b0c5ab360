//! Commands of the v3 API.

use std::{collections::BTreeMap, sync::Arc};

use backend::Applied;
use base::Refused;
use mvcc::{Action, Commit, Kind, ReadError, Txn, Writer};
use proto::{
    command::{By, Compact, LeaseCheckpoint, LeaseRevoke, Op},
    etcdserverpb::{
        AlarmRequest, AlarmResponse, CompactionResponse, DeleteRangeResponse,
        LeaseCheckpointResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeResponse,
        PutResponse, ResponseHeader, TxnResponse,
    },
};

use super::{Fatal, Response, State, damaged, meta};
use crate::{
    alarm::Alarms,
    kv::{self, Error},
    lease::{self, Lease},
    quota,
};

/// The answer to a command of the v3 API. Of the header only the revision is set.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "named as the commands")]
pub enum Reply {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    /// What is condemned is removed later: see [`mvcc::Store::is_compacting`].
    Compact(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke(LeaseRevokeResponse),
    LeaseCheckpoint(LeaseCheckpointResponse),
    Alarm(AlarmResponse),
    /// Users and roles are as was asked for.
    Auth,
    /// The user has logged in.
    Token(String),
}

type Answered = Result<(Reply, Option<Arc<Commit>>), Error>;

impl State {
    pub(super) fn apply_v3(
        &mut self,
        at: Applied,
        by: Option<&By>,
        op: Op,
    ) -> Result<(Response, Vec<Arc<Commit>>), Fatal> {
        let answered = match self.permits(by, &op) {
            Ok(()) => self.carry_out(at, op),
            Err(refused) => Err(refused.into()),
        };
        match answered {
            Ok((reply, commit)) => {
                #[cfg(feature = "next-version")]
                self.count_next(commit.is_some());
                Ok((Response::V3(Ok(reply)), commit.into_iter().collect()))
            }
            Err(Error::Refused(refused)) => Ok((Response::V3(Err(refused)), Vec::new())),
            Err(Error::Failed(error)) => Err(Fatal::Read(error.into())),
        }
    }

    /// Whether it passes: the alarms that are raised first, then users and roles.
    pub(super) fn permits(&self, by: Option<&By>, op: &Op) -> Result<(), Refused> {
        let alarms = self.reader.alarms();
        if alarms.corrupt(&self.reader.members())
            && !matches!(op, Op::LeaseCheckpoint(_) | Op::Alarm(_))
        {
            return Err(Refused::Corrupt);
        }
        if alarms.no_space() && quota::cost(op) > 0 {
            return Err(Refused::NoSpace);
        }
        self.reader.allows(by, op)
    }

    fn carry_out(&mut self, at: Applied, op: Op) -> Answered {
        let Self { writer, reader, .. } = self;
        let leases = reader.leases();
        match op {
            Op::Put(request) => {
                let done = writer.transact(|txn| kv::put(txn, leases, &request))?;
                Ok((Reply::Put(done.0), done.1))
            }
            Op::DeleteRange(request) => {
                let done = writer.transact(|txn| kv::delete_range(txn, &request))?;
                Ok((Reply::DeleteRange(done.0), done.1))
            }
            Op::Txn(request) => {
                let done = writer.transact(|txn| kv::txn(txn, leases, &request))?;
                Ok((Reply::Txn(done.0), done.1))
            }
            Op::Compact(Compact { revision }) => {
                writer.compact(revision)?;
                Ok((Reply::Compact(CompactionResponse { header: Some(self.header()) }), None))
            }
            Op::LeaseGrant(request) => self.grant(at, request),
            Op::LeaseRevoke(request) => self.revoke(request),
            Op::LeaseCheckpoint(request) => Ok((self.checkpoint(&request), None)),
            Op::Alarm(request) => Ok((self.alarm(&request), None)),
            // They are carried out elsewhere.
            Op::Keys(_)
            | Op::Expire(_)
            | Op::Publish(_)
            | Op::ClusterVersion(_)
            | Op::Auth(_)
            | Op::Downgrade(_) => Err(Refused::NotCapable.into()),
            #[cfg(feature = "next-version")]
            Op::Note(_) => Err(Refused::NotCapable.into()),
        }
    }

    fn header(&self) -> ResponseHeader {
        kv::header(self.writer.store().revision())
    }

    fn grant(&mut self, at: Applied, request: LeaseGrantRequest) -> Answered {
        let LeaseGrantRequest { id, ttl } = request;
        let lease = self.reader.leases().grant(id, ttl, at.index.0)?;
        self.store_lease(id, Some(lease));
        let reply =
            LeaseGrantResponse { header: Some(self.header()), id, ttl, error: String::new() };
        Ok((Reply::LeaseGrant(reply), None))
    }

    fn revoke(&mut self, request: LeaseRevoke) -> Answered {
        let LeaseRevoke { id, expired, granted } = request;
        let is_meant = |lease: Lease| granted == 0 || lease.granted == granted;
        if !self.reader.leases().get(id).is_some_and(is_meant) {
            return Err(Refused::LeaseNotFound.into());
        }
        let action = if expired { Action::Expire } else { Action::None };
        let delete = |txn: &mut Txn<'_>| -> Result<(), ReadError> {
            for name in txn.store().leased(id) {
                txn.delete(Kind::Key, &name, action, true);
            }
            Ok(())
        };
        let ((), commit) = self.writer.transact(delete)?;
        self.store_lease(id, None);
        self.reader.leases().revoke(id);
        Ok((Reply::LeaseRevoke(LeaseRevokeResponse { header: Some(self.header()) }), commit))
    }

    /// A lease that is not there any more needs no note.
    fn checkpoint(&mut self, request: &LeaseCheckpoint) -> Reply {
        for note in &request.notes {
            if let Some(lease) = self.reader.leases().checkpoint(*note) {
                self.store_lease(note.id, Some(lease));
            }
        }
        Reply::LeaseCheckpoint(LeaseCheckpointResponse { header: Some(self.header()) })
    }

    fn store_lease(&mut self, id: i64, lease: Option<Lease>) {
        self.writer.set_meta(lease::key(id), lease.map(lease::encode));
    }

    fn alarm(&mut self, request: &AlarmRequest) -> Reply {
        let mut alarms = (*self.reader.alarms()).clone();
        let (response, changed) = alarms.apply(request);
        if changed {
            self.set_alarms(alarms);
        }
        Reply::Alarm(response)
    }

    pub(super) fn set_alarms(&mut self, alarms: Alarms) {
        self.writer.set_meta(meta::ALARMS, Some(alarms.encode()));
        self.reader.set_alarms(alarms);
    }
}

pub(super) fn read_leases(writer: &Writer) -> Result<BTreeMap<i64, Lease>, Fatal> {
    let rows = writer.meta_rows(lease::PREFIX)?.into_iter();
    let decode = |(key, row): (bytes::Bytes, bytes::Bytes)| {
        let text = |text: String| damaged(&String::from_utf8_lossy(&key), &text);
        lease::decode(&key, &row).map_err(text)
    };
    rows.map(decode).collect()
}

pub(super) fn read_alarms(writer: &Writer) -> Result<Alarms, Fatal> {
    match writer.meta(meta::ALARMS.as_bytes())? {
        Some(row) => {
            Alarms::decode(&row).map_err(|error| damaged(meta::ALARMS, &error.to_string()))
        }
        None => Ok(Alarms::default()),
    }
}
