//! A member with its disk and its clients: what may happen to it.

use std::{sync::Arc, time::Duration};

use base::{Disk, Index, MemberId, disk::MemDisk};
use member::{PeerMessage, Proposal, Read};
use proto::{
    Message as _,
    command::{Command, Compact, Op},
};

use state::apply::membership_change::Change;

use crate::{
    Violation, clients, invariants,
    running::{Failed, Running, Who},
    transfers::Transfer,
    watcher::Watcher,
    world::Common,
};

/// A member with its disk and its clients.
pub(crate) struct Node {
    pub(crate) who: Who,
    pub(crate) disk: MemDisk,
    /// `None` while it is down.
    pub(crate) member: Option<Running>,
    pub(crate) watchers: Vec<Watcher>,
    /// Reads under way, with the least index that will do.
    reads: Vec<(Read, Index)>,
    last_read: u64,
    /// A whole snapshot that has come, and is to be installed.
    pub(crate) arrived: Option<PeerMessage>,
    /// One is coming: a second one would use the same file.
    pub(crate) receiving: bool,
    /// A sync has been made to fail since the member was opened.
    sync_fails: bool,
}

impl Node {
    pub(crate) fn new(who: Who, disk: MemDisk, common: &mut Common) -> Result<Self, Violation> {
        let member = open(&disk, who)?;
        let mut node = Self {
            who,
            disk,
            member: Some(member),
            watchers: (0..3).map(|_| Watcher::new(2)).collect(),
            reads: Vec::new(),
            last_read: 0,
            arrived: None,
            receiving: false,
            sync_fails: false,
        };
        node.duties(common);
        node.look(common)?;
        Ok(node)
    }

    pub(crate) fn id(&self) -> MemberId {
        self.who.id
    }

