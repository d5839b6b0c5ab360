//! The member, its disk, its clients and the clock; and what may happen next.

use std::{path::Path, sync::Arc, time::Duration};

use base::{Disk, disk::MemDisk};
use member::{Proposal, Read};
use proto::{
    Message as _,
    command::{Command, Compact, FORMAT, Op},
};

use crate::{
    Options, Report, Violation, clients,
    history::History,
    invariants,
    mirror::Mirror,
    running::{self, Failed, Running},
    trace::Trace,
    watcher::Watcher,
};

/// A whole simulated world.
pub(crate) struct World {
    rng: fastrand::Rng,
    options: Options,
    trace: Trace,
    disk: MemDisk,
    member: Running,
    pub(crate) history: History,
    mirror: Mirror,
    watchers: Vec<Watcher>,
    /// A sync has been made to fail since the member was opened.
    sync_fails: bool,
    /// Reads under way, with the least index that will do.
    reads: Vec<(Read, base::Index)>,
    report: Report,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Action {
    Propose,
    Read,
    Log,
    TellPersisted,
    Apply,
    TellApplied,
    Flush,
    Compact,
    CompactStep,
    Watch,
    Pass,
    PlanFailure,
    FailSync,
    Crash,
    Restart,
}

/// With their weights.
const ACTIONS: [(Action, u32); 15] = [
    (Action::Propose, 30),
    (Action::Read, 4),
    (Action::Log, 30),
    (Action::TellPersisted, 25),
    (Action::Apply, 30),
    (Action::TellApplied, 20),
    (Action::Flush, 8),
    (Action::Compact, 2),
    (Action::CompactStep, 4),
    (Action::Watch, 10),
    (Action::Pass, 15),
    (Action::PlanFailure, 3),
    (Action::FailSync, 1),
    (Action::Crash, 2),
    (Action::Restart, 1),
];

impl World {
    /// A world on this disk, in which all of `history` has happened.
    pub(crate) fn new(
        rng: fastrand::Rng,
        disk: MemDisk,
        history: History,
        options: Options,
        trace: Trace,
    ) -> Result<Self, Violation> {
        let mirror = Mirror::new(&history)?;
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let home = Path::new(running::HOME);
        shared.create_dir_all(home).map_err(|error| Violation::new("opening", error))?;
        let member = Running::open(&shared).map_err(|error| Violation::new("opening", error))?;
        let mut world = Self {
            rng,
            options,
            trace,
            disk,
            member,
            history,
            mirror,
            watchers: (0..3).map(|_| Watcher::new(2)).collect(),
            sync_fails: false,
            reads: Vec::new(),
            report: Report::default(),
        };
        world.duties();
        Ok(world)
    }

    pub(crate) fn rng(&mut self) -> &mut fastrand::Rng {
        &mut self.rng
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            sent: self.history.sent.len() as u64,
            acknowledged: self.history.acknowledged.len() as u64,
            ..self.report
        }
    }

    /// Another world that goes its own way from here: with this one's disk, as a crash at this
    /// moment would leave it, and its history.
    pub(crate) fn branch(&mut self) -> (MemDisk, History) {
        (self.disk.fork(self.rng.u64(..)), self.history.clone())
    }

    pub(crate) fn options(&self) -> (Options, Trace) {
        (self.options, self.trace)
    }

