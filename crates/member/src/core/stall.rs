//! What a member does whose log takes no more: a leader gives way, since others could go on.
//!
//! Etcd writes its log in the loop that sends its heartbeats, so a disk that hangs silences its leader.
//! Here the two go side by side, so a leader must notice.

use raft::eraftpb::{Message, MessageType};

use super::{Core, PeerMessage, Ticket};

/// For so many election timeouts a member whose disk hangs answers heartbeats: each answer may bring a
/// message more with entries, which wait in memory.
const ANSWERS_FOR: usize = 10;

/// How long the oldest batch has been on its way to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stall {
    oldest: Option<Ticket>,
    ticks: usize,
    /// For how many ticks a snapshot has been asked for and has not begun to come.
    pub(super) asking: usize,
    /// In which term, and whom.
    pub(super) asked: (u64, u64),
}

impl Core {
    /// A tick has passed. A leader whose log has taken nothing for an election timeout hands over;
    /// after two it leads no more, whether or not another one has come.
    pub(super) fn tick_stall(&mut self) {
        self.tick_request();
        let oldest = self.unsynced.front().map(|(ticket, _)| *ticket);
        if oldest.is_none() || oldest != self.stall.oldest {
            self.stall = Stall { oldest, ticks: 0, ..self.stall };
            return;
        }
        self.stall.ticks += 1;
        let patience = self.config.election_ticks;
        let leads = self.leads() && !self.is_alone();
        if self.stall.ticks == patience {
            if leads {
                tracing::warn!(
                    heartbeats = patience,
                    "the disk of the log takes nothing: this leader hands over to another member"
                );
                self.transfer_leadership(None);
            } else {
                tracing::warn!(
                    heartbeats = patience,
                    "the disk of the log takes nothing: this member acknowledges no write until it \
                     does"
                );
            }
        }
        if leads && self.stall.ticks >= 2 * patience {
            tracing::warn!(
                heartbeats = self.stall.ticks,
                "the disk of the log takes nothing, and nobody has taken over: this leader steps down"
            );
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
    }

    /// Takes out what is to be said to heartbeats, if the disk hangs. That this member hears its leader is no
    /// promise, so it need not wait for a sync: one that needs this member to be a leader, or to answer who
    /// reads, would wait for this disk as well. Only of what is on it the leader is told.
    ///
    /// As long as a sync takes no longer than others, its acknowledgement is to come first: a leader sends
    /// again what a member that answers does not acknowledge.
    pub(super) fn answer_heartbeats(&self, after: &mut Vec<Message>, send: &mut Vec<PeerMessage>) {
        let patience = self.config.election_ticks;
        if !(patience / 2..ANSWERS_FOR * patience).contains(&self.stall.ticks) {
            return;
        }
        let on_disk = self.node.raft.raft_log.persisted;
        let answers = |one: &mut Message| one.msg_type() == MessageType::MsgHeartbeatResponse;
        for mut answer in after.extract_if(.., answers) {
            answer.commit = answer.commit.min(on_disk);
            send.push(PeerMessage(answer));
        }
    }

    /// Whether this member could not win an election, since its own vote would not reach the disk.
    pub(super) fn is_stalled(&self) -> bool {
        self.stall.ticks >= self.config.election_ticks
    }
}