    /// Whether it takes itself for the leader.
    pub(crate) fn leads(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.core.role().leads)
    }

    /// Carries out `step` if the member is up. It may fail because the power did, or a sync: then
    /// the member stops, and is started again. For no other reason.
    pub(crate) fn run(
        &mut self,
        common: &mut Common,
        step: impl FnOnce(&mut Running, &mut Common) -> Result<(), Failed>,
    ) -> Result<(), Violation> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let done = step(member, common);
        self.look(common)?;
        self.unless_power_failed(common, done)
    }

    fn unless_power_failed(
        &mut self,
        common: &mut Common,
        done: Result<(), Failed>,
    ) -> Result<(), Violation> {
        match done {
            Ok(()) => Ok(()),
            Err(_) if self.disk.failed() => self.crash(common),
            Err(_) if self.sync_fails => self.restart(common),
            Err(error) => Err(Violation::new("faultless", error)),
        }
    }

    /// Looks at what came back from the core.
    fn look(&mut self, common: &mut Common) -> Result<(), Violation> {
        let id = self.id();
        let Some(member) = &mut self.member else { return Ok(()) };
        for (entry, before) in std::mem::take(&mut member.written) {
            invariants::log_matching::matches(&mut common.history, &entry, before)?;
        }
        for term in std::mem::take(&mut member.led) {
            invariants::terms::is_new(&common.history, id, term)?;
            invariants::election_safety::is_only_leader(&mut common.history, id, term)?;
            invariants::leader_completeness::holds_all(&common.history, id, &member.core)?;
            common.report.elections += 1;
        }
        for (index, answered) in std::mem::take(&mut member.reads) {
            for read in answered {
                invariants::reads::is_current(&mut self.reads, read, index)?;
            }
        }
        for message in std::mem::take(&mut member.to_send) {
            common.network.send(id, &message, &mut common.rng);
        }
        let snapshots = std::mem::take(&mut member.snapshots);
        common.transfers.extend(snapshots.into_iter().map(|one| Transfer::new(self.who, one)));
        Ok(())
    }

    pub(crate) fn propose(&mut self, common: &mut Common, count: usize) -> Vec<u64> {
        let Some(member) = self.member.as_mut().filter(|member| member.core.can_propose()) else {
            return Vec::new();
        };
        let mut proposals = Vec::new();
        for _ in 0..count {
            let (id, op) = if common.rng.u8(..3) == 0 {
                let op = clients::v3::request(&mut common.rng, &common.history);
                common.history.send_v3(op)
            } else {
                let write = clients::request(&mut common.rng, &common.history);
                common.history.send(write)
            };
            common.trace.step("propose", format!("{id} at {}: {op:?}", self.who.id));
            let command = Command::new(id, op);
            proposals.push(Proposal { id, data: command.encode_to_vec().into() });
        }
        let ids = proposals.iter().map(|proposal| proposal.id).collect();
        member.propose(proposals);
        ids
    }

    /// Somebody changes the members; true if that was proposed.
    pub(crate) fn change(&mut self, common: &mut Common, change: &Change) -> bool {
        let Some(member) = self.member.as_mut().filter(|member| member.core.can_propose()) else {
            return false;
        };
        let proposed = member.core.propose_change(0, change);
        common.trace.step("change", format!("{change:?} at {}: {proposed:?}", self.who.id));
        member.step();
        proposed.is_ok()
    }

    pub(crate) fn read(&mut self, common: &mut Common) -> Result<(), Violation> {
        let Some(member) = &mut self.member else { return Ok(()) };
        if member.core.reads_at_once() {
            invariants::reads::may_be_at_once(&common.history, &member.applier)?;
        }
        self.last_read += 1;
        let read = Read(self.last_read);
        self.reads.push((read, common.history.last_acknowledged()));
        member.core.read(read);
        member.step();
        Ok(())
    }

    pub(crate) fn receive(&mut self, common: &Common, message: PeerMessage) {
        let Some(member) = &mut self.member else { return };
        common.trace.step("receive", format!("at {}: {}", self.who.id, message.show()));
        member.core.receive(message);
        member.step();
    }

    /// Takes over a snapshot that has come, as soon as that can be.
    pub(crate) fn install(&mut self, common: &mut Common) -> Result<(), Violation> {
        let may = self.member.as_ref().is_some_and(Running::may_restore);
        let Some(message) = self.arrived.take_if(|_| may) else { return Ok(()) };
        let id = self.id();
        self.run(common, |member, common| {
            let installed = member.restore(message)?;
            common.trace.step("install", format!("at {id}: {installed}"));
            let known = common.history.durable.entry(id).or_default();
            *known = member.backend.durable().index.max(*known);
            common.report.installs += u64::from(installed);
            Ok(())
        })
    }

    pub(crate) fn log(&mut self, common: &mut Common) -> Result<(), Violation> {
        let id = self.id();
        self.run(common, |member, common| {
            let count = common.rng.usize(1..4);
            member.log(count, common.options.sabotage)?;
            common.trace.step("log", format!("at {id}: persisted {:?}", member.persisted));
            Ok(())
        })
    }

    pub(crate) fn apply(&mut self, common: &mut Common) -> Result<(), Violation> {
        let id = self.id();
        let Some(member) = &mut self.member else { return Ok(()) };
        let count = common.rng.usize(1..8);
        let (entries, batch) = match member.apply(count) {
            Ok(done) => done,
            Err(error) => return self.unless_power_failed(common, Err(error)),
        };
        let Some(last) = entries.last() else { return Ok(()) };
        common.trace.step("apply", format!("at {id}: up to {} of term {}", last.index, last.term));
        for entry in &entries {
            common.applied(entry)?;
        }
        invariants::indexes::go_on(&common.history, &entries, &batch.commits)?;
        for answer in &batch.answers {
            common.trace.step("answer", format!("{} at entry {}", answer.id, answer.index));
            common.history.acknowledge(answer);
        }
        member.applier.state().reader().store().publish(&batch.commits);
        Ok(())
    }

    pub(crate) fn flush(&mut self, common: &mut Common) -> Result<(), Violation> {
        let id = self.id();
        self.run(common, |member, common| {
            let cut = member.flush(common.options.sabotage)?;
            common.report.cuts += u64::from(cut);
            let durable = member.backend.durable().index;
            common.trace.step("flush", format!("at {id}: durable {durable}, cut: {cut}"));
            let known = common.history.durable.entry(id).or_default();
            *known = durable.max(*known);
            Ok(())
        })
    }

    /// A client compacts history.
    pub(crate) fn compact(&mut self, common: &mut Common) {
        let Some(member) = self.member.as_mut().filter(|member| member.core.can_propose()) else {
            return;
        };
        let reader = member.applier.state().reader();
        let (from, to) = (reader.store().compacted(), reader.store().revision());
        if from >= to {
            return;
        }
        let revision = common.rng.i64(from..=to);
        common.trace.step("compact", revision);
        let op = Op::Compact(Compact { revision });
        let data = Command::new(0, op).encode_to_vec().into();
        member.propose(vec![Proposal { id: 0, data }]);
    }

    pub(crate) fn compact_step(&mut self, common: &mut Common) -> Result<(), Violation> {
        self.run(common, |member, common| {
            let rows = common.rng.usize(1..20);
            let more = member.applier.compact_step(rows)?;
            common.trace.step("compact", format!("{rows} rows, more: {more}"));
            Ok(())
        })
    }

    /// Hands a watcher its next commit; false if there is none.
    pub(crate) fn watch(&mut self, common: &Common, at: usize) -> Result<bool, Violation> {
        let Some(member) = &mut self.member else { return Ok(false) };
        let reader = member.applier.state().reader();
        let Some(watcher) = self.watchers.get_mut(at) else { return Ok(false) };
        let before = watcher.position;
        let Some(commit) = watcher.next(reader.store())? else { return Ok(false) };
        let from = watcher.position.max(before);
        common
            .trace
            .step("watch", format!("watcher {at} at {}: revision {}", self.who.id, commit.main));
        invariants::watchers::is_next(&common.history, from, &commit)?;
        watcher.position = commit.main + 1;
        Ok(true)
    }

    /// A tick, and what the leader does when it is time.
    pub(crate) fn tick(&mut self, common: &mut Common) {
        if let Some(member) = &mut self.member {
            member.core.tick();
            member.step();
        }
        self.duties(common);
    }

    pub(crate) fn duties(&mut self, common: &mut Common) {
        let Some(member) = &mut self.member else { return };
        let reader = member.applier.state().reader();
        member.core.duties(common.now(), &reader);
        member.step();
    }

    pub(crate) fn plan_failure(&mut self, common: &mut Common) {
        let operations = common.rng.u64(..12);
        let id = self.id();
        common.trace.step("plan", format!("power fails at {id} in {operations} operations"));
        self.disk.fail_after(operations);
    }

    pub(crate) fn fail_sync(&mut self, common: &Common) {
        if self.member.is_none() {
            return;
        }
        common.trace.step("plan", format!("the next sync fails at {}", self.id()));
        self.disk.fail_next_sync();
        self.sync_fails = true;
    }

    /// The power fails, and comes back; perhaps not at once.
    pub(crate) fn crash(&mut self, common: &mut Common) -> Result<(), Violation> {
        common.trace.step("crash", self.id());
        common.report.crashes += 1;
        self.forget(common);
        self.disk.crash();
        if self.who.of > 1 && common.rng.bool() {
            return Ok(());
        }
        self.start(common)
    }

    /// The process ends, killed or in good order; the machine goes on.
    pub(crate) fn restart(&mut self, common: &mut Common) -> Result<(), Violation> {
        let killed = common.rng.bool() || self.sync_fails;
        let how = if killed { "killed" } else { "stopped" };
        common.trace.step("restart", format!("{} {how}", self.id()));
        if killed {
            // The old process has files open: they are those of another disk now.
            self.disk = self.disk.fork(common.rng.u64(..));
        }
        self.forget(common);
        self.start(common)
    }

    fn forget(&mut self, common: &mut Common) {
        (self.arrived, self.receiving) = (None, false);
        if let Some(member) = self.member.take() {
            let synced = common.history.synced.entry(self.who.id).or_default();
            *synced = member.synced_term.max(*synced);
        }
    }

    /// Starts it, if it is down.
    pub(crate) fn start(&mut self, common: &mut Common) -> Result<(), Violation> {
        if self.member.is_some() {
            return Ok(());
        }
        self.reads.clear();
        self.sync_fails = false;
        for watcher in &mut self.watchers {
            watcher.disconnect();
        }
        self.who.run += 1;
        let member = self.member.insert(open(&self.disk, self.who)?);
        let applied = member.backend.durable().index;
        common.trace.step("open", format!("{}: keyspace at {applied}", self.who.id));
        invariants::durable::stays(&common.history, self.who.id, applied)?;
        let is_known = common.history.outcomes.contains_key(&applied.0);
        invariants::durable::was_applied(is_known, applied)?;
        self.duties(common);
        self.look(common)
    }

    /// Carries out all that waits, without a fault, once.
    pub(crate) fn carry_out(&mut self, common: &mut Common) -> Result<(), Violation> {
        self.start(common)?;
        self.log(common)?;
        self.run(common, |member, _| member.tell_persisted())?;
        self.apply(common)?;
        self.run(common, |member, _| member.tell_applied())?;
        self.install(common)?;
        self.compact_step(common)?;
        self.flush(common)?;
        self.duties(common);
        self.look(common)
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_quiet(&self) -> bool {
        self.arrived.is_none()
            && self.member.as_ref().is_some_and(|member| {
                member.is_quiet() && member.backend.durable() == member.backend.applied()
            })
    }
}

/// How long one tick takes.
pub(crate) const TICK: Duration = Duration::from_millis(100);

fn open(disk: &MemDisk, who: Who) -> Result<Running, Violation> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    loop {
        match Running::open(&shared, who) {
            Ok(member) => return Ok(member),
            // The power may fail again while the member is being opened.
            Err(_) if disk.failed() => disk.crash(),
            Err(error) => return Err(Violation::new("opening", error)),
        }
    }
}
