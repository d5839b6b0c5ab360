//! How the raft thread does each thing that the core wants.

use std::{
    mem,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, Release},
    },
};

use base::{Index, MemberId, Term};
use member::{
    Append, Core, Install, Lost, PeerMessage, Progress, Proposal, Read, Role,
    shell::{self, Shell},
};
use peer::{Covers, Lane, Stay};
use wal::Entry;

use super::Raft;
use crate::{
    Unserved,
    failure::Failure,
    shared::Shared,
    threads::{apply, log},
};

/// For as long as a snapshot takes the place of what is here.
struct Installing<'a>(&'a Shared);

impl<'a> Installing<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.counters.snapshots_installing.fetch_add(1, Relaxed);
        Self(shared)
    }
}

impl Drop for Installing<'_> {
    fn drop(&mut self) {
        self.0.counters.snapshots_installing.fetch_sub(1, Relaxed);
    }
}

impl Raft {
    /// A leader shows to this member that it is there. Says so if that was late.
    fn note_heartbeat(&mut self, to: MemberId) {
        let (shared, now) = (&self.shared, self.shared.now());
        let interval = shared.config.heartbeat;
        let Some(last) = self.heartbeats.insert(to, now) else { return };
        let late = now.saturating_sub(last).saturating_sub(2 * interval);
        if late.is_zero() {
            return;
        }
        shared.counters.heartbeats_late.fetch_add(1, Relaxed);
        if let Some(times) = shared.complain(to, "late heartbeat") {
            tracing::warn!(
                %to,
                "heartbeat-interval" = ?interval,
                "expected-duration" = ?(2 * interval),
                "exceeded-duration" = ?late,
                times,
                "leader failed to send out heartbeat on time; took too long, leader is overloaded \
                 likely from slow disk"
            );
        }
    }

    /// What may be large holds up no heartbeat and no vote.
    fn way(&self, message: &PeerMessage) -> (Lane, Stay) {
        if message.is_proposal() {
            // Then its clients are told that it took too long, and would not have it carried out.
            return (Lane::Append, Stay::AtMost(self.shared.config.request_timeout()));
        }
        if message.is_append() {
            let (Term(term), Index(after), Index(until)) = message.range();
            return (Lane::Append, Stay::Until(Covers { term, after, until }));
        }
        (Lane::Message, Stay::Always)
    }
}

impl Shell for Raft {
    type Error = Failure;

    fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        let shared = Arc::clone(&self.shared);
        let Some(peers) = shared.peers.get().filter(|_| !messages.is_empty()) else { return };
        for message in messages {
            if message.is_heartbeat() {
                self.note_heartbeat(message.to());
            }
            let bytes = message.to_bytes();
            if message.is_append() {
                shared.appends_sent.note(bytes.len(), shared.now());
            }
            let (lane, stay) = self.way(&message);
            peers.send_while(message.to(), lane, bytes.into(), stay);
        }
    }

    fn send_snapshots(&mut self, wanted: Vec<PeerMessage>) {
        self.snapshots.extend(wanted);
    }

    fn install(&mut self, install: &Install) -> Result<bool, Failure> {
        let shared = Arc::clone(&self.shared);
        let _installing = Installing::begin(&shared);
        let mut applier = self.applier.lock();
        let unapplied = shared.apply.clear();
        drop(shared.inbox.take_progress());
        self.has_progress = false;
        shell::install(shared.wal.lock(), &mut applier, &shared.place.path, install)?;
        shared.note_wal_bytes(&shared.wal.lock());
        let index = install.applied.index;
        shared.set_applied(index);
        shared.counters.snapshots_installed.fetch_add(1, Relaxed);
        // They are committed, but what came of them is not known any more.
        self.refuse_for(unapplied, Unserved::TimeoutLeaderFailed);
        shared.look_for_fence();
        shared.barriers.applied(index);
        tracing::info!(index = index.0, "the keyspace is that of the snapshot now");
        Ok(shared.reader.is_removed(shared.identity.member))
    }

    fn stands(&mut self, committed: Index, role: Option<Role>) {
        self.shared.standing.committed.store(committed.0, Release);
        if let Some(role) = role {
            self.heartbeats.clear();
            self.shared.set_role(role);
        }
    }

    fn leave(&mut self, why: &'static str) {
        self.shared.leave(why);
    }

    fn refuse(&mut self, dropped: Vec<(u64, Lost)>) {
        for (id, lost) in dropped {
            let why = match lost {
                Lost::Overload => Unserved::TooManyRequests,
                Lost::WithLeader => Unserved::LeaderChanged,
                Lost::Unknown => Unserved::TimeoutLeaderFailed,
            };
            self.refuse_for([id], why);
        }
    }

    fn again(&mut self, proposals: Vec<Proposal>) {
        if proposals.is_empty() {
            return;
        }
        self.sifts = true;
        let awaited = self.shared.waiters.awaited(proposals);
        tracing::debug!(
            count = awaited.len(),
            "the leader changes: proposals wait for the next one"
        );
        self.shared.inbox.put_back(awaited);
    }

    fn serve_reads(&mut self, index: Index, reads: Vec<Read>) {
        self.shared.barriers.known(index, reads);
        self.shared.barriers.applied(self.shared.status().applied);
    }

    fn apply(&mut self, entries: Vec<Entry>, is_idle: bool) -> Result<(), Failure> {
        let quiet = is_idle && !self.shared.inbox.has_proposals();
        self.has_progress |= apply::hand_over(&self.shared, &self.applier, entries, quiet)?;
        Ok(())
    }

    /// A cluster of one has nobody to hear while it syncs: it does so right here.
    fn appends_beside(&self) -> bool {
        !self.core.is_alone() || self.at_log.is_some()
    }

    fn append(&mut self, append: Append) -> Result<bool, Failure> {
        if self.appends_beside() {
            self.at_log = Some(append.ticket);
            self.log.push(append);
            return Ok(false);
        }
        log::write(&self.shared, &[append])?;
        Ok(true)
    }

    fn progress(&mut self) -> Option<Progress> {
        if mem::take(&mut self.has_progress) { self.shared.inbox.take_progress() } else { None }
    }

    fn members_changed(&mut self) {
        self.shared.set_peers();
    }
}
