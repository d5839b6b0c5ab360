//! What a member keeps to itself for a while: acknowledgements, while its keyspace does not keep up
//! with its log; and all that it says, while a change of the members is not on its disk.

use std::mem;

use raft::eraftpb::{Message, MessageType};

use super::{Core, PeerMessage};

impl Core {
    /// Whether this member's keyspace has fallen behind its log so far that it should be sent no
    /// more. A follower then does not acknowledge entries until it has caught up; it goes on to vote,
    /// and to answer heartbeats.
    pub fn set_lags(&mut self, lags: bool) {
        self.lags = lags && !self.leads();
        if self.lags {
            return;
        }
        let term = self.node.raft.term;
        let withheld = mem::take(&mut self.withheld).into_values();
        let current = withheld.filter(|message| message.term == term);
        self.effects.send.extend(current.map(PeerMessage));
    }

    /// Takes acknowledgements out, if they must wait. They say how far this member is: the one that
    /// says most will do.
    pub(super) fn withhold(&mut self, send: &mut Vec<PeerMessage>) {
        if !self.lags {
            return;
        }
        let waits = |message: &mut PeerMessage| {
            message.0.msg_type() == MessageType::MsgAppendResponse && !message.0.reject
        };
        for PeerMessage(message) in send.extract_if(.., waits) {
            let rank = |message: &Message| (message.term, message.index);
            let known = self.withheld.get(&message.to);
            if known.is_none_or(|known| rank(known) < rank(&message)) {
                self.withheld.insert(message.to, message);
            }
        }
    }

    /// Keeps all messages back until what they may speak of is on disk.
    pub(super) fn fall_silent(&mut self, send: &mut Vec<PeerMessage>) {
        let waits = self.unsynced.iter_mut().find(|(one, _)| Some(*one) == self.silent_until);
        if let Some((_, waiting)) = waits {
            waiting.extend(send.drain(..).map(|PeerMessage(message)| message));
        }
    }

    /// Whether a change of the members is committed that nobody may hear of until this member has
    /// that on disk.
    ///
    /// Of two voters one may be removed, and leave as soon as it hears that this is committed. If the
    /// other forgot it then, it would ask one who is gone for its vote, for ever. A majority of three
    /// or more is left when one goes.
    pub(super) fn must_not_forget(&self) -> bool {
        let voters = self.node.raft.prs().conf().voters().ids().len();
        let committed = self.node.raft.raft_log.committed;
        voters == 2 && self.changes.first().is_some_and(|first| *first <= committed)
    }
}
