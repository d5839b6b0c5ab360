//! All that the outside world has seen and done: it survives every loss of power.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::{Index, MemberId, Term, UnixNanos};
use bytes::Bytes;
use member::Answer;
use mvcc::Commit;
use proto::command::{KeysWrite, Op};
use state::Response;
use wal::Entry;

use crate::clients::registers::Registers;

/// All that the outside world has seen and done.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// By the proposal's id.
    pub(crate) sent: BTreeMap<u64, KeysWrite>,
    /// By the value, which no two requests share.
    pub(crate) values: BTreeMap<Bytes, u64>,
    pub(crate) acknowledged: BTreeMap<u64, Acknowledged>,
    /// Every entry that was ever handed out to be applied, as it was the first time.
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The lowest term in which a member was that applied it.
    pub(crate) applied_in: BTreeMap<u64, Term>,
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
    /// Everybody who was ever removed.
    pub(crate) removed: BTreeSet<MemberId>,
    pub(crate) registers: Registers,
    /// What the time is.
    pub(crate) now: UnixNanos,
    /// The latest that any member's clock has ever shown.
    pub(crate) latest: UnixNanos,
}

/// What a client was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// Where its command stands in the log.
    pub(crate) index: Index,
    /// The revision that it made; `None` if it was refused.
    pub(crate) revision: Option<i64>,
}

/// Simulated time begins here: v2 takes a time to live that ends before 2000 for none.
const BEGINNING: UnixNanos = UnixNanos(1_800_000_000 * 1_000_000_000);

impl History {
    pub(crate) fn new() -> Self {
        Self {
            sent: BTreeMap::new(),
            values: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            entries: BTreeMap::new(),
            applied_in: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            commits: BTreeMap::new(),
            durable: BTreeMap::new(),
            synced: BTreeMap::new(),
            leaders: BTreeMap::new(),
            logged: BTreeMap::new(),
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
        (id, Op::Keys(write))
    }

    /// The proposal of this id stands at `index`: a client was told so.
    pub(crate) fn acknowledge(&mut self, answer: &Answer) {
        let revision = match &answer.response {
            Response::Keys(Ok(event)) => i64::try_from(event.node.modified_index).ok(),
            Response::Keys(Err(_))
            | Response::Expired(_)
            | Response::Done
            | Response::Downgrade(_)
            | Response::Refused(_) => None,
        };
        self.acknowledged.insert(answer.id, Acknowledged { index: answer.index, revision });
    }

    /// The highest log index that was acknowledged to anybody.
    pub(crate) fn last_acknowledged(&self) -> Index {
        self.acknowledged.values().map(|one| one.index).max().unwrap_or_default()
    }
}
