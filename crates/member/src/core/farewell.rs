//! A leader that was removed stays until the others know that it was.
//!
//! Raft switches when a change is applied. Of two voters the one that leads and is removed applies
//! first; had it left then, and were its last message lost, the other would ask it for its vote for
//! ever. So raft is told of the removal only once a majority of those who stay has committed it, or
//! somebody who leads, or asks for votes or refuses one, has. Until then the old configuration counts, which is safe: the new one
//! differs by one member, and no further change is proposed.
//!
//! The same goes for one of two whose keyspace says that it was removed when it is opened. It does not
//! vote any more by its own configuration, and never leads; but it grants the other one its vote, or
//! tells it in a refusal how far it has committed.

use raft::eraftpb::{ConfChangeType, Message, MessageType};

use backend::Applied;
use base::Index;

use super::{Core, CoreError};
use crate::applier::Progress;

pub(super) struct Farewell {
    /// The entry that removes this member.
    index: u64,
    /// What raft has not heard of; `None` if raft has known of the removal since it was started.
    kept: Option<Progress>,
}

impl Core {
    /// Keeps back what was applied if it removes this leader, or one of two voters who knows that from
    /// its own disk alone; or comes after that. Returns it otherwise.
    pub(super) fn hold_farewell(&mut self, mut progress: Progress) -> Option<Progress> {
        if let Some(farewell) = &mut self.farewell {
            let Some(kept) = &mut farewell.kept else { return Some(progress) };
            kept.extend(progress);
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
        let kept = Some(Progress { applied: progress.applied, switched: kept });
        self.farewell = Some(Farewell { index, kept });
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

    /// The keyspace said that this member was removed when it was opened, and that so many vote now.
    /// Of several who are left a majority has the entry in its log, and needs nobody. One that is left
    /// alone has it too, and may not know that it is committed: this member stays until it does, or
    /// until it says that this member was removed. A learner beside a single voter stays as well, without
    /// need: its data do not say that it was one.
    pub(crate) fn was_removed(&mut self, voters: usize) {
        if voters == 1 {
            tracing::info!("this member was removed, and goes once the other one knows");
            self.farewell = Some(Farewell { index: self.applied_index(), kept: None });
        } else {
            self.leave();
        }
    }

    /// Lets this member go, if it was removed and the others know that; to be called after any
    /// event, before [`Core::step`].
    pub fn farewell(&mut self) -> Result<(), CoreError> {
        let Some(Farewell { index, .. }) = self.farewell else { return Ok(()) };
        if self.heard_commit < index && !self.is_committed_by_others(index) {
            return Ok(());
        }
        if let Some(kept) = self.farewell.take().and_then(|farewell| farewell.kept) {
            return self.switch(kept);
        }
        self.leave();
        Ok(())
    }

    /// Whether this member was removed, and waits until the others know.
    pub fn says_farewell(&self) -> bool {
        self.farewell.is_some()
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
