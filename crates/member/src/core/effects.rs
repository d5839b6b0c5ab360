//! What a core wants done.

use backend::Applied;
use base::{Index, MemberId, Term};
use bytes::Bytes;
use proto::Message as _;
use raft::{
    StateRole,
    eraftpb::{Message, MessageType},
};
use wal::{Entry, HardState};

/// A batch that must reach the disk; later ones have higher tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

/// What a core wants done. The shell may do the parts in any order and at the same time, but
/// appends in their order, and applies in theirs.
#[derive(Debug, Default)]
pub struct Effects {
    /// To other members, as soon as possible: even before `append` is synced.
    pub send: Vec<PeerMessage>,
    /// To be written and synced; then [`super::Core::persisted`].
    pub append: Option<Append>,
    /// Committed, and synced in this member's log: to be applied, then [`super::Core::applied`].
    pub apply: Vec<Entry>,
    /// Reads that may be served once this much is applied.
    pub reads: Vec<(Index, Vec<Read>)>,
    /// Proposals that nobody will answer, by their ids.
    pub dropped: Vec<(u64, Lost)>,
    /// Proposals that were not taken, or were lost with their leader, and will never be carried out:
    /// to be proposed again, if anybody still waits for that, once [`super::Core::takes_proposals`] holds.
    /// In any order.
    pub again: Vec<Proposal>,
    /// Followers that need the keyspace: to each a snapshot is to be sent, of the entry that its
    /// message names or a later one; then [`super::Core::snapshot_sent`].
    pub snapshots: Vec<PeerMessage>,
    /// The snapshot that was handed to [`super::Core::restore`] takes the place of all that this
    /// member has; then [`super::Core::installed`]. Nothing else is to be done before.
    pub install: Option<Install>,
    /// Who leads, if that changed.
    pub role: Option<Role>,
    /// This member was removed from the cluster just now: tell the others what is to be told, then
    /// stop.
    pub removed: bool,
}

impl Effects {
    /// Whether there is nothing to do, of what does not come from raft.
    pub(crate) fn is_idle(&self) -> bool {
        let Self { send, dropped, again, removed, .. } = self;
        send.is_empty() && dropped.is_empty() && again.is_empty() && !removed
    }
}

/// Why nobody will answer a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It was not taken: too much is uncommitted.
    Overload,
    /// It will never be carried out, since its leader has gone, and it is not here any more.
    WithLeader,
    /// Its leader has gone, and a snapshot has come that does not say whether it was carried out.
    Unknown,
}

/// Bytes for the log.
#[derive(Debug)]
pub struct Append {
    pub ticket: Ticket,
    pub hard_state: Option<HardState>,
    pub entries: Vec<Entry>,
}

/// What a snapshot brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Install {
    pub ticket: Ticket,
    /// For the log, which starts anew behind the snapshot.
    pub hard_state: HardState,
    /// The last entry that the snapshot includes.
    pub applied: Applied,
}

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    pub leader: Option<MemberId>,
    pub leads: bool,
    pub state: RaftState,
    pub term: Term,
}

/// What a member is, in raft's own terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RaftState {
    #[default]
    Follower,
    /// It asks whether an election could be won.
    PreCandidate,
    Candidate,
    Leader,
}

impl RaftState {
    pub const ALL: [Self; 4] = [Self::Follower, Self::PreCandidate, Self::Candidate, Self::Leader];
}

impl From<StateRole> for RaftState {
    fn from(role: StateRole) -> Self {
        match role {
            StateRole::Follower => Self::Follower,
            StateRole::PreCandidate => Self::PreCandidate,
            StateRole::Candidate => Self::Candidate,
            StateRole::Leader => Self::Leader,
        }
    }
}

/// A message that no member of the cluster sends, or that this one must not hear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} from {from}: {reason}{}", if *lost_log { ": its log was lost" } else { "" })]
pub struct Refusal {
    pub from: MemberId,
    pub kind: String,
    pub reason: &'static str,
    /// This member has lost entries that it once said were on its disk: it must stop, and neither vote
    /// nor lead any more, since nobody knows what else would be lost.
    pub lost_log: bool,
}

/// An encoded command on its way into the log.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The id inside the command.
    pub id: u64,
    pub data: Bytes,
}

/// A read that waits for its read index; the shell's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read(pub u64);

/// What one member says to another. Its form is Raft's alone.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerMessage(pub(crate) Message);

impl PeerMessage {
    pub fn to(&self) -> MemberId {
        MemberId(self.0.to)
    }

    /// Who says so; the transport knows better.
    pub fn from(&self) -> MemberId {
        MemberId(self.0.from)
    }

    /// Whether it carries entries, and so may be large.
    pub fn is_append(&self) -> bool {
        self.0.msg_type() == MessageType::MsgAppend
    }

    /// Whether a follower says with it what it has.
    pub fn is_append_answer(&self) -> bool {
        self.0.msg_type() == MessageType::MsgAppendResponse
    }

    /// By which a leader shows that it is there.
    pub fn is_heartbeat(&self) -> bool {
        self.0.msg_type() == MessageType::MsgHeartbeat
    }

    /// Its term, and the entries that it carries: after the first index until the second.
    pub fn range(&self) -> (Term, Index, Index) {
        let Message { term, index, entries, .. } = &self.0;
        (Term(*term), Index(*index), Index(entries.last().map_or(*index, |last| last.index)))
    }

    /// Whether it may be repeated on the way: a repeated proposal would be carried out twice.
    pub fn is_proposal(&self) -> bool {
        self.0.msg_type() == MessageType::MsgPropose
    }

    /// Whether who sends it need not be who says so: a member that was the leader until just now
    /// passes on the reads that others still ask of it.
    pub fn may_be_passed_on(&self) -> bool {
        self.0.msg_type() == MessageType::MsgReadIndex
    }

    /// What it is, for a log.
    pub fn show(&self) -> String {
        let Message { from, term, index, log_term, commit, entries, reject, .. } = &self.0;
        let (kind, count) = (self.0.msg_type(), entries.len());
        let reject = if *reject { ", rejects" } else { "" };
        format!(
            "{kind:?} from {from} of term {term}: {count} entries behind {index}/{log_term}, \
             commit {commit}{reject}"
        )
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    /// The reverse of [`PeerMessage::to_bytes`]; `None` if it is no message.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Message::decode(bytes).ok().map(Self)
    }
}

pub(crate) fn to_wal(entry: raft::eraftpb::Entry) -> Entry {
    Entry {
        index: Index(entry.index),
        term: Term(entry.term),
        // Raft knows three kinds.
        kind: u8::try_from(entry.entry_type).unwrap_or(u8::MAX),
        data: entry.data,
        context: entry.context,
    }
}

pub(crate) fn from_wal(entry: Entry) -> raft::eraftpb::Entry {
    raft::eraftpb::Entry {
        entry_type: entry.kind.into(),
        term: entry.term.0,
        index: entry.index.0,
        data: entry.data,
        context: entry.context,
        sync_log: false,
    }
}
