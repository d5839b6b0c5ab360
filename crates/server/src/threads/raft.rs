//! The raft threads: they feed the core events and carry out its effects.
//!
//! There are two, which do the same. Whoever has a batch for the log writes it right away, without the lock, and
//! then goes on with what has come meanwhile; if that cannot wait, the other one has taken it. So a batch
//! costs no hand-over to a log writer and back, and a disk that hangs keeps nothing else waiting.
//!
//! A write that comes when nothing else is under way is carried out by its own thread instead, and
//! so waits for the disk alone: two hand-overs would cost it as much again.

mod effects;
mod ending;

use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed, Release},
    },
    thread::JoinHandle,
    time::Duration,
};

use base::{MemberId, UnixNanos, limits};
use member::{Core, Due, PeerMessage, Proposal, Refusal, Ticket, Unproposed, shell};
use parking_lot::{Mutex, MutexGuard};
use state::apply::membership_change::Change;

use self::ending::Ending;
use super::{
    Guard,
    apply::SharedApplier,
    catch_up::CatchUp,
    log::{self, LogQueue},
    snapshots,
};
use crate::{
    Unserved,
    failure::Failure,
    inbox::{BATCH_BYTES_MAX, FORWARDED_BYTES_MAX, Urgency, Work},
    leaderless::Leaderless,
    lost,
    shared::Shared,
};

/// How often a follower whose keyspace does not keep up with its log looks whether it has.
const BACKLOG_LOOK: Duration = Duration::from_millis(2);

/// For so long after a batch of several, the first write of the next one does not go ahead alone: it
/// would keep the others from the disk.
const CROWD: Duration = Duration::from_millis(10);

/// With so many writes under way, a leader of several lets further ones gather until those before
/// are committed, but no longer than this: each batch costs every member a message, a sync, and the
/// wake-ups of its threads. Nobody notices, since the writes before take longer.
///
/// While the log is written, appends at a follower gather too, and their answers at such a leader: what has come
/// by then is written, or counted, at once, and wakes nobody before.
const GATHER_FROM: usize = 16;
const GATHER: Duration = Duration::from_millis(1);

/// How long a lone write may keep a thread of the network from the others, past the next tick.
const LONE_WRITE_PATIENCE: Duration = Duration::from_millis(5);

/// How often a thread that waits for a disk that hangs looks for requests whose time is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The core and what goes with it: whoever holds the lock is the one that drives it.
pub(crate) type SharedRaft = Arc<Mutex<Raft>>;

pub(crate) struct Raft {
    pub(crate) core: Core,
    shared: Arc<Shared>,
    applier: SharedApplier,
    log: Arc<LogQueue>,
    /// The last batch that is on its way to the log.
    at_log: Option<Ticket>,
    /// This follower acknowledges nothing until its keyspace has come after its log.
    lags: bool,
    /// What was applied right here, and the core has not heard of.
    has_progress: bool,
    /// Until then writes are expected to come in crowds, which share a sync.
    crowded_until: Duration,
    /// Since when writes gather behind those that are not committed yet.
    gathers_since: Option<Duration>,
    next_tick: Duration,
    ending: Ending,
    /// Snapshots that are to be sent.
    snapshots: Vec<PeerMessage>,
    leaderless: Leaderless,
    /// A whole snapshot that has come, and waits until the log is idle.
    arrived: Option<PeerMessage>,
    /// When this leader last showed itself to each of the others.
    heartbeats: BTreeMap<MemberId, Duration>,
    /// Some of what waits has done so for a leader, and its clients may have gone.
    sifts: bool,
}

/// The others, in the order in which they stop.
pub(crate) struct Others {
    /// See [`drive`].
    pub(crate) second: Option<JoinHandle<()>>,
    pub(crate) apply: Option<JoinHandle<()>>,
    pub(crate) flusher: Option<JoinHandle<()>>,
    pub(crate) catch_up: Option<(Arc<CatchUp>, JoinHandle<()>)>,
    /// Held until nothing touches the directory any more.
    pub(crate) locks: Vec<Box<dyn Send + Sync>>,
}

