//! What the log holds behind the files, carried out on what they hold.
//!
//! All of it: an entry that was not known to be committed may have been acknowledged, and of what was
//! not, nobody knows that it did not happen. How many those were is told.
//!
//! By the original's rules: what it has carried out counts, whatever a member of ours would say to it
//! today. An entry that is left out shifts the revisions of all that follow.

use std::path::Path;

use base::Refused;
use prost::Message as _;
use proto::{
    command::{By, Compact, LeaseCheckpoint, LeaseNote, LeaseRevoke, Op},
    etcdserverpb::{
        DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, TxnRequest,
        request_op::Request as Part,
    },
};
use state::{Response, auth::Auth};

use crate::{
    Damage, ImportError, Note,
    alarms::{Alarms, Verdict},
    auth,
    building::Building,
    db::Db,
    messages::{ConfChange, Entry, Lease, RaftRequest, Request},
    nodes::{self, Nodes},
};

/// What the original, which was started with its own election timeout, makes of less.
const LEASE_TTL_MIN: i64 = 2;
/// What the decoder says to messages in messages, which the original takes up to any depth.
const TOO_DEEP: &str = "recursion limit";

/// The leases of etcd 3, and what is left of them.
pub(crate) fn leases(db: &Db, into: &mut Building) -> Result<(), ImportError> {
    for Lease { id, ttl, remaining } in db.leases()? {
        if let Response::V3(Err(why)) = into.apply(Op::LeaseGrant(LeaseGrantRequest { id, ttl }))? {
            let (path, why) = (db.path().to_path_buf(), why.to_string());
            return Err(ImportError::Lease { path, id, ttl, why });
        }
        if remaining > 0 {
            let notes = vec![LeaseNote { id, remaining, granted: into.granted(id) }];
            into.apply(Op::LeaseCheckpoint(LeaseCheckpoint { notes }))?;
        }
    }
    Ok(())
}

