//! Snapshots as raft knows them, and what happens when one has come.
//!
//! Raft knows only of what entry a snapshot is. The keyspace itself goes beside it, as a stream that
//! the shell carries; raft hears of it when it is whole.

use backend::Applied;
use base::{Index, MemberId, Term};
use bytes::Bytes;
use proto::Message as _;
use raft::eraftpb::{ConfState, Message, MessageType, SnapshotMetadata};

use super::{Core, CoreError, Effects, Install, PeerMessage, Ticket, hard_state, peers};

/// Takes the messages out that stand for a snapshot.
pub(super) fn take_out(effects: &mut Effects) {
    let is_snapshot = |message: &PeerMessage| message.0.msg_type() == MessageType::MsgSnapshot;
    effects.snapshots.extend(effects.send.extract_if(.., |message| is_snapshot(message)));
}

impl PeerMessage {
    /// For a message that stands for a snapshot: the same, of this entry. `None` if it is none, or
    /// `conf_state` is not what the keyspace stores.
    #[must_use]
    pub fn of_snapshot(
        &self,
        applied: Applied,
        conf_state: &Bytes,
        row_bytes: u64,
    ) -> Option<Self> {
        let conf_state = ConfState::decode(&**conf_state).ok()?;
        let mut message = self.0.clone();
        let snapshot = message.snapshot.as_mut()?;
        let (index, term) = (applied.index.0, applied.term.0);
        snapshot.metadata = Some(SnapshotMetadata { conf_state: Some(conf_state), index, term });
        snapshot.data = row_bytes.to_be_bytes().to_vec().into();
        Some(Self(message))
    }

    /// The bytes of all rows of a snapshot, if the message stands for one and says so.
    pub fn row_bytes(&self) -> Option<u64> {
        metadata(&self.0)?;
        let bytes = <[u8; 8]>::try_from(&*self.0.snapshot.as_ref()?.data).ok()?;
        Some(u64::from_be_bytes(bytes))
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
    /// Asks the leader for a snapshot in place of what is here, though nothing of the log is missing:
    /// the keyspace is not what the log says. False if there is nobody to ask now, or it has been
    /// asked, in this term. Until it comes, nothing is taken from the leader.
    pub fn request_snapshot(&mut self) -> bool {
        self.stall.asked = (self.node.raft.term, self.node.raft.leader_id);
        self.node.request_snapshot().is_ok()
    }

    /// Who asks for a snapshot acknowledges nothing until it has come, and a leader may need that: where
    /// none begins to come, or another leads than was asked, the request is taken back.
    pub(super) fn tick_request(&mut self) {
        let raft = &mut self.node.raft;
        let asked = (raft.term, raft.leader_id);
        if raft.pending_request_snapshot == raft::INVALID_INDEX {
            (self.stall.asking, self.stall.asked) = (0, asked);
            return;
        }
        self.stall.asking += 1;
        if self.stall.asked != asked || self.stall.asking >= 2 * self.config.election_ticks {
            raft.pending_request_snapshot = raft::INVALID_INDEX;
        }
    }

    /// A snapshot is coming. Told with each tick.
    pub fn receives_snapshot(&mut self) {
        self.stall.asking = 0;
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
        self.skip_to_snapshot(metadata.term);
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
    let asked = core.node.raft.pending_request_snapshot;
    if asked != raft::INVALID_INDEX && metadata.index < core.node.raft.raft_log.last_index() {
        return Err("it is of before the last entry that is here on disk");
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
        assert!(none.of_snapshot(applied, &stored, 9).is_none() && none.snapshot().is_none());
        assert_eq!(none.row_bytes(), None);
        message.set_msg_type(MessageType::MsgSnapshot);
        message.snapshot = Some(raft::eraftpb::Snapshot::default());
        let unsaid = PeerMessage(message);
        assert_eq!(unsaid.row_bytes(), None, "of a build that does not say");
        let sent = unsaid.of_snapshot(applied, &stored, 1 << 40).unwrap();
        assert_eq!((sent.snapshot(), sent.row_bytes()), (Some(applied), Some(1 << 40)));
        assert_eq!(PeerMessage::from_bytes(&sent.to_bytes()), Some(sent));
    }
}
