//! Snapshots: which followers need one, and what happens when one has come.
//!
//! Raft knows only of what entry a snapshot is. The keyspace itself goes beside it, as a stream that
//! the shell carries; raft hears of it when it is whole.

use backend::Applied;
use base::{Index, MemberId, Term};
use bytes::Bytes;
use proto::Message as _;
use raft::{
    ProgressState, SnapshotStatus,
    eraftpb::{ConfState, Message, MessageType, SnapshotMetadata},
};

use super::{Core, CoreError, Effects, Follower, Install, PeerMessage, Ticket, hard_state, peers};

/// A follower that is so few entries behind has caught up, if as many are kept for everybody.
const CAUGHT_UP: u64 = 1_000;
/// Election timeouts after which a follower that has a snapshot, and answers, but has not said that
/// it has taken it over, is asked what it has: the answer was lost, or it was started again meanwhile
/// and needs another one.
const ASKED_AFTER: usize = 3;
/// Election timeouts after which one that does not answer is given up. To take over a large keyspace
/// it may be silent for long; and what is held for it is bounded.
const SILENT_AFTER: usize = 60;

/// What a follower will need that is being sent a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// All behind this entry.
    index: Index,
    /// The snapshot has come there whole.
    sent: bool,
    /// Ticks in which it has answered since, and not said that it has taken it over.
    waited: usize,
    /// Ticks in which it has not answered.
    silent: usize,
}

/// What becomes of a [`Hold`].
enum Held {
    Stays,
    /// It is not needed any more, or helps nobody.
    Goes,
    /// What the follower has is to be found out.
    Unclear,
}

impl Hold {
    /// One tick: `kept` entries stay for everybody, whoever lags.
    fn tick(&mut self, follower: &Follower, last: u64, kept: u64, election: usize) -> Held {
        if !self.sent {
            return Held::Stays;
        }
        // At the tick at which raft counts those who have answered, nobody has yet.
        self.silent = if follower.active { 0 } else { self.silent + 1 };
        if self.silent > SILENT_AFTER * election {
            return Held::Goes;
        }
        if follower.needs_snapshot {
            self.waited += usize::from(follower.active);
            let is_long = self.waited > ASKED_AFTER * election;
            return if is_long { Held::Unclear } else { Held::Stays };
        }
        self.index = self.index.max(follower.matched);
        if self.index.0 + CAUGHT_UP.min(kept) >= last { Held::Goes } else { Held::Stays }
    }
}

/// Takes the messages out that stand for a snapshot.
pub(super) fn take_out(effects: &mut Effects) {
    let is_snapshot = |message: &PeerMessage| message.0.msg_type() == MessageType::MsgSnapshot;
    effects.snapshots.extend(effects.send.extract_if(.., |message| is_snapshot(message)));
}

impl PeerMessage {
    /// For a message that stands for a snapshot: the same, of this entry. `None` if it is none, or
    /// `conf_state` is not what the keyspace stores.
    #[must_use]
    pub fn of_snapshot(&self, applied: Applied, conf_state: &Bytes) -> Option<Self> {
        let conf_state = ConfState::decode(&**conf_state).ok()?;
        let mut message = self.0.clone();
        let snapshot = message.snapshot.as_mut()?;
        let (index, term) = (applied.index.0, applied.term.0);
        snapshot.metadata = Some(SnapshotMetadata { conf_state: Some(conf_state), index, term });
        Some(Self(message))
    }

    /// Of which entry a snapshot is, if the message stands for one.
    pub fn snapshot(&self) -> Option<Applied> {
        let metadata = metadata(&self.0)?;
        Some(Applied { index: Index(metadata.index), term: Term(metadata.term) })
    }
}

fn metadata(message: &Message) -> Option<&SnapshotMetadata> {
    let is_snapshot = message.msg_type() == MessageType::MsgSnapshot;
    message.snapshot.as_ref().filter(|_| is_snapshot)?.metadata.as_ref()
}

impl Core {
    /// A snapshot is being sent of this entry: what follows it is kept for the follower, until it
    /// has caught up.
    pub fn hold(&mut self, to: MemberId, index: Index) {
        self.holds.insert(to, Hold { index, sent: false, waited: 0, silent: 0 });
        self.keep_what_is_held();
        // Of an earlier one raft has spoken: what lies in between need not be there any more.
        let progress = self.node.raft.mut_prs().get_mut(to.0);
        if let Some(progress) = progress.filter(|one| one.state == ProgressState::Snapshot) {
            progress.pending_snapshot = progress.pending_snapshot.max(index.0);
        }
    }