impl fmt::Debug for Raft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft").field("at_log", &self.at_log).finish_non_exhaustive()
    }
}

/// Runs until the member stops or fails, then stops the other threads.
pub(crate) fn run(shared: &Arc<Shared>, raft: &SharedRaft, mut others: Others) {
    let _stopped = Stopped(Arc::clone(shared));
    if let Err(failure) = drive(shared, raft) {
        shared.fail(failure);
    }
    if let Some(peers) = shared.peers.get() {
        peers.stop();
    }
    // It needs the lock to end.
    join(others.second.take());
    raft.lock().stop_others(others);
    // Whoever came meanwhile.
    shared.refuse_all();
}

/// What both threads do, until the member stops or fails.
pub(crate) fn drive(shared: &Arc<Shared>, raft: &SharedRaft) -> Result<(), Failure> {
    let log = Arc::clone(&lock(shared, raft).log);
    let mut written = None;
    while hold(shared, raft, |raft| raft.take_in(written))? {
        let (patience, snapshots) =
            hold(shared, raft, |raft| Ok((raft.turn()?, mem::take(&mut raft.snapshots))))?;
        for message in snapshots {
            snapshots::send(shared, raft, message);
        }
        written = None;
        if let Some(batches) = log.begin() {
            shared.inbox.pass_on();
            log::write(shared, &batches)?;
            written = batches.last().map(|last| last.ticket);
        } else {
            shared.inbox.wait(patience);
        }
    }
    // If the other thread is at a disk that hangs, nobody waits for that.
    shared.refuse_all();
    shared.inbox.wake_all();
    Ok(())
}

/// Takes a step under the lock. If it fails, the member has failed before anybody else gets the lock, who
/// would go on where this one left off: a batch that was not written must not be followed by another.
fn hold<T>(
    shared: &Shared,
    raft: &SharedRaft,
    step: impl FnOnce(&mut Raft) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut raft = lock(shared, raft);
    step(&mut raft).inspect_err(|failure| shared.fail(failure.clone()))
}

/// A lone write that holds the lock waits for the disk on a thread of the network, perhaps the one
/// that would notice a new connection. If it takes long, another one is woken to do that; and requests
/// whose time is over are told so.
fn lock<'a>(shared: &Shared, raft: &'a SharedRaft) -> MutexGuard<'a, Raft> {
    if let Some(raft) = raft.try_lock_for(LONE_WRITE_PATIENCE) {
        return raft;
    }
    if let Some(network) = shared.network.get() {
        drop(network.spawn(async {}));
    }
    loop {
        if let Some(raft) = raft.try_lock_for(LOOK_EVERY) {
            return raft;
        }
        shared.refuse_late(shared.now());
    }
}

impl Raft {
    pub(crate) fn new(
        core: Core,
        shared: &Arc<Shared>,
        applier: &SharedApplier,
        log: &Arc<LogQueue>,
    ) -> Self {
        Self {
            core,
            shared: Arc::clone(shared),
            applier: Arc::clone(applier),
            log: Arc::clone(log),
            at_log: None,
            lags: false,
            has_progress: false,
            crowded_until: Duration::ZERO,
            gathers_since: None,
            next_tick: shared.now() + shared.config.heartbeat,
            ending: Ending::default(),
            snapshots: Vec::new(),
            leaderless: Leaderless::default(),
            arrived: None,
            heartbeats: BTreeMap::new(),
            sifts: false,
        }
    }

    /// What was written, and what has come. Returns whether the thread goes on.
    fn take_in(&mut self, written: Option<Ticket>) -> Result<bool, Failure> {
        if let Some(ticket) = written {
            // Not before: the next batch must not be reported before this one.
            self.log.end();
            self.persisted(ticket)?;
        }
        let work = self.take_work();
        if work.closing {
            self.close();
        }
        let is_over = self.ending.is_done || self.shared.has_failed();
        if is_over || (work.stopping && self.may_stop(&work)) {
            self.ending.is_done = true;
            return Ok(false);
        }
        self.take(work)?;
        Ok(true)
    }

