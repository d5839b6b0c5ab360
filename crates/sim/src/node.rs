//! A member with its disk and its clients: what may happen to it.

mod asking;
mod condition;
mod power;
mod writing;

use std::time::Duration;

use base::{Index, MemberId, Now, Term, UnixNanos, disk::MemDisk};
use member::{PeerMessage, Proposal, Read, shell};
use proto::{
    Message as _,
    command::{Command, Compact, Op},
};
use state::apply::membership_change::Change;

use self::condition::Condition;
use crate::{
    Sabotage, Violation,
    clients::{self, registers::Call},
    invariants,
    network::any,
    running::{self, Failed, Running, Who},
    transfers::Transfer,
    watcher::Watcher,
    weather::Event,
    world::Common,
};

/// A member with its disk and its clients.
pub(crate) struct Node {
    pub(crate) who: Who,
    pub(crate) disk: MemDisk,
    /// `None` while it is down.
    pub(crate) member: Option<Running>,
    pub(crate) watchers: Vec<Watcher>,
    /// Those of v3.
    pub(crate) watches: Vec<clients::watches::Client>,
    /// Reads without a read index yet.
    reads: Vec<Asked>,
    last_read: u64,
    /// Reads of clients that wait until this much is applied.
    known: Vec<(Index, Call)>,
    /// A whole snapshot that has come, and is to be installed.
    pub(crate) arrived: Option<PeerMessage>,
    /// One is coming: a second one would use the same file.
    pub(crate) receiving: bool,
    /// It has applied that it was removed, and was not told to leave yet.
    must_leave: bool,
    /// It was removed, has left, and never comes back.
    gone: bool,
    pub(crate) condition: Condition,
}

/// A read that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) read: Read,
    /// The least index that will do.
    pub(crate) least: Index,
    /// Who wants to know.
    pub(crate) call: Option<Call>,
}

impl Node {
    pub(crate) fn new(who: Who, disk: MemDisk, common: &mut Common) -> Result<Self, Violation> {
        let member = power::open(&disk, who, common)?;
        let mut node = Self {
            who,
            disk,
            member: Some(member),
            watchers: Watcher::all(),
            watches: clients::watches::Client::all(),
            reads: Vec::new(),
            last_read: 0,
            known: Vec::new(),
            arrived: None,
            receiving: false,
            must_leave: false,
            gone: false,
            condition: Condition::default(),
        };
        node.condition.failed_syncs = node.disk.failed_syncs();
        node.duties(common)?;
        node.look(common)?;
        Ok(node)
    }

    /// One of the things happens that may happen at a member.
    pub(crate) fn happens(
        &mut self,
        common: &mut Common,
        event: Event,
        ids: &[MemberId],
    ) -> Result<(), Violation> {
        match event {
            Event::Propose => {
                let count = common.rng.usize(1..6);
                self.propose(common, count);
            }
            Event::Read => self.read(common, None)?,
            Event::Log => self.log(common)?,
            Event::Sync => self.sync(common)?,
            Event::TellPersisted => self.run(common, |member, _| member.tell_persisted())?,
            Event::Apply => self.apply(common)?,
            Event::TellApplied => self.run(common, |member, _| member.tell_applied())?,
            Event::Flush => self.flush(common)?,
            Event::Install => self.install(common)?,
            Event::Compact => self.compact(common),
            Event::CompactStep => self.compact_step(common)?,
            Event::Watch => {
                let at = common.rng.usize(..self.watchers.len());
                self.watch(common, at)?;
                let at = common.rng.usize(..self.watches.len());
                self.watch_v3(common, at)?;
            }
            Event::Tick => self.tick(common)?,
            Event::Unreachable => {
                let other = any(ids, &mut common.rng).unwrap_or_default();
                self.unreachable(common, other)?;
            }
            Event::HandOver => {
                let heir = any(ids, &mut common.rng).filter(|_| common.rng.bool());
                self.hand_over(common, heir)?;
            }
            Event::Rebuild => self.rebuild(common)?,
            Event::PlanFailure => self.plan_failure(common),
            Event::FailSync => self.fail_sync(common),
            Event::FillDisk => self.fill_disk(common),
            Event::Crash => self.crash(common)?,
            Event::Restart => self.restart(common)?,
            Event::Start => self.start(common)?,
            Event::Pause => self.pause(common),
            Event::Resume => self.resume(common),
            Event::Slow => self.become_slow(common),
            Event::Skew => self.move_clock(common),
            Event::Lag => {
                let lags = common.rng.bool();
                self.set_lags(common, lags)?;
            }
        }
        Ok(())
    }