/// Entries on their way into both stores.
pub(crate) struct Replay<'a> {
    keys: &'a mut Building,
    nodes: &'a mut Nodes,
    alarms: Alarms,
    /// The keys have all up to here; `None`: there is no etcd 3.
    applied: Option<u64>,
    /// Whether the numbers of the log are those that the keys go by.
    is_aligned: bool,
    /// Users and roles of v3.
    pub(crate) auth: Auth,
    /// What of these is not as it was.
    pub(crate) notes: Vec<Note>,
    /// How many entries of clients were carried out.
    pub(crate) entries: u64,
    /// How many the original has refused to those who asked.
    pub(crate) refused: u64,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        db: Option<&Db>,
        keys: &'a mut Building,
        nodes: &'a mut Nodes,
    ) -> Result<Self, ImportError> {
        let raised = db.map(Db::alarms).transpose()?.unwrap_or_default();
        let alarms = Alarms::of(raised, db.is_some_and(|db| db.has_version));
        let applied = db.map(|db| db.consistent_index);
        let mut notes = Vec::new();
        let auth = db.map(|db| db.auth(&mut notes)).transpose()?.unwrap_or_default();
        let is_aligned = db.is_none_or(|db| db.has_members);
        let (entries, refused) = (0, 0);
        Ok(Self { keys, nodes, alarms, applied, is_aligned, auth, notes, entries, refused })
    }

    pub(crate) fn carry_out(&mut self, entry: &Entry, log: &Path) -> Result<(), ImportError> {
        const REQUEST: i32 = 0;
        const CHANGE: i32 = 1;
        let damage = || {
            let what = format!("entry {} cannot be decoded", entry.index);
            Damage::new(log.to_path_buf(), what)
        };
        match entry.kind {
            // A new leader's.
            REQUEST if entry.data.is_empty() => Ok(()),
            REQUEST => {
                match RaftRequest::decode(entry.data.clone()) {
                    Ok(request) => return self.request(request, entry.index, log),
                    Err(error) if error.to_string().contains(TOO_DEEP) => {
                        let why = "its transactions are nested deeper than is read".to_owned();
                        return Err(ImportError::Refused { index: entry.index, why });
                    }
                    Err(_) => {}
                }
                // As etcd 2 wrote them.
                let request = Request::decode(entry.data.clone()).map_err(|_| damage())?;
                self.v2(&request)
            }
            CHANGE => {
                let change = ConfChange::decode(entry.data.clone()).map_err(|_| damage())?;
                self.nodes.apply_change(&change)
            }
            _ => self.nodes.count(1),
        }
    }

    fn v2(&mut self, request: &Request) -> Result<(), ImportError> {
        self.entries += u64::from(nodes::is_clients(&request.path));
        self.nodes.apply(request)
    }

    fn request(&mut self, request: RaftRequest, index: u64, log: &Path) -> Result<(), ImportError> {
        if let Some(request) = &request.v2 {
            return self.v2(request);
        }
        if request.cluster_version_set.is_some() || request.cluster_member_attr_set.is_some() {
            return self.nodes.count(1);
        }
        if !self.is_aligned {
            return Err(ImportError::Shifted(log.to_path_buf()));
        }
        if self.applied.is_some_and(|applied| index <= applied) {
            return Ok(());
        }
        let header = request.header.clone().unwrap_or_default();
        let by = By { user: header.username, auth_revision: header.auth_revision };
        if let Some(change) = request.auth {
            let salt = auth::salt(index, header.id);
            let is_carried_out = auth::carry_out(&mut self.auth, &by, change, salt)
                .map_err(|why| ImportError::Refused { index, why })?;
            let count = if is_carried_out { &mut self.entries } else { &mut self.refused };
            *count += 1;
            return Ok(());
        }
        let Some(op) = self.op(request) else { return Ok(()) };
        let store = self.keys.state().reader();
        let asked = auth::judge(&self.auth, &by, &op, &|lease| store.store().leased(lease));
        let verdict = self.alarms.judge(&op);
        if asked == Verdict::Refused {
            self.refused += 1;
            return Ok(());
        }
        if asked == Verdict::Unknown && verdict != Verdict::Refused {
            return Err(ImportError::Judgement(index));
        }
        self.entries += 1;
        match verdict {
            Verdict::Passes => self.keys_apply(op, index),
            Verdict::Refused => Ok(()),
            Verdict::Unknown => {
                let why =
                    "alarms of two kinds are raised, and which of them refused it depends on \
                           when the member was started"
                        .to_owned();
                Err(ImportError::Refused { index, why })
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the others say that it was carried out")]
    fn keys_apply(&mut self, op: Op, index: u64) -> Result<(), ImportError> {
        if let Op::Alarm(request) = &op {
            // They are forgotten: see `member::found`.
            self.alarms.apply(request);
            return Ok(());
        }
        match self.keys.apply(without_answer(op))? {
            Response::V3(Err(refused)) if !refuses_too(refused) => {
                let why = format!("it was refused ({})", refused.text());
                Err(ImportError::Refused { index, why })
            }
            Response::Refused(why) => Err(ImportError::Refused { index, why }),
            _ => Ok(()),
        }
    }

    fn op(&mut self, request: RaftRequest) -> Option<Op> {
        let RaftRequest {
            put,
            delete_range,
            txn,
            compaction,
            lease_grant,
            lease_revoke,
            alarm,
            lease_checkpoint,
            ..
        } = request;
        let revoke = |id| Op::LeaseRevoke(LeaseRevoke { id, expired: false, granted: 0 });
        let compact = |revision| Op::Compact(Compact { revision });
        put.map(Op::Put)
            .or(delete_range.map(Op::DeleteRange))
            .or(txn.map(Op::Txn))
            .or(compaction.map(|request| compact(request.revision)))
            .or(lease_grant.map(|request| {
                let ttl = request.ttl.max(LEASE_TTL_MIN);
                Op::LeaseGrant(LeaseGrantRequest { ttl, ..request })
            }))
            .or(lease_revoke.map(|request| revoke(request.id)))
            .or(alarm.map(Op::Alarm))
            .or_else(|| {
                let notes = lease_checkpoint?.checkpoints.into_iter().map(|note| LeaseNote {
                    id: note.id,
                    remaining: note.remaining_ttl,
                    granted: self.keys.granted(note.id),
                });
                Some(Op::LeaseCheckpoint(LeaseCheckpoint { notes: notes.collect() }))
            })
    }
}

/// Whether the original refuses an entry for the same reason.
fn refuses_too(refused: Refused) -> bool {
    use Refused::{
        Compacted, FutureRevision, KeyNotFound, LeaseExists, LeaseNotFound, LeaseTtlTooLarge,
    };
    matches!(
        refused,
        Compacted | FutureRevision | KeyNotFound | LeaseExists | LeaseNotFound | LeaseTtlTooLarge
    )
}

/// The same, but that nothing is to be answered: answers have a bound here, which the original has not.
#[allow(clippy::wildcard_enum_match_arm, reason = "the others have no answer of any size")]
fn without_answer(op: Op) -> Op {
    match op {
        Op::Put(put) => Op::Put(PutRequest { prev_kv: false, ..put }),
        Op::DeleteRange(deletion) => {
            Op::DeleteRange(DeleteRangeRequest { prev_kv: false, ..deletion })
        }
        Op::Txn(mut txn) => {
            silence(&mut txn);
            Op::Txn(txn)
        }
        other => other,
    }
}

fn silence(txn: &mut TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Part::RequestPut(put)) => put.prev_kv = false,
            Some(Part::RequestDeleteRange(deletion)) => deletion.prev_kv = false,
            Some(Part::RequestTxn(nested)) => silence(nested),
            // It can be refused for its revision alone.
            Some(Part::RequestRange(range)) => {
                let (key, revision) = (std::mem::take(&mut range.key), range.revision);
                *range =
                    RangeRequest { key, revision, count_only: true, ..RangeRequest::default() };
            }
            None => {}
        }
    }
}
