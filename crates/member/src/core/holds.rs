//! What a leader keeps for each of its followers: the entries behind what that one has, or will have
//! once it has taken over the snapshot that it is being sent.
//!
//! They are in memory as long as they are for everybody, and then in files. So a stall, a restart or a
//! slow disk costs no snapshot, whatever is written meanwhile, and a follower that has taken one over
//! finds what follows it until it is where the others are.

use std::sync::Arc;

use base::{Index, MemberId};
use raft::{ProgressState, SnapshotStatus, Storage as _};

use super::{Core, Follower};
use crate::spool::Files;

/// Election timeouts after which nothing is kept any more for a follower that does not answer: longer
/// than it takes to start it again.
const AWAY_AFTER: usize = 10;
/// The same of one that has a snapshot: to take over a large keyspace it may be silent for long.
const SILENT_AFTER: usize = 60;
/// Election timeouts after which a follower that has a snapshot, and answers, but has not said that
/// it has taken it over, is asked what it has: the answer was lost, or it was started again meanwhile
/// and needs another one.
const ASKED_AFTER: usize = 3;

/// What a follower needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// All behind this entry.
    index: Index,
    transfer: Transfer,
    /// Ticks in which it has not answered.
    silent: usize,
    is_away: bool,
}

/// Its snapshot.
#[derive(Clone, Copy, Debug)]
enum Transfer {
    /// It is being sent none.
    None,
    Sending,
    /// It has come there whole.
    Sent {
        /// Ticks in which the follower has answered since, and not said that it has taken it over.
        waited: usize,
    },
}

impl Hold {
    fn new(index: Index) -> Self {
        Self { index, transfer: Transfer::None, silent: 0, is_away: false }
    }

    /// One tick. Returns whether it must be found out what the follower has: it may have the
    /// snapshot, or not.
    fn tick(&mut self, follower: &Follower, election: usize) -> bool {
        // At the tick at which raft counts those who have answered, nobody has yet.
        self.silent = if follower.active { 0 } else { self.silent + 1 };
        let patience = match self.transfer {
            // Its end is told.
            Transfer::Sending => usize::MAX,
            Transfer::Sent { .. } => SILENT_AFTER * election,
            Transfer::None => AWAY_AFTER * election,
        };
        self.is_away = self.silent > patience;
        let Transfer::Sent { waited } = &mut self.transfer else { return false };
        if !follower.needs_snapshot {
            self.transfer = Transfer::None;
            return false;
        }
        *waited += usize::from(follower.active);
        let is_unclear = *waited > ASKED_AFTER * election;
        if is_unclear {
            *waited = 0;
        }
        is_unclear
    }
}

impl Core {
    /// At the beginning: what followers lack goes through this into files, and comes back. Whoever
    /// drives the core would wait for the disk otherwise.
    pub fn pass_files_on(&mut self, to: impl FnOnce(Arc<dyn Files>) -> Arc<dyn Files>) {
        self.node.mut_store().pass_files_on(to);
    }

    /// A snapshot is being sent of this entry: what follows it is kept for the follower.
    pub fn hold(&mut self, to: MemberId, index: Index) {
        self.holds.insert(to, Hold { transfer: Transfer::Sending, ..Hold::new(index) });
        self.keep_what_is_needed();
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
        let hold = self.holds.get_mut(&to);
        let Some(hold) = hold.filter(|hold| matches!(hold.transfer, Transfer::Sending)) else {
            return self.node.report_snapshot(to.0, SnapshotStatus::Failure);
        };
        if arrived {
            (hold.transfer, hold.silent) = (Transfer::Sent { waited: 0 }, 0);
        } else {
            hold.transfer = Transfer::None;
            self.node.report_snapshot(to.0, SnapshotStatus::Failure);
        }
    }

    /// One tick. Lets go of what nobody needs who is there.
    pub(super) fn tick_holds(&mut self) {
        self.keep_what_is_needed();
        let mut unclear = Vec::new();
        for follower in self.followers() {
            let hold = self.holds.get_mut(&follower.id);
            if hold.is_some_and(|hold| hold.tick(&follower, self.config.election_ticks)) {
                unclear.push(follower.id);
            }
        }
        for id in unclear {
            self.node.report_snapshot(id.0, SnapshotStatus::Finish);
        }
    }

    /// To be asked before entries leave memory: they go on into a file if a follower needs them.
    pub(super) fn keep_what_is_needed(&mut self) {
        if !self.leads() {
            if !self.holds.is_empty() {
                self.holds.clear();
                self.node.mut_store().hold(None);
            }
            return;
        }
        let (own, tracker) = (self.node.raft.id, self.node.raft.prs());
        self.holds.retain(|id, _| tracker.get(id.0).is_some());
        // Of an entry that is gone the follower must be sent a snapshot.
        let before = self.node.store().first_index().map_or(0, |first| first - 1);
        for (id, progress) in tracker.iter().filter(|(id, _)| **id != own) {
            // What it has is not known in the beginning.
            let hold = self.holds.entry(MemberId(*id)).or_insert_with(|| Hold::new(Index(before)));
            hold.index = hold.index.max(Index(progress.matched));
        }
        let needed = self.holds.values().filter(|hold| !hold.is_away && hold.index.0 >= before);
        let needed = needed.map(|hold| hold.index.0).min();
        self.node.mut_store().hold(needed);
    }
}

#[cfg(test)]
mod tests;