    /// Whether there is anything of this to do, of what a member does by itself.
    pub(crate) fn waits_for(&self, event: Event) -> bool {
        if self.condition.is_hung && event.is_of_disk() {
            return false;
        }
        let is_to_flush = |member: &Running| member.backend.durable() != member.backend.applied();
        self.member.as_ref().is_some_and(|member| {
            (event == Event::Install && self.arrived.is_some() && member.may_restore())
                || (event == Event::Flush && is_to_flush(member))
                || member.waits_for(event)
        })
    }

    /// Whether it is a leader, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.core.role().leads)
    }

    pub(crate) fn term(&self) -> Term {
        self.member.as_ref().map_or(Term(0), |member| member.core.role().term)
    }

    pub(crate) fn id(&self) -> MemberId {
        self.who.id
    }

    /// Carries out `step` if the member is up. It may fail because the power did, or a sync, or
    /// because the disk is full: then the member stops, and is started again. For no other reason.
    pub(crate) fn run(
        &mut self,
        common: &mut Common,
        step: impl FnOnce(&mut Running, &mut Common) -> Result<(), Failed>,
    ) -> Result<(), Violation> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let done = step(member, common);
        let done = done.and_then(|()| member.ends_well());
        self.look(common)?;
        self.unless_disk_failed(common, done)
    }

    fn unless_disk_failed(
        &mut self,
        common: &mut Common,
        done: Result<(), Failed>,
    ) -> Result<(), Violation> {
        let failed_syncs = self.disk.failed_syncs();
        let fails = failed_syncs > self.condition.failed_syncs;
        self.condition.failed_syncs = failed_syncs;
        common.report.failed_syncs += u64::from(fails);
        // Whoever has left has stopped; its files are closed with a last sync.
        let stopped = done.is_err() || self.gone;
        invariants::failed_sync::stops(self.id(), fails, stopped)?;
        match done {
            Ok(()) => Ok(()),
            Err(_) if self.disk.failed() => self.crash(common),
            Err(_) if self.condition.sync_fails => self.restart(common),
            Err(_) if self.condition.disk_is_full => {
                common.report.full += 1;
                self.restart(common)
            }
            Err(error) => Err(Violation::new("faultless", error)),
        }
    }

    /// Looks at what came back from the core.
    fn look(&mut self, common: &mut Common) -> Result<(), Violation> {
        let id = self.id();
        self.propose_again(common);
        let Some(member) = &mut self.member else { return Ok(()) };
        for (entry, before) in std::mem::take(&mut member.written) {
            invariants::log_matching::matches(&mut common.history, &entry, before)?;
        }
        for term in std::mem::take(&mut member.led) {
            invariants::terms::is_new(&common.history, id, term)?;
            invariants::election_safety::is_only_leader(&mut common.history, id, term)?;
            invariants::leader_completeness::holds_all(&common.history, id, term, &member.core)?;
            common.report.elections += 1;
        }
        member.dropped.clear();
        for message in std::mem::take(&mut member.to_send) {
            common.network.send(id, &message, &mut common.rng, &mut common.report);
        }
        let snapshots = std::mem::take(&mut member.snapshots);
        common.transfers.extend(snapshots.into_iter().map(|one| Transfer::new(self.who, one)));
        let is_told = std::mem::take(&mut member.removed);
        self.must_leave &= !is_told;
        let leaves = is_told && common.rng.bool();
        self.look_at_reads(common)?;
        if leaves {
            self.leave(common);
        }
        Ok(())
    }

    /// It ends, and is not started again.
    fn leave(&mut self, common: &mut Common) {
        common.trace.step("leave", self.id());
        self.forget(common);
        self.gone = true;
    }

    /// Others refuse it as one who was removed. It need not wait for them then.
    pub(crate) fn hear_of_removal(&mut self, common: &mut Common) {
        if self.member.as_ref().is_some_and(|member| member.core.says_farewell()) {
            self.leave(common);
        }
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

    pub(crate) fn receive(
        &mut self,
        common: &Common,
        message: PeerMessage,
    ) -> Result<(), Violation> {
        let Some(member) = &mut self.member else { return Ok(()) };
        common.trace.step("receive", format!("at {}: {}", self.who.id, message.show()));
        if let Err(refusal) = member.core.receive(message) {
            common.trace.step("refuse", format!("at {}: {refusal}", self.who.id));
            if refusal.lost_log && common.options.sabotage.is_none() {
                return Err(Violation::new("lost log", refusal));
            }
        }
        member.step();
        Ok(())
    }

    /// Removes what has come of a snapshot that broke off, or is not wanted any more.
    pub(crate) fn discard_snapshot(&mut self, common: &mut Common) -> Result<(), Violation> {
        let disk = self.disk.clone();
        self.run(common, |_, _| Ok(backend::discard(&disk, &running::paths().incoming())?))
    }

    /// Takes over a snapshot that has come, as soon as that can be.
    pub(crate) fn install(&mut self, common: &mut Common) -> Result<(), Violation> {
        let may = self.member.as_ref().is_some_and(Running::may_restore);
        let Some(message) = self.arrived.take_if(|_| may) else { return Ok(()) };
        let id = self.id();
        let mut is_installed = false;
        self.run(common, |member, common| {
            let installed = shell::restore(member, message)?;
            common.trace.step("install", format!("at {id}: {installed}"));
            let known = common.history.durable.entry(id).or_default();
            *known = member.backend.durable().index.max(*known);
            common.report.installs += u64::from(installed);
            is_installed = installed;
            Ok(())
        })?;
        if !is_installed {
            self.discard_snapshot(common)?;
        }
        self.serve_reads(common)
    }

    /// Writes to the log.
    pub(crate) fn log(&mut self, common: &mut Common) -> Result<(), Violation> {
        self.run(common, |member, common| {
            let count = common.rng.usize(1..4);
            member.log(count)
        })
    }

    /// Syncs the log.
    pub(crate) fn sync(&mut self, common: &mut Common) -> Result<(), Violation> {
        let id = self.id();
        self.run(common, |member, common| {
            member.sync()?;
            common.trace.step("log", format!("at {id}: persisted {:?}", member.persisted));
            Ok(())
        })
    }

    pub(crate) fn apply(&mut self, common: &mut Common) -> Result<(), Violation> {
        let id = self.id();
        let Some(member) = &mut self.member else { return Ok(()) };
        let count = common.rng.usize(1..8);
        let is_removed = member.applier.state().reader().is_removed(id);
        let (entries, batch) = match member.apply(count) {
            Ok(done) => done,
            Err(error) => return self.unless_disk_failed(common, Err(error)),
        };
        self.must_leave |= !is_removed && member.applier.state().reader().is_removed(id);
        let Some(last) = entries.last() else { return Ok(()) };
        member.applier.state().reader().leases().look(common.monotonic());
        common.trace.step("apply", format!("at {id}: up to {} of term {}", last.index, last.term));
        for entry in &entries {
            common.applied(entry, member.core.role().term)?;
        }
        invariants::indexes::go_on(&common.history, &entries, &batch.commits)?;
        for answer in &batch.answers {
            common.trace.step("answer", format!("{} at entry {}", answer.id, answer.index));
            common.history.acknowledge(answer);
            common.history.registers.answer(id, answer);
        }
        let mut commits = batch.commits;
        if common.options.sabotage == Some(Sabotage::PublishBackwards) {
            commits.reverse();
        }
        member.applier.state().reader().store().publish(&commits);
        self.serve_reads(common)
    }

    pub(crate) fn flush(&mut self, common: &mut Common) -> Result<(), Violation> {
        let id = self.id();
        self.run(common, |member, common| {
            let forgets = common.options.sabotage == Some(Sabotage::ForgetFlushes);
            let cut = if forgets { false } else { member.flush()? };
            common.report.cuts += u64::from(cut);
            let backend = &member.backend;
            let durable = if forgets { backend.applied() } else { backend.durable() }.index;
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
        common.report.compactions += 1;
        let data = Command::new(0, Op::Compact(Compact { revision })).encode_to_vec().into();
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
    pub(crate) fn watch(&mut self, common: &mut Common, at: usize) -> Result<bool, Violation> {
        let Some(member) = &mut self.member else { return Ok(false) };
        let reader = member.applier.state().reader();
        let Some(watcher) = self.watchers.get_mut(at) else { return Ok(false) };
        let Some(commit) = watcher.next(reader.store())? else { return Ok(false) };
        common
            .trace
            .step("watch", format!("watcher {at} at {}: revision {}", self.who.id, commit.main));
        invariants::watch_order::is_next(&common.history, watcher, &commit)?;
        watcher.position = commit.main + 1;
        common.report.told += 1;
        Ok(true)
    }

    /// Hands a client of v3 what its watch has to tell; false if that is nothing.
    pub(crate) fn watch_v3(&mut self, common: &mut Common, at: usize) -> Result<bool, Violation> {
        let Some(member) = &mut self.member else { return Ok(false) };
        let reader = member.applier.state().reader();
        let Some(client) = self.watches.get_mut(at) else { return Ok(false) };
        let Common { rng, options, history, report, trace, .. } = common;
        let before = client.position;
        let told = client.step(history, reader.store(), (options.sabotage, rng), report)?;
        if client.position != before {
            trace
                .step("watch", format!("watch {at} at {}: up to {}", self.who.id, client.position));
        }
        Ok(told)
    }

    /// Messages to another were lost.
    pub(crate) fn unreachable(
        &mut self,
        common: &mut Common,
        other: MemberId,
    ) -> Result<(), Violation> {
        self.run(common, |member, _| {
            member.core.unreachable(other);
            Ok(())
        })
    }

    /// Leadership is to go to somebody else, if it lies here.
    pub(crate) fn hand_over(
        &mut self,
        common: &mut Common,
        heir: Option<MemberId>,
    ) -> Result<(), Violation> {
        self.run(common, |member, common| {
            common.report.handed_over += u64::from(member.core.role().leads);
            member.core.transfer_leadership(heir);
            Ok(())
        })
    }

    /// It asks for a snapshot, as one does that was found to differ.
    pub(crate) fn rebuild(&mut self, common: &mut Common) -> Result<(), Violation> {
        self.run(common, |member, common| {
            common.report.rebuilt += u64::from(member.core.request_snapshot());
            Ok(())
        })
    }

    /// Whether the keyspace keeps up with the log.
    pub(crate) fn set_lags(&mut self, common: &mut Common, lags: bool) -> Result<(), Violation> {
        self.run(common, |member, _| {
            member.core.set_lags(lags);
            Ok(())
        })
    }

    /// A tick, and what the leader does when it is time.
    pub(crate) fn tick(&mut self, common: &mut Common) -> Result<(), Violation> {
        let is_left_out = common.rng.u8(..8) < self.condition.laziness;
        if let Some(member) = self.member.as_mut().filter(|_| !is_left_out) {
            if self.receiving {
                member.core.receives_snapshot();
            }
            member.core.tick();
            member.step();
        }
        self.duties(common)
    }

    pub(crate) fn duties(&mut self, common: &mut Common) -> Result<(), Violation> {
        let mut wall = self.condition.wall(common);
        let mut monotonic = common.monotonic();
        match common.options.sabotage {
            Some(Sabotage::ExpireEarly) => wall = wall.saturating_add(Duration::from_hours(1)),
            Some(Sabotage::ExpireNever) => wall = UnixNanos(0),
            Some(Sabotage::EndLeasesEarly) => monotonic *= 8,
            _ => {}
        }
        let Some(member) = &mut self.member else { return Ok(()) };
        let reader = member.applier.state().reader();
        let before = reader.leases().term();
        member.core.duties(Now { monotonic, wall }, &reader);
        if reader.leases().term() != before {
            let applied = member.backend.applied().index;
            let resumed =
                invariants::leases::resumed(&common.history, reader.leases(), applied, monotonic)?;
            common.report.resumed += resumed;
        }
        member.step();
        Ok(())
    }

    /// Carries out all that waits, without a fault, once.
    pub(crate) fn carry_out(&mut self, common: &mut Common) -> Result<(), Violation> {
        self.start(common)?;
        self.log(common)?;
        self.sync(common)?;
        self.run(common, |member, _| member.tell_persisted())?;
        self.apply(common)?;
        self.run(common, |member, _| member.tell_applied())?;
        self.install(common)?;
        self.compact_step(common)?;
        if self.member.as_ref().is_some_and(Running::is_quiet) {
            self.flush(common)?;
        }
        self.duties(common)?;
        self.look(common)
    }

    /// It knows that it was removed, if it does; and has done nothing about it.
    pub(crate) fn lingers(&self) -> bool {
        self.must_leave && self.member.as_ref().is_some_and(Running::is_quiet)
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_quiet(&self) -> bool {
        self.arrived.is_none()
            && self.reads.is_empty()
            && !self.waits_for(Event::Flush)
            && self.member.as_ref().is_some_and(Running::is_quiet)
    }
}
