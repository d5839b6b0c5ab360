//! A leader that was removed stays until the others know that it was.
//!
//! Raft switches when a change is applied. Of two voters the one that leads and is removed applies
//! first; had it left then, and were its last message lost, the other would ask it for its vote for
//! ever. So raft is told of the removal only once a majority of those who stay has committed it, or
//! somebody who leads, or asks for votes or refuses one, has. Until then the old configuration counts, which is safe: the new one
//! differs by one member, and no further change is proposed.

use raft::eraftpb::{ConfChangeType, Message, MessageType};

use backend::Applied;
use base::Index;

use super::Core;
use crate::applier::Progress;

pub(super) struct Farewell {
    /// The entry that removes this member.
    index: u64,
    /// What raft has not heard of.
    progress: Progress,
}

impl Core {
    /// Keeps back what was applied if it removes this leader, or one of two voters who knows that from
    /// its own disk alone; or comes after that. Returns it otherwise.
    pub(super) fn hold_farewell(&mut self, mut progress: Progress) -> Option<Progress> {
        if let Some(farewell) = &mut self.farewell {
            farewell.progress.extend(progress);
            return None;
        }
        let own = self.node.raft.id;
        let removal = progress.switched.iter().position(|(_, switched)| {
            switched.change.change_type() == ConfChangeType::RemoveNode
                && switched.change.node_id == own
        });
        let Some((at, (index, switched))) =
            removal.and_then(|at| Some((at, progress.switched.get(at)?)))
        else {
            return Some(progress);
        };
        let (index, of_two) = (index.0, switched.state.voters.len() == 1);
        let alone_knows = of_two && self.heard_commit < index;
        if !self.leads() && !alone_knows {
            return Some(progress);
        }
        tracing::info!("this member was removed, and goes once the others know");
        // Raft hears of what came before: it must know who votes meanwhile.
        let kept = progress.switched.split_off(at);
        let applied = Applied { index: Index(index - 1), ..progress.applied };
        let before = Progress { applied, switched: progress.switched };
        let progress = Progress { applied: progress.applied, switched: kept };
        self.farewell = Some(Farewell { index, progress });
        Some(before)
    }

    /// Another who leads, or could, says how far it has committed. Followers are counted apart.
    pub(super) fn hear_farewell(&mut self, message: &Message) {
        let follows = matches!(
            message.msg_type(),
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse
        );
        if !follows {
            self.heard_commit = self.heard_commit.max(message.commit);
        }
    }

    /// What was kept back, once it can be told.
    pub(super) fn end_farewell(&mut self) -> Option<Progress> {
        let farewell = self.farewell.as_ref()?;
        if self.heard_commit < farewell.index && !self.is_committed_by_others(farewell.index) {
            return None;
        }
        self.farewell.take().map(|farewell| farewell.progress)
    }

    /// Whether this member leads, and a majority of the other voters has committed this entry.
    fn is_committed_by_others(&self, index: u64) -> bool {
        let tracker = self.node.raft.prs();
        let voters = tracker.conf().voters();
        let others = || {
            let voters = tracker.iter().filter(|(id, _)| voters.contains(**id));
            voters.filter(|(id, _)| **id != self.node.raft.id)
        };
        let know = others().filter(|(_, progress)| progress.committed_index >= index).count();
        self.leads() && know > others().count() / 2
    }
}