    /// Does all that there is to do, and says in the inbox what is to wake a thread from now on. Returns how
    /// long there is nothing to do unless something comes in.
    fn turn(&mut self) -> Result<Duration, Failure> {
        self.tick(self.shared.now());
        if self.lags {
            self.look_at_backlog();
        }
        let due = self.core.duties(self.shared.clock.now(), &self.shared.reader);
        let mut has_applied = self.carry_out()?;
        if self.arrived.is_some() && self.at_log.is_none() {
            self.restore()?;
            has_applied |= self.carry_out()?;
        }
        let gathers_until = self.gathers_until();
        let is_crowded = self.is_crowded();
        let gathers_messages = self.at_log.is_some() && (is_crowded || !self.core.leads());
        let wake_at = self.plan(due).min(gathers_until.unwrap_or(Duration::MAX));
        self.sifts |= self.core.changes_leader();
        let can_propose = self.core.takes_proposals() && gathers_until.is_none();
        self.shared.inbox.expect(can_propose, gathers_messages);
        // What was applied may bring new duties.
        if has_applied {
            return Ok(Duration::ZERO);
        }
        let patience = wake_at.saturating_sub(self.shared.now());
        // The other thread may go to the disk next, and let answers gather; if that takes long, this
        // one looks after them. At a follower nobody waits for what gathers.
        Ok(if is_crowded { patience.min(GATHER) } else { patience })
    }

    /// Whether this leader of several has so many writes under way that no answer of a follower is all that
    /// one of them waits for.
    fn is_crowded(&self) -> bool {
        self.core.leads() && !self.core.is_alone() && self.shared.waiters.waiting() >= GATHER_FROM
    }

    /// Until when writes that come now wait for those before, if they do.
    fn gathers_until(&mut self) -> Option<Duration> {
        if !self.is_crowded() || self.core.committed() == self.core.last_index() {
            return None;
        }
        let now = self.shared.now();
        let until = *self.gathers_since.get_or_insert(now) + GATHER;
        (now < until).then_some(until)
    }

    /// What has come; writes only if they need not wait.
    fn take_work(&mut self) -> Work {
        let can_propose = self.core.takes_proposals() && self.gathers_until().is_none();
        let batch = if self.core.leads() { BATCH_BYTES_MAX } else { FORWARDED_BYTES_MAX };
        let mut work = self.shared.inbox.take(can_propose.then_some(batch), self.shared.now());
        if self.sifts && can_propose {
            self.shared.waiters.keep_awaited(&mut work.proposals);
            self.sifts = self.shared.inbox.has_proposals();
        }
        // Only then: without a quorum this thread would wake for each gathering of nothing.
        if !work.proposals.is_empty() {
            self.gathers_since = None;
        }
        work
    }

    /// Whether nothing is under way, in a member that is alone and leads.
    pub(crate) fn is_quiet(&self) -> bool {
        self.shared.standing.reads_at_once.load(Acquire)
            && self.at_log.is_none()
            && self.shared.inbox.is_quiet()
            && self.crowded_until <= self.shared.now()
    }

    /// Carries out one write to the end, its answer included, when all [is quiet](Self::is_quiet).
    /// Waits for the disk.
    pub(crate) fn write_at_once(&mut self, proposal: Proposal) {
        let shared = Arc::clone(&self.shared);
        let _guard = Guard::new("of a write", &shared);
        self.core.propose(vec![proposal]);
        if let Err(failure) = self.carry_out() {
            shared.fail(failure);
        }
        // The raft thread sleeps until the expiry that it knew of.
        let planned = shared.standing.expiry_planned.load(Relaxed);
        if shared.reader.next_expiry().is_some_and(|expiry| expiry.0 < planned) {
            shared.inbox.wake();
        }
    }

