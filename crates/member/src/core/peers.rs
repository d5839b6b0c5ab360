//! What peers say, and how far they are.

use base::{Index, MemberId, limits};
use proto::Message as _;
use raft::{
    ProgressState, Raft, StateRole,
    eraftpb::{ConfChange, Entry, EntryType, Message, MessageType},
};
use state::apply::membership_change::Change;

use crate::{conf, window::Window};

/// How far another member is, as the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follower {
    pub id: MemberId,
    /// The last entry that it is known to have in common with the leader.
    pub matched: Index,
    /// It has been heard from within the last election timeout.
    pub active: bool,
    pub learner: bool,
    /// It is being sent a snapshot.
    pub needs_snapshot: bool,
}

pub(super) fn followers(raft: &Raft<Window>) -> Vec<Follower> {
    let conf = raft.prs().conf();
    let others = raft.prs().iter().filter(|(id, _)| **id != raft.id);
    let mut followers: Vec<_> = others
        .map(|(id, progress)| Follower {
            id: MemberId(*id),
            matched: Index(progress.matched),
            active: progress.recent_active,
            learner: conf.learners().contains(id),
            needs_snapshot: progress.state == ProgressState::Snapshot,
        })
        .collect();
    // Raft keeps a hash map.
    followers.sort_unstable_by_key(|follower| follower.id);
    followers
}

/// Whether a learner has so much of the leader's log (nine tenths, as in etcd 3.6) that the cluster
/// can rely on its vote. Of those that are no learners the change itself tells.
pub(super) fn is_in_sync(raft: &Raft<Window>, learner: u64) -> bool {
    let matched = |id| raft.prs().get(id).map(|progress| progress.matched);
    let (Some(its), Some(ours)) = (matched(learner), matched(raft.id)) else { return true };
    u128::from(its) * 10 >= u128::from(ours) * 9
}

/// Refuses what raft would panic on, or could not mean well. The error says what is wrong.
pub(super) fn check(message: &Message, raft: &Raft<Window>) -> Result<(), &'static str> {
    let kind = message.msg_type();
    if raft::raw_node::is_local_msg(kind) || kind == MessageType::MsgTransferLeader {
        return Err("it is no message between members");
    }
    check_sender(message, raft)?;
    let forwarded = matches!(kind, MessageType::MsgPropose | MessageType::MsgReadIndex);
    if forwarded == (message.term != 0) {
        return Err("it is of no term");
    }
    let is_member = raft.prs().get(message.from).is_some();
    #[allow(clippy::wildcard_enum_match_arm, reason = "the others can do no harm")]
    match kind {
        MessageType::MsgSnapshot => Err("snapshots do not come as messages"),
        MessageType::MsgAppend => check_append(message),
        MessageType::MsgHeartbeat if message.commit > raft.raft_log.last_index() => {
            Err("it tells of entries that this member once had")
        }
        MessageType::MsgAppendResponse => check_response(message, raft),
        MessageType::MsgPropose | MessageType::MsgTimeoutNow if !is_member => {
            Err("its sender is no member")
        }
        MessageType::MsgPropose => check_proposal(message, raft),
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if message.entries.len() != 1 => {
            Err("it asks for no read")
        }
        _ => Ok(()),
    }
}

/// Whether the voters that are heard of are a majority without this one, who acknowledges nothing until it
/// has a snapshot.
fn goes_on_without(raft: &Raft<Window>, asker: u64) -> bool {
    let learners = raft.prs().conf().learners();
    let voters = || raft.prs().iter().filter(|(id, _)| !learners.contains(*id));
    let others =
        voters().filter(|(id, one)| **id != asker && (**id == raft.id || one.recent_active));
    others.count() > voters().count() / 2
}

/// Whether whoever asks before an election is to be let go first, since this member asks just now as well.
/// Each would be told by the other that it may stand, both would stand, each with its own vote, and
/// nobody would win before another election timeout. Which of two goes first both of them know; its
/// question comes before its answer; and nothing that was promised is taken back.
pub(super) fn goes_first(message: &Message, raft: &Raft<Window>) -> bool {
    message.msg_type() == MessageType::MsgRequestPreVote
        && raft.state == StateRole::PreCandidate
        && message.term == raft.term + 1
        && message.from > raft.id
        && raft.prs().conf().voters().contains(message.from)
        && raft.raft_log.is_up_to_date(message.index, message.log_term)
}