    /// Lets something happen.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        self.report.steps += 1;
        let action = self.pick();
        self.act(action)
    }

    /// No more faults: everything must come to an end, and be as it should.
    pub(crate) fn heal(&mut self) -> Result<(), Violation> {
        self.trace.step("heal", "");
        self.disk.fail_after(u64::MAX);
        self.settle()?;
        let id = self.propose(1).into_iter().next();
        self.pass(Duration::from_secs(10));
        self.settle()?;
        if id.is_some_and(|id| !self.history.acknowledged.contains_key(&id)) {
            return Err(Violation::new("healing", "a write is not acknowledged"));
        }
        invariants::expiry::nothing_is_left(&self.member.applier, self.history.now)?;
        self.check_all()?;
        self.restart()?;
        self.settle()?;
        self.check_all()
    }

    /// Carries out all that waits, without a fault.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..1_000 {
            for action in [
                Action::Log,
                Action::TellPersisted,
                Action::Apply,
                Action::TellApplied,
                Action::CompactStep,
                Action::Flush,
            ] {
                self.act(action)?;
            }
            self.duties();
            let flushed = self.member.backend.durable() == self.member.backend.applied();
            if self.member.is_quiet() && flushed {
                for at in 0..self.watchers.len() {
                    while self.watch(at)? {}
                }
                return Ok(());
            }
        }
        Err(Violation::new("healing", "it never comes to rest"))
    }

    /// Holds all that was ever seen against what is there now.
    pub(crate) fn check_all(&self) -> Result<(), Violation> {
        let applier = &self.member.applier;
        invariants::acknowledged::all_are_there(&self.history, applier)?;
        invariants::replay::equals(applier, &self.mirror.applier)?;
        invariants::watchers::saw_everything(&self.history, &self.watchers, applier)
    }

    fn pick(&mut self) -> Action {
        let total: u32 = ACTIONS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.rng.u32(..total);
        for (action, weight) in ACTIONS {
            if at < weight {
                return action;
            }
            at -= weight;
        }
        Action::Pass
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        let done = match action {
            Action::Propose => {
                let count = self.rng.usize(1..6);
                self.propose(count);
                Ok(())
            }
            Action::Read => {
                self.read()?;
                Ok(())
            }
            Action::Log => self.log(),
            Action::TellPersisted => self.member.tell_persisted(),
            Action::Apply => return self.apply(),
            Action::TellApplied => self.member.tell_applied(),
            Action::Flush => self.flush(),
            Action::Compact => {
                self.compact();
                Ok(())
            }
            Action::CompactStep => self.compact_step(),
            Action::Watch => {
                let at = self.rng.usize(..self.watchers.len());
                self.watch(at)?;
                Ok(())
            }
            Action::Pass => {
                let millis = self.rng.u64(1..200);
                self.pass(Duration::from_millis(millis));
                Ok(())
            }
            Action::PlanFailure => {
                let operations = self.rng.u64(..12);
                self.trace.step("plan", format!("power fails in {operations} operations"));
                self.disk.fail_after(operations);
                Ok(())
            }
            Action::FailSync => {
                self.trace.step("plan", "the next sync fails");
                self.disk.fail_next_sync();
                self.sync_fails = true;
                Ok(())
            }
            Action::Crash => return self.crash(),
            Action::Restart => return self.restart(),
        };
        self.check_reads()?;
        self.check_terms()?;
        self.unless_power_failed(done)
    }

    /// A step may fail because the power did, or a sync: then the member stops, and is started
    /// again. For no other reason.
    fn unless_power_failed(&mut self, done: Result<(), Failed>) -> Result<(), Violation> {
        match done {
            Ok(()) => Ok(()),
            Err(_) if self.disk.failed() => self.crash(),
            Err(_) if self.sync_fails => self.restart(),
            Err(error) => Err(Violation::new("faultless", error)),
        }
    }

    pub(crate) fn propose(&mut self, count: usize) -> Vec<u64> {
        if !self.member.core.can_propose() {
            return Vec::new();
        }
        let mut proposals = Vec::new();
        for _ in 0..count {
            let write = clients::request(&mut self.rng, &self.history);
            let (id, op) = self.history.send(write);
            self.trace.step("propose", format!("{id}: {op:?}"));
            let command = Command { format: FORMAT, id, op: Some(op) };
            proposals.push(Proposal { id, data: command.encode_to_vec().into() });
        }
        let ids = proposals.iter().map(|proposal| proposal.id).collect();
        self.member.propose(proposals);
        ids
    }

    fn read(&mut self) -> Result<(), Violation> {
        if self.member.core.reads_at_once() {
            invariants::reads::may_be_at_once(&self.history, &self.member.applier)?;
        }
        let read = Read(self.report.steps);
        self.reads.push((read, self.history.last_acknowledged()));
        self.member.core.read(read);
        self.member.step();
        Ok(())
    }

    fn check_reads(&mut self) -> Result<(), Violation> {
        for (index, answered) in std::mem::take(&mut self.member.reads) {
            for read in answered {
                invariants::reads::is_current(&mut self.reads, read, index)?;
            }
        }
        Ok(())
    }

    fn check_terms(&mut self) -> Result<(), Violation> {
        for term in std::mem::take(&mut self.member.led) {
            invariants::terms::is_new(&self.history, term)?;
        }
        Ok(())
    }

    fn log(&mut self) -> Result<(), Failed> {
        let count = self.rng.usize(1..4);
        self.member.log(count, self.options.sabotage)?;
        self.trace.step("log", format!("persisted {:?}", self.member.persisted));
        Ok(())
    }

    fn apply(&mut self) -> Result<(), Violation> {
        let count = self.rng.usize(1..8);
        let (entries, batch) = match self.member.apply(count) {
            Ok(done) => done,
            Err(error) => return self.unless_power_failed(Err(error)),
        };
        let Some(last) = entries.last() else { return Ok(()) };
        self.trace.step("apply", format!("up to {} of term {}", last.index, last.term));
        for entry in &entries {
            invariants::log::is_as_before(&mut self.history, entry)?;
            if !self.history.outcomes.contains_key(&entry.index.0) {
                let commits = self.mirror.apply(entry)?;
                invariants::only_sent::were_asked_for(&self.history, &commits)?;
                invariants::expiry::are_due(&self.history, &commits)?;
                let by_revision = commits.iter().map(|commit| (commit.main, Arc::clone(commit)));
                self.history.commits.extend(by_revision);
                self.history.outcomes.insert(entry.index.0, commits);
            }
        }
        invariants::indexes::go_on(&self.history, &entries, &batch.commits)?;
        for answer in &batch.answers {
            self.trace.step("answer", format!("{} at entry {}", answer.id, answer.index));
            self.history.acknowledge(answer);
        }
        self.member.applier.state().reader().store().publish(&batch.commits);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        let cut = self.member.flush(self.options.sabotage)?;
        self.report.cuts += u64::from(cut);
        let durable = self.member.backend.durable().index;
        self.trace.step("flush", format!("durable {durable}, cut: {cut}"));
        self.history.durable = self.history.durable.max(durable);
        Ok(())
    }

    /// A client compacts history.
    fn compact(&mut self) {
        let reader = self.member.applier.state().reader();
        let (from, to) = (reader.store().compacted(), reader.store().revision());
        if !self.member.core.can_propose() || from >= to {
            return;
        }
        let revision = self.rng.i64(from..=to);
        self.trace.step("compact", revision);
        let op = Some(Op::Compact(Compact { revision }));
        let data = Command { format: FORMAT, id: 0, op }.encode_to_vec().into();
        self.member.propose(vec![Proposal { id: 0, data }]);
    }

    fn compact_step(&mut self) -> Result<(), Failed> {
        let rows = self.rng.usize(1..20);
        let more = self.member.applier.compact_step(rows)?;
        self.trace.step("compact", format!("{rows} rows, more: {more}"));
        Ok(())
    }

    /// Hands a watcher its next commit; false if there is none.
    fn watch(&mut self, at: usize) -> Result<bool, Violation> {
        let reader = self.member.applier.state().reader();
        let Some(watcher) = self.watchers.get_mut(at) else { return Ok(false) };
        let before = watcher.position;
        let Some(commit) = watcher.next(reader.store())? else { return Ok(false) };
        let from = watcher.position.max(before);
        self.trace.step("watch", format!("watcher {at}: revision {}", commit.main));
        invariants::watchers::is_next(&self.history, from, &commit)?;
        watcher.position = commit.main + 1;
        Ok(true)
    }

    /// Time passes: ticks, and what the leader does when it is time.
    fn pass(&mut self, time: Duration) {
        self.history.now = self.history.now.saturating_add(time);
        self.member.core.tick();
        self.member.step();
        self.duties();
    }

    fn duties(&mut self) {
        let reader = self.member.applier.state().reader();
        self.member.core.duties(self.history.now, &reader);
        self.member.step();
    }

    /// The power fails, and comes back.
    pub(crate) fn crash(&mut self) -> Result<(), Violation> {
        self.trace.step("crash", "");
        self.report.crashes += 1;
        self.disk.crash();
        self.reopen()
    }

    /// The process ends, killed or in good order; the machine goes on.
    fn restart(&mut self) -> Result<(), Violation> {
        let killed = self.rng.bool() || self.sync_fails;
        self.trace.step("restart", if killed { "killed" } else { "stopped" });
        // The old process has files open: where it is killed, they are those of another disk now.
        let next = self.disk.fork(self.rng.u64(..));
        if killed {
            self.disk = next;
        } else {
            let spare = open(&next)?;
            drop(std::mem::replace(&mut self.member, spare));
        }
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), Violation> {
        self.reads.clear();
        self.sync_fails = false;
        self.history.led = self.history.led.max(self.member.synced_term);
        for watcher in &mut self.watchers {
            watcher.disconnect();
        }
        let disk = self.disk.clone();
        self.member = open(&disk)?;
        let applied = self.member.backend.durable().index;
        self.trace.step("open", format!("keyspace at {applied}"));
        invariants::durable::stays(&self.history, applied)?;
        let mirror = &self.history.outcomes;
        invariants::durable::was_applied(mirror.contains_key(&applied.0), applied)?;
        self.duties();
        self.check_terms()
    }
}

fn open(disk: &MemDisk) -> Result<Running, Violation> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    loop {
        match Running::open(&shared) {
            Ok(member) => return Ok(member),
            // The power may fail again while the member is being opened.
            Err(_) if disk.failed() => disk.crash(),
            Err(error) => return Err(Violation::new("opening", error)),
        }
    }
}