    /// Passes the time on to raft and to those who wait. After a long stop of the whole process
    /// missed ticks are not made up for: raft would believe that everybody had been silent.
    fn tick(&mut self, now: Duration) {
        if now < self.next_tick {
            return;
        }
        if self.shared.receiving.load(Acquire) {
            self.core.receives_snapshot();
        }
        self.core.tick();
        let heartbeat = self.shared.config.heartbeat;
        self.next_tick = (self.next_tick + heartbeat).max(now + heartbeat / 2);
        self.shared.refuse_late(now);
        self.leaderless.tick(&self.shared, now);
    }

    /// Until when there is nothing to do unless something comes in. The others learn what they
    /// must wake this thread for.
    fn plan(&self, due: Due) -> Duration {
        let Due { expiry, lease } = due;
        let standing = &self.shared.standing;
        let awaited = self.core.awaits().map_or(u64::MAX, |index| index.0);
        standing.awaited.store(awaited, Relaxed);
        standing.expiry_planned.store(expiry.map_or(i64::MAX, |expiry| expiry.0), Relaxed);
        let now = self.shared.now();
        if self.is_late(expiry) {
            return now;
        }
        let expires = expiry.map(|expiry| now + self.shared.clock.wall().until(expiry));
        let looks = self.ending.looks_at(now);
        let acknowledges = self.lags.then_some(now + BACKLOG_LOOK);
        [expires, lease, looks, acknowledges]
            .into_iter()
            .flatten()
            .fold(self.next_tick, Duration::min)
    }

    /// Whether the apply thread has done meanwhile what this one waits for, when it could not know
    /// yet that it should say so.
    fn is_late(&self, expiry: Option<UnixNanos>) -> bool {
        let standing = &self.shared.standing;
        let awaited = self.core.awaits().map_or(u64::MAX, |index| index.0);
        if standing.applied.load(Acquire) >= awaited {
            return true;
        }
        let Some(next) = self.shared.reader.next_expiry() else { return false };
        if let Some(planned) = expiry {
            return next < planned;
        }
        // Nothing is planned while an expiry is under way, which is awaited; and of one that is
        // overdue the core knew.
        let leads = self.shared.status().is_leader && self.core.is_settled();
        leads && awaited == u64::MAX && self.shared.clock.wall() < next
    }

    fn take(&mut self, work: Work) -> Result<(), Failure> {
        for message in work.messages {
            self.receive(message)?;
        }
        for member in work.unreachable {
            self.core.unreachable(member);
        }
        if let Some(progress) = work.progress {
            shell::applied(self, progress)?;
        }
        for read in work.reads {
            self.core.read(read);
        }
        if work.proposals.len() > 1 {
            self.crowded_until = self.shared.now() + CROWD;
        }
        for (to, arrived) in work.snapshots_sent {
            self.core.snapshot_sent(to, arrived);
        }
        self.arrived = work.arrived.or(self.arrived.take());
        for (id, change) in work.changes {
            self.propose_change(id, change);
        }
        if let Some(heir) = work.heir {
            self.core.transfer_leadership(Some(heir));
        }
        if work.request_snapshot && !self.core.request_snapshot() {
            tracing::info!("there is nobody to ask for a snapshot now, or it has been asked");
        }
        self.core.propose(work.proposals);
        Ok(())
    }

    fn propose_change(&mut self, id: u64, change: Change) {
        // It may have waited for a leader.
        if !self.shared.waiters.is_awaited(id) {
            return;
        }
        match self.core.propose_change(id, &change) {
            Ok(()) => {}
            Err(Unproposed::NoLeader) => self.shared.inbox.put_change_back(id, change),
            Err(Unproposed::NotNow) => self.refuse_for([id], Unserved::TooManyRequests),
            Err(Unproposed::NotLeader) => self.refuse_for([id], Unserved::NotLeader),
            Err(Unproposed::NotInSync) => self.refuse_for([id], Unserved::LearnerNotReady),
        }
    }

