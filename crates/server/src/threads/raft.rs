//! The raft thread: owns the core, feeds it events and carries out its effects.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, Release},
    },
    thread::JoinHandle,
    time::Duration,
};

use base::UnixNanos;
use member::{Append, Core, Effects, Progress, Ticket};
use wal::Entry;

use super::{
    apply::{self, SharedApplier},
    log::{self, LogQueue},
};
use crate::{Unserved, failure::Failure, inbox::Work, shared::Shared};

/// How long a stopping member waits for what it has accepted.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

pub(crate) struct RaftThread {
    pub(crate) core: Core,
    pub(crate) shared: Arc<Shared>,
    pub(crate) applier: SharedApplier,
    pub(crate) log: Arc<LogQueue>,
    /// The batch that the log writer has not synced yet.
    pub(crate) at_log_writer: Option<Ticket>,
    pub(crate) next_tick: Duration,
    pub(crate) stop_by: Option<Duration>,
}

/// The others, in the order in which they stop.
pub(crate) struct Others {
    pub(crate) log: Option<JoinHandle<()>>,
    pub(crate) apply: Option<JoinHandle<()>>,
    pub(crate) flusher: Option<JoinHandle<()>>,
    /// Held until nothing touches the directory any more.
    pub(crate) lock: Box<dyn Send + Sync>,
}

impl RaftThread {
    /// Runs until the member stops or fails, then stops the other threads.
    pub(crate) fn run(mut self, others: Others) {
        let _stopped = Stopped(Arc::clone(&self.shared));
        if let Err(failure) = self.serve() {
            self.shared.fail(failure);
        }
        self.shared.refuse_all();
        self.stop_others(others);
        // Whoever came meanwhile.
        self.shared.refuse_all();
    }

    fn serve(&mut self) -> Result<(), Failure> {
        loop {
            let now = self.shared.now();
            self.tick(now);
            let expiry = self.core.duties(self.shared.clock.wall(), &self.shared.reader);
            self.carry_out()?;
            let wake_at = self.plan(expiry);
            let patience = wake_at.saturating_sub(self.shared.now());
            let work = self.shared.inbox.take(self.core.can_propose(), patience);
            if self.shared.has_failed() || (work.stopping && self.may_stop(&work)) {
                return Ok(());
            }
            self.take(work)?;
        }
    }

    /// Passes the time on to raft and to those who wait. After a long stop of the whole process
    /// missed ticks are not made up for: raft would believe that everybody had been silent.
    fn tick(&mut self, now: Duration) {
        if now < self.next_tick {
            return;
        }
        self.core.tick();
        let heartbeat = self.shared.config.heartbeat;
        self.next_tick = (self.next_tick + heartbeat).max(now + heartbeat / 2);
        self.shared.refuse_late(now);
    }

    /// Until when there is nothing to do unless something comes in. The others learn what they
    /// must wake this thread for.
    fn plan(&self, expiry: Option<UnixNanos>) -> Duration {
        let standing = &self.shared.standing;
        let awaited = self.core.awaits().map_or(u64::MAX, |index| index.0);
        standing.awaited.store(awaited, Relaxed);
        standing.expiry_planned.store(expiry.map_or(i64::MAX, |expiry| expiry.0), Relaxed);
        match expiry {
            None => self.next_tick,
            Some(expiry) => {
                let left = self.shared.clock.wall().until(expiry);
                self.next_tick.min(self.shared.now() + left)
            }
        }
    }

    fn take(&mut self, work: Work) -> Result<(), Failure> {
        if let Some(ticket) = work.persisted {
            self.persisted(ticket);
        }
        if let Some(progress) = work.progress {
            self.core.applied(progress)?;
        }
        for read in work.reads {
            self.core.read(read);
        }
        self.core.propose(work.proposals);
        Ok(())
    }

    fn persisted(&mut self, ticket: Ticket) {
        if self.at_log_writer.is_some_and(|last| last <= ticket) {
            self.at_log_writer = None;
        }
        self.core.persisted(ticket);
    }

    fn carry_out(&mut self) -> Result<(), Failure> {
        while let Some(effects) = self.core.step() {
            self.carry_out_step(effects)?;
        }
        if self.core.is_settled() {
            self.shared.check_published();
        }
        let at_once = self.core.reads_at_once();
        self.shared.standing.reads_at_once.store(at_once, Release);
        Ok(())
    }

    fn carry_out_step(&mut self, effects: Effects) -> Result<(), Failure> {
        let Effects { send, append, apply, reads, dropped, role } = effects;
        self.shared.standing.committed.store(self.core.committed().0, Release);
        if let Some(role) = role {
            self.shared.set_role(role);
        }
        // A cluster of one has nobody to send to; `start` refuses others so far.
        debug_assert!(send.is_empty());
        let refused = self.shared.waiters.refuse(dropped, Unserved::TooManyRequests);
        self.shared.counters.proposals_failed.fetch_add(refused, Relaxed);
        for (index, reads) in reads {
            self.shared.barriers.known(index, reads);
            self.shared.barriers.applied(self.shared.status().applied);
        }
        if !apply.is_empty() {
            self.apply(apply, append.is_none())?;
        }
        append.map_or(Ok(()), |append| self.append(append))
    }

    /// `quiet`: this thread has no batch to sync.
    fn apply(&mut self, entries: Vec<Entry>, quiet: bool) -> Result<(), Failure> {
        let quiet = quiet && !self.shared.inbox.has_proposals();
        let progress: Option<Progress> =
            apply::hand_over(&self.shared, &self.applier, entries, quiet)?;
        if let Some(progress) = progress {
            // What the apply thread did before may still lie in the inbox.
            self.shared.inbox.progress(progress, true);
        }
        Ok(())
    }

    /// A cluster of one has no network to serve while it syncs: then the hand-over to the log
    /// writer and back would only cost time.
    fn append(&mut self, append: Append) -> Result<(), Failure> {
        let ticket = append.ticket;
        if self.core.is_alone() && self.at_log_writer.is_none() {
            log::write(&self.shared, &mut self.shared.wal.lock(), &[append])?;
            self.core.persisted(ticket);
        } else {
            self.at_log_writer = Some(ticket);
            self.log.push(append);
        }
        Ok(())
    }

    /// Whether a stopping member is done with what it has accepted, or cannot be.
    fn may_stop(&mut self, work: &Work) -> bool {
        let now = self.shared.now();
        let stop_by = *self.stop_by.get_or_insert(now + STOP_PATIENCE);
        if !self.core.can_propose() {
            let waiting = self.shared.inbox.give_up();
            self.shared.waiters.refuse(waiting.iter().map(|one| one.id), Unserved::Stopped);
        }
        now >= stop_by || (work.proposals.is_empty() && self.shared.waiters.waiting() == 0)
    }

    fn stop_others(&self, others: Others) {
        let Others { log, apply, flusher, lock } = others;
        self.log.stop();
        join(log);
        self.shared.apply.stop();
        join(apply);
        self.shared.flush.stop();
        join(flusher);
        drop(lock);
    }
}

/// Tells that the member has stopped, however the raft thread ends.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stopped.send_replace(true);
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    // A panic there has been reported as the member's failure.
    drop(thread.map(JoinHandle::join));
}