/// Whether a message proves that this member has lost entries which it once had: a leader tells of no
/// more than what a follower has said is on its disk; and a follower of this term has taken what it has
/// beyond this leader's log from a leader before, and would have said no if it were not committed.
pub(super) fn proves_loss(message: &Message, raft: &Raft<Window>) -> bool {
    let last = raft.raft_log.last_index();
    let is_stranger = raft.prs().iter().count() > 0 && raft.prs().get(message.from).is_none();
    if check_sender(message, raft).is_err() || message.term < raft.term || is_stranger {
        return false;
    }
    let leads = |id| raft.leader_id == raft::INVALID_ID || raft.leader_id == id;
    #[allow(clippy::wildcard_enum_match_arm, reason = "the others tell nothing of logs")]
    match message.msg_type() {
        MessageType::MsgHeartbeat if message.term > raft.term || leads(message.from) => {
            message.commit > last
        }
        MessageType::MsgAppendResponse => {
            let leads = raft.state == StateRole::Leader && message.term == raft.term;
            leads && !message.reject && message.index > last
        }
        _ => false,
    }
}

pub(super) fn check_sender(message: &Message, raft: &Raft<Window>) -> Result<(), &'static str> {
    if message.to != raft.id {
        return Err("it is for another member");
    }
    if message.from == raft::INVALID_ID || message.from == raft.id {
        return Err("it has no sender");
    }
    Ok(())
}

fn check_append(message: &Message) -> Result<(), &'static str> {
    let mut before = (message.index, message.log_term);
    for entry in &message.entries {
        if before.0.checked_add(1) != Some(entry.index) {
            return Err("its entries have a gap");
        }
        if entry.term < before.1 || entry.term > message.term {
            return Err("its entries go back in terms");
        }
        check_entry(entry)?;
        before = (entry.index, entry.term);
    }
    Ok(())
}

fn check_response(message: &Message, raft: &Raft<Window>) -> Result<(), &'static str> {
    // Raft would try to send it for ever, and nothing else, though the follower may ask no more.
    if message.request_snapshot > raft.raft_log.applied {
        return Err("it asks for a snapshot of what is not applied here");
    }
    if message.request_snapshot != raft::INVALID_INDEX && !goes_on_without(raft, message.from) {
        return Err("it asks for a snapshot while the others could not go on without it");
    }
    if message.index > raft.raft_log.last_index() && !message.reject {
        return Err("it tells of entries that the leader does not have");
    }
    let matched = raft.prs().get(message.from).map_or(0, |progress| progress.matched);
    // Released raft 0.7 would go back behind what the follower has.
    if message.reject && message.reject_hint < matched {
        return Err("it is older than what its sender has said since");
    }
    Ok(())
}

fn check_proposal(message: &Message, raft: &Raft<Window>) -> Result<(), &'static str> {
    if message.entries.is_empty() {
        return Err("it proposes nothing");
    }
    if message.log_term == 0 {
        return Err("it is for no leader");
    }
    if raft.state == StateRole::Leader && message.entries.iter().any(promotes) {
        return Err("it promotes a learner, which only the leader decides");
    }
    message.entries.iter().try_for_each(check_entry)
}

fn promotes(entry: &Entry) -> bool {
    if entry.entry_type != EntryType::EntryConfChange as i32 {
        return false;
    }
    let change = ConfChange::decode(&*entry.data).ok();
    let meant = change.map(|change| conf::meaning(entry.index, &change));
    matches!(meant, Some(Ok(Change::Promote(_))))
}

/// An entry that members do not know would stop all of them.
fn check_entry(entry: &Entry) -> Result<(), &'static str> {
    let known = [EntryType::EntryNormal, EntryType::EntryConfChange];
    if !known.iter().any(|kind| *kind as i32 == entry.entry_type) {
        return Err("it has an entry of an unknown kind");
    }
    if entry.data.len() > limits::REQUEST_BYTES_CEILING {
        return Err("it has an entry that is too large");
    }
    Ok(())
}