    /// The follower has the snapshot, or could not be sent it.
    ///
    /// Raft does not hear that it has: it goes on with the follower once that says that it has taken
    /// the snapshot over. If it heard before, it would ask what the follower has then, which is not
    /// enough, and send it another one.
    pub fn snapshot_sent(&mut self, to: MemberId, arrived: bool) {
        match self.holds.get_mut(&to) {
            Some(hold) if arrived => hold.sent = true,
            _ => {
                self.holds.remove(&to);
                self.keep_what_is_held();
                self.node.report_snapshot(to.0, SnapshotStatus::Failure);
            }
        }
    }

    /// One tick. Lets go of what followers have taken meanwhile, and of those who are gone, or have
    /// caught up.
    pub(super) fn tick_holds(&mut self) {
        if self.holds.is_empty() {
            return;
        }
        if !self.leads() {
            self.holds.clear();
        }
        let last = self.node.raft.raft_log.last_index();
        let (kept, election) = (self.config.catch_up_entries, self.config.election_ticks);
        let followers = peers::followers(&self.node.raft);
        let mut unclear = Vec::new();
        self.holds.retain(|id, hold| {
            let Some(follower) = followers.iter().find(|one| one.id == *id) else { return false };
            match hold.tick(follower, last, kept, election) {
                Held::Stays => true,
                Held::Goes => false,
                Held::Unclear => {
                    // It may have it: what follows is still needed then.
                    hold.waited = 0;
                    unclear.push(*id);
                    true
                }
            }
        });
        self.keep_what_is_held();
        for id in unclear {
            self.node.report_snapshot(id.0, SnapshotStatus::Finish);
        }
    }

    fn keep_what_is_held(&mut self) {
        let held = self.holds.values().map(|hold| hold.index.0).min();
        self.node.mut_store().hold(held);
    }

    /// A whole snapshot has come, for which this message stands. Returns whether it is wanted: the
    /// next step says how to install it. Not while entries are on their way to the log.
    pub fn restore(&mut self, message: PeerMessage) -> bool {
        let PeerMessage(message) = message;
        if let Err(reason) = check(&message, self) {
            tracing::warn!(from = %MemberId(message.from), reason, "drop a snapshot");
            return false;
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "raft refuses a snapshot");
        }
        self.node.snap().is_some_and(|snapshot| !snapshot.is_empty())
    }

    /// What is to be done with the snapshot of this ready.
    pub(super) fn install(&mut self, ready: &mut raft::Ready) -> Install {
        let metadata = ready.snapshot().metadata.clone().unwrap_or_default();
        self.node.mut_store().restart(&metadata);
        (self.unwritten, self.farewell) = (None, None);
        self.handed_out = metadata.index;
        self.changes.retain(|index| *index > metadata.index);
        let ticket = Ticket(ready.number());
        self.unsynced.push_back((ticket, ready.take_persisted_messages()));
        let (index, term) = (Index(metadata.index), Term(metadata.term));
        let hard_state = hard_state(self.node.raft.hard_state());
        Install { ticket, hard_state, applied: Applied { index, term } }
    }

    /// The snapshot is durable, and applied.
    pub fn installed(&mut self, install: Install) -> Result<(), CoreError> {
        self.persisted(install.ticket)?;
        self.node.advance_apply_to(install.applied.index.0);
        self.duties.applied(install.applied.index.0);
        Ok(())
    }
}

fn check(message: &Message, core: &Core) -> Result<(), &'static str> {
    let metadata = metadata(message).ok_or("it is none")?;
    let conf_state = metadata.conf_state.as_ref().ok_or("it does not say who votes")?;
    if metadata.index == 0 || metadata.term == 0 || metadata.term > message.term {
        return Err("it is of no entry");
    }
    if conf_state.voters.is_empty() || !conf_state.voters_outgoing.is_empty() {
        return Err("its configuration is not known to this build");
    }
    if !core.unsynced.is_empty() {
        return Err("entries are on their way to the log");
    }
    peers::check_sender(message, &core.node.raft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_snapshot_names_the_entry_that_is_sent() {
        let mut message = Message { from: 1, to: 2, term: 3, ..Message::default() };
        let conf_state = ConfState::from((vec![1, 2], vec![]));
        let stored = conf_state.encode_to_vec().into();
        let applied = Applied { index: Index(7), term: Term(3) };
        let none = PeerMessage(message.clone());
        assert!(none.of_snapshot(applied, &stored).is_none() && none.snapshot().is_none());
        message.set_msg_type(MessageType::MsgSnapshot);
        message.snapshot = Some(raft::eraftpb::Snapshot::default());
        let sent = PeerMessage(message).of_snapshot(applied, &stored).unwrap();
        assert_eq!(sent.snapshot(), Some(applied));
        assert_eq!(PeerMessage::from_bytes(&sent.to_bytes()), Some(sent));
    }
}