    /// Takes over a snapshot that has come, if raft wants it.
    fn restore(&mut self) -> Result<(), Failure> {
        let Some(message) = self.arrived.take() else { return Ok(()) };
        if !shell::restore(self, message)? {
            tracing::info!("the snapshot that has come is not wanted any more");
            self.shared.place.discard();
        }
        self.shared.receiving.store(false, Release);
        Ok(())
    }

    fn receive(&mut self, message: PeerMessage) -> Result<(), Failure> {
        // Their clients have bounds at the members where they are; this keyspace may be the slower one. What
        // is urgent may be among them.
        let is_overloaded = || self.shared.is_overloaded(Urgency::Urgent);
        if message.is_proposal() && self.core.leads() && is_overloaded() {
            let from = message.from();
            if let Some(times) = self.shared.complain(from, "overload") {
                tracing::warn!(
                    %from,
                    times,
                    unapplied = self.shared.unapplied(),
                    "drop writes that a member passes on: too much is committed and not applied here"
                );
            }
            return Ok(());
        }
        let Err(Refusal { from, kind, reason, lost_log }) = self.core.receive(message) else {
            return Ok(());
        };
        if lost_log {
            return Err(lost::note(&self.shared, &format!("{kind} from {from}: {reason}")));
        }
        if let Some(times) = self.shared.complain(from, reason) {
            tracing::warn!(kind, %from, reason, times, "drop a peer's message");
        }
        Ok(())
    }

    fn refuse_for(&self, ids: impl IntoIterator<Item = u64>, why: Unserved) {
        let refused = self.shared.waiters.refuse(ids, why);
        self.shared.counters.proposals_failed.fetch_add(refused, Relaxed);
    }

    fn persisted(&mut self, ticket: Ticket) -> Result<(), Failure> {
        if self.at_log.is_some_and(|last| last <= ticket) {
            self.at_log = None;
        }
        self.look_at_backlog();
        Ok(self.core.persisted(ticket)?)
    }

    /// Whether this follower has fallen so far behind its own log that it should be sent no more. It
    /// waits for nobody but its own disk, so it comes out of that by itself.
    fn look_at_backlog(&mut self) {
        let bytes = self.shared.apply.bytes() + self.shared.backend.tail_bytes();
        let lags = bytes > limits::FOLLOWER_BACKLOG_BYTES_MAX && !self.core.role().leads;
        if lags || self.lags {
            self.core.set_lags(lags);
        }
        if lags
            && !self.lags
            && let Some(times) = self.shared.complain(self.shared.identity.member, "lags")
        {
            tracing::warn!(
                bytes,
                times,
                "this keyspace does not keep up with its log (a slow disk?): the leader is told of no \
                 more entries until it does"
            );
        }
        self.lags = lags;
    }

    /// Returns whether something was applied, right here.
    fn carry_out(&mut self) -> Result<bool, Failure> {
        let has_applied = shell::carry_out(self)?;
        if self.core.is_settled() {
            self.shared.check_published();
        }
        self.shared.standing.says_farewell.store(self.core.says_farewell(), Relaxed);
        let at_once = self.core.reads_at_once() && !self.shared.has_failed();
        self.shared.standing.reads_at_once.store(at_once, Release);
        Ok(has_applied)
    }

    fn stop_others(&self, others: Others) {
        let Others { second: _, apply, flusher, catch_up, locks } = others;
        self.shared.apply.stop();
        join(apply);
        self.shared.flush.stop();
        join(flusher);
        join(catch_up.map(|(files, thread)| {
            files.stop();
            thread
        }));
        // Before the locks: the engine writes once more while it closes.
        if let Err(error) = self.shared.backend.close() {
            tracing::warn!(%error, "the keyspace was not closed in order: the next start mends it");
        }
        drop(locks);
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
