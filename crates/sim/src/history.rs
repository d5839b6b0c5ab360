//! All that the outside world has seen and done: it survives every loss of power.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base::{Index, MemberId, Term, UnixNanos};
use bytes::Bytes;
use member::Answer;
use mvcc::Commit;
use proto::{
    command::{KeysWrite, Op},
    etcdserverpb::TxnRequest,
};
use state::{Reply, Response};
use wal::Entry;

use crate::{
    clients::{registers::Registers, v3},
    healing::TICK,
    invariants::leases::Promised,
    running::ANSWER_TICKS,
};

/// All that the outside world has seen and done.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// By the proposal's id.
    pub(crate) sent: BTreeMap<u64, KeysWrite>,
    /// The same through v3.
    pub(crate) sent_v3: BTreeMap<u64, Op>,
    /// By the value, which no two requests share.
    pub(crate) values: BTreeMap<Bytes, u64>,
    /// Until when somebody waits for the answer, where it is no client of the registers.
    awaited: BTreeMap<u64, UnixNanos>,
    pub(crate) acknowledged: BTreeMap<u64, Acknowledged>,
    /// Every entry that was ever handed out to be applied, as it was the first time.
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The lowest term in which a member was that applied it.
    pub(crate) applied_in: BTreeMap<u64, Term>,
    /// Where the proposal of an id stands.
    pub(crate) places: BTreeMap<u64, Index>,
    /// What each of them gave.
    pub(crate) outcomes: BTreeMap<u64, Vec<Arc<Commit>>>,
    /// All that ever was at a revision.
    pub(crate) commits: BTreeMap<i64, Arc<Commit>>,
    /// Of each member, the highest entry that a flush has reported to be durable.
    pub(crate) durable: BTreeMap<MemberId, Index>,
    /// Of each member, the last term of which it had synced something before it was opened.
    pub(crate) synced: BTreeMap<MemberId, Term>,
    /// Who led in a term.
    pub(crate) leaders: BTreeMap<Term, MemberId>,
    /// Every entry that any log ever held, with the term of the one before it.
    pub(crate) logged: BTreeMap<(u64, Term), (Entry, Option<Term>)>,
    pub(crate) leases: Promised,
    /// Everybody who was ever removed.
    pub(crate) removed: BTreeSet<MemberId>,
    pub(crate) registers: Registers,
    /// What the time is.
    pub(crate) now: UnixNanos,
    /// The latest that any member's clock has ever shown.
    pub(crate) latest: UnixNanos,
}

/// Ids of proposals through v3 are above it.
const V3_IDS: u64 = 1 << 32;

/// What a client was told.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// Where its command stands in the log.
    pub(crate) index: Index,
    /// The revision that it made; `None` if it was refused.
    pub(crate) revision: Option<i64>,
    /// The values that it wrote there.
    pub(crate) values: Vec<Bytes>,
}

/// How long anybody waits for an answer.
const PATIENCE: Duration = TICK.saturating_mul(ANSWER_TICKS);

/// Simulated time begins here: v2 takes a time to live that ends before 2000 for none.
const BEGINNING: UnixNanos = UnixNanos(1_800_000_000 * 1_000_000_000);

impl History {
    pub(crate) fn new() -> Self {
        Self {
            sent: BTreeMap::new(),
            sent_v3: BTreeMap::new(),
            values: BTreeMap::new(),
            awaited: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            entries: BTreeMap::new(),
            applied_in: BTreeMap::new(),
            places: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            commits: BTreeMap::new(),
            durable: BTreeMap::new(),
            synced: BTreeMap::new(),
            leaders: BTreeMap::new(),
            logged: BTreeMap::new(),
            leases: Promised::new(),
            removed: BTreeSet::new(),
            registers: Registers::default(),
            now: BEGINNING,
            latest: BEGINNING,
        }
    }

    /// What nobody has sent before.
    pub(crate) fn next_value(&self) -> String {
        format!("v{}", self.sent.len() + 1)
    }

    pub(crate) fn send(&mut self, write: KeysWrite) -> (u64, Op) {
        let id = self.sent.len() as u64 + 1;
        if !write.value.is_empty() {
            self.values.insert(write.value.clone(), id);
        }
        self.sent.insert(id, write.clone());
        self.awaited.insert(id, self.now.saturating_add(PATIENCE));
        (id, Op::Keys(write))
    }

    pub(crate) fn send_v3(&mut self, op: Op) -> (u64, Op) {
        let id = V3_IDS + self.sent_v3.len() as u64 + 1;
        self.values.extend(v3::values(&op).into_iter().map(|value| (value, id)));
        self.sent_v3.insert(id, op.clone());
        self.awaited.insert(id, self.now.saturating_add(PATIENCE));
        (id, op)
    }

    /// Whether somebody still waits for the answer to this proposal.
    pub(crate) fn is_awaited(&self, id: u64) -> bool {
        let waits = || self.awaited.get(&id).is_some_and(|until| *until > self.now);
        self.registers.is_awaited(id).unwrap_or_else(waits)
    }

    /// The proposal of this id stands at `index`: a client was told so.
    pub(crate) fn acknowledge(&mut self, answer: &Answer) {
        let (revision, values) = match &answer.response {
            Response::Keys(Ok(event)) => {
                let sent = self.sent.get(&answer.id).map(|write| write.value.clone());
                let value = sent.filter(|value| !value.is_empty());
                (i64::try_from(event.node.modified_index).ok(), value.into_iter().collect())
            }
            Response::V3(Ok(reply)) => {
                let values = self.sent_v3.get(&answer.id).map(|op| written(op, reply));
                let values = values.unwrap_or_default();
                (revision(reply).filter(|_| !values.is_empty()), values)
            }
            Response::Keys(Err(_))
            | Response::V3(Err(_))
            | Response::Expired(_)
            | Response::Done
            | Response::Downgrade(_)
            | Response::V2Auth(_)
            | Response::Refused(_) => (None, Vec::new()),
        };
        let acknowledged = Acknowledged { index: answer.index, revision, values };
        self.acknowledged.insert(answer.id, acknowledged);
    }

    /// The highest log index that was acknowledged to anybody.
    pub(crate) fn last_acknowledged(&self) -> Index {
        self.acknowledged.values().map(|one| one.index).max().unwrap_or_default()
    }
}

/// The values that a request has written, by its answer.
fn written(op: &Op, reply: &Reply) -> Vec<Bytes> {
    match (op, reply) {
        (Op::Txn(request), Reply::Txn(answer)) => {
            let branch = if answer.succeeded { &request.success } else { &request.failure };
            v3::values(&Op::Txn(TxnRequest { success: branch.clone(), ..TxnRequest::default() }))
        }
        (op, _) => v3::values(op),
    }
}

fn revision(reply: &Reply) -> Option<i64> {
    let header = match reply {
        Reply::Put(answer) => answer.header,
        Reply::Txn(answer) => answer.header,
        Reply::DeleteRange(_)
        | Reply::Compact(_)
        | Reply::LeaseGrant(_)
        | Reply::LeaseRevoke(_)
        | Reply::LeaseCheckpoint(_)
        | Reply::Alarm(_)
        | Reply::Auth
        | Reply::Token(_) => None,
    };
    header.map(|header| header.revision)
}
