//! The members, the network between them and the clock; and what may happen next.

use std::{path::Path, sync::Arc, time::Duration};

use base::{Disk, MemberId, Now, UnixNanos, disk::MemDisk};
use state::apply::membership_change::Change;
use wal::Entry;

use crate::{
    Options, Report, Violation,
    clients::v3,
    history::History,
    invariants,
    mirror::Mirror,
    network::Network,
    node::{Node, TICK},
    running::{self, Who},
    trace::Trace,
    transfers::Transfer,
};

/// A whole simulated world.
pub(crate) struct World {
    pub(crate) common: Common,
    nodes: Vec<Node>,
}

/// What members have in common.
pub(crate) struct Common {
    pub(crate) rng: fastrand::Rng,
    pub(crate) options: Options,
    pub(crate) trace: Trace,
    pub(crate) network: Network,
    /// Snapshots that are being sent.
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) history: History,
    pub(crate) report: Report,
    mirror: Mirror,
    /// So many founded the cluster.
    of: u64,
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
    Tick,
    PlanFailure,
    FailSync,
    Crash,
    Restart,
    Start,
    Deliver,
    Transferring,
    Install,
    Cut,
    Mend,
    Unreachable,
    Transfer,
    Change,
}

/// With their weights, where there is one member.
const ALONE: &[(Action, u32)] = &[
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
    (Action::Tick, 15),
    (Action::PlanFailure, 3),
    (Action::FailSync, 1),
    (Action::Crash, 2),
    (Action::Restart, 1),
];

/// And where there are several: one write takes a dozen steps, and an election more.
const SEVERAL: &[(Action, u32)] = &[
    (Action::Propose, 60),
    (Action::Read, 12),
    (Action::Log, 240),
    (Action::TellPersisted, 240),
    (Action::Apply, 160),
    (Action::TellApplied, 160),
    (Action::Flush, 20),
    (Action::Compact, 3),
    (Action::CompactStep, 12),
    (Action::Watch, 40),
    (Action::Tick, 150),
    (Action::Deliver, 700),
    (Action::Transferring, 60),
    (Action::Install, 30),
    (Action::PlanFailure, 2),
    (Action::FailSync, 1),
    (Action::Crash, 2),
    (Action::Restart, 2),
    (Action::Start, 12),
    (Action::Cut, 2),
    (Action::Mend, 4),
    (Action::Unreachable, 2),
    (Action::Transfer, 1),
    (Action::Change, 4),
];

/// Clusters have so many members at least, and at most, when members come and go.
const MEMBERS: std::ops::RangeInclusive<usize> = 3..=6;

/// One message in so many is lost between several members, and one repeated.
const FAULTY: usize = 12;

impl World {
    /// A world of so many members, the first on this disk, in which all of `history` has happened.
    pub(crate) fn new(
        rng: fastrand::Rng,
        (disk, of): (MemDisk, u64),
        history: History,
        options: Options,
        trace: Trace,
    ) -> Result<Self, Violation> {
        let mirror = Mirror::new(&history, of)?;
        let network = Network::default();
        let report = Report::default();
        let transfers = Vec::new();
        let mut common =
            Common { rng, options, trace, network, transfers, history, report, mirror, of };
        let mut nodes = Vec::new();
        for id in 1..=of {
            let disk = if id == 1 { disk.clone() } else { MemDisk::new(common.rng.u64(..)) };
            nodes.push(begin(&mut common, disk, MemberId(id), of)?);
        }
        common.network.faulty = if of > 1 { FAULTY } else { 0 };
        Ok(Self { common, nodes })
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            sent: (self.common.history.sent.len() + self.common.history.sent_v3.len()) as u64,
            acknowledged: self.common.history.acknowledged.len() as u64,
            ..self.common.report
        }
    }

    /// Another world that goes its own way from here: with the first member's disk, as a crash at
    /// this moment would leave it, and its history.
    pub(crate) fn branch(&mut self) -> Option<(MemDisk, History)> {
        let seed = self.common.rng.u64(..);
        let disk = self.nodes.first()?.disk.fork(seed);
        Some((disk, self.common.history.clone()))
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Lets something happen.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        self.common.report.steps += 1;
        let action = self.pick();
        self.act(action)
    }

    fn pick(&mut self) -> Action {
        let actions = if self.is_alone() { ALONE } else { SEVERAL };
        let total: u32 = actions.iter().map(|(_, weight)| weight).sum();
        let mut at = self.common.rng.u32(..total);
        for (action, weight) in actions {
            if at < *weight {
                return *action;
            }
            at -= weight;
        }
        Action::Tick
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        let ids: Vec<MemberId> = self.nodes.iter().map(Node::id).collect();
        let Self { common, nodes } = self;
        let Some(node) = nodes.get_mut(common.rng.usize(..ids.len())) else { return Ok(()) };
        match action {
            Action::Propose => {
                let count = common.rng.usize(1..6);
                node.propose(common, count);
            }
            Action::Read => node.read(common)?,
            Action::Log => return node.log(common),
            Action::TellPersisted => return node.run(common, |member, _| member.tell_persisted()),
            Action::Apply => return node.apply(common),
            Action::TellApplied => return node.run(common, |member, _| member.tell_applied()),
            Action::Flush => return node.flush(common),
            Action::Compact => node.compact(common),
            Action::CompactStep => return node.compact_step(common),
            Action::Watch => {
                let at = common.rng.usize(..node.watchers.len());
                node.watch(common, at)?;
            }
            Action::Tick => {
                let millis = common.rng.u64(1..200) / ids.len() as u64;
                common.pass(Duration::from_millis(millis));
                node.tick(common);
            }
            Action::PlanFailure => node.plan_failure(common),
            Action::FailSync => node.fail_sync(common),
            Action::Crash => return node.crash(common),
            Action::Restart => return node.restart(common),
            Action::Start => return node.start(common),
            Action::Deliver => return self.deliver(),
            Action::Transferring => return self.transfer(),
            Action::Install => return node.install(common),
            Action::Cut => common.network.cut(&ids, &mut common.rng),
            Action::Mend => common.network.mend(),
            Action::Unreachable => {
                let other = ids.get(common.rng.usize(..ids.len())).copied().unwrap_or_default();
                node.run(common, |member, _| {
                    member.core.unreachable(other);
                    Ok(())
                })?;
            }
            Action::Change => return self.change(),
            Action::Transfer => node.run(common, |member, _| {
                member.core.transfer_leadership(None);
                Ok(())
            })?,
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        nodes.iter_mut().try_for_each(|node| {
            node.run(common, |member, _| {
                member.step();
                Ok(())
            })
        })
    }

    fn deliver(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        let Some((_, to, message)) = common.network.deliver(&mut common.rng) else { return Ok(()) };
        if let Some(node) = nodes.iter_mut().find(|node| node.id() == to) {
            node.receive(common, message);
        }
        self.look()
    }

    /// Somebody adds a member, which starts at once, removes one, or makes a voter of a learner.
    fn change(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        let members = common.mirror.applier.state().reader().members();
        let ids: Vec<MemberId> = members.members.keys().copied().collect();
        let learner = members.members.values().find(|member| member.learner);
        let at = common.rng.usize(..nodes.len());
        let Some(node) = nodes.get_mut(at) else { return Ok(()) };
        match (learner, common.rng.bool()) {
            (Some(learner), true) => {
                // Nobody else can.
                if let Some(leader) = nodes.iter_mut().find(|node| node.leads()) {
                    leader.change(common, &Change::Promote(learner.id));
                }
            }
            (_, true) if ids.len() < *MEMBERS.end() => {
                let id = 100 + nodes.len() as u64;
                let of = common.of;
                let added = running::member(id);
                let change = if common.rng.bool() {
                    Change::AddLearner(added, 2)
                } else {
                    Change::Add(added)
                };
                if nodes.get_mut(at).is_some_and(|node| node.change(common, &change)) {
                    let disk = MemDisk::new(common.rng.u64(..));
                    nodes.push(begin(common, disk, MemberId(id), of)?);
                }
            }
            (_, false) if ids.len() > *MEMBERS.start() => {
                let gone = ids.get(common.rng.usize(..ids.len())).copied().unwrap_or_default();
                node.change(common, &Change::Remove(gone));
            }
            _ => {}
        }
        self.look()
    }

    /// Moves a snapshot that is being sent one step on.
    fn transfer(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        let count = common.transfers.len();
        if count == 0 {
            return Ok(());
        }
        let mut transfer = common.transfers.swap_remove(common.rng.usize(..count));
        if transfer.step(nodes, common)? {
            common.transfers.push(transfer);
        }
        self.look()
    }

    /// No more faults: everything must come to an end, and be as it should.
    pub(crate) fn heal(&mut self) -> Result<(), Violation> {
        self.common.trace.step("heal", "");
        for node in &self.nodes {
            node.disk.fail_after(u64::MAX);
        }
        self.common.network.mend();
        self.common.network.faulty = 0;
        self.settle()?;
        self.common.pass(Duration::from_secs(10));
        self.write_one()?;
        for node in self.nodes.iter().filter(|node| self.common.is_member(node.id())) {
            if let Some(member) = &node.member {
                let now = self.common.history.now;
                invariants::expiry::nothing_is_left(&member.applier, now)?;
            }
        }
        self.end_leases()?;
        self.check_all()?;
        let Self { common, nodes } = self;
        nodes.iter_mut().try_for_each(|node| node.restart(common))?;
        self.settle()?;
        self.check_all()
    }

    /// Nobody keeps any lease, so all of them end; a change of leaders gives them another time.
    fn end_leases(&mut self) -> Result<(), Violation> {
        let mut left = Ok(());
        for _ in 0..running::ELECTION_TICKS {
            self.common.pass(Duration::from_secs(v3::TTL_MAX.unsigned_abs()));
            self.tick_all()?;
            self.settle()?;
            let members = self.nodes.iter().filter(|node| self.common.is_member(node.id()));
            let mut running = members.filter_map(|node| node.member.as_ref());
            left =
                running.try_for_each(|member| invariants::leases::nothing_is_left(&member.applier));
            if left.is_ok() {
                break;
            }
        }
        left
    }

    /// Whoever writes now is told of success, at the latest when an election timeout has passed: a
    /// leader that was to hand over drops what is proposed until then.
    fn write_one(&mut self) -> Result<(), Violation> {
        for _ in 0..2 {
            let id = self.propose(1).into_iter().next();
            self.settle()?;
            if id.is_some_and(|id| self.common.history.acknowledged.contains_key(&id)) {
                return Ok(());
            }
            for _ in 0..running::ELECTION_TICKS {
                self.tick_all()?;
            }
            self.settle()?;
        }
        Err(Violation::new("healing", "a write is not acknowledged"))
    }

    /// Proposes at whichever member leads.
    pub(crate) fn propose(&mut self, count: usize) -> Vec<u64> {
        let Self { common, nodes } = self;
        let members = common.mirror.applier.state().reader().members();
        let leads = |node: &&mut Node| {
            let leads = node.member.as_ref().is_some_and(|member| member.core.role().leads);
            leads && members.members.contains_key(&node.id())
        };
        let ids = nodes.iter_mut().find(leads).map(|node| node.propose(common, count));
        ids.unwrap_or_default()
    }

    /// Carries out all that waits, without a fault.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..2_000 {
            let Self { common, nodes } = self;
            nodes.iter_mut().try_for_each(|node| node.carry_out(common))?;
            if self.has_settled() {
                return self.watch_all();
            }
            self.deliver_all()?;
            for _ in 0..20 {
                self.transfer()?;
            }
            // A cluster of one waits for nobody.
            if !self.is_alone() && self.common.network.is_quiet() {
                self.common.pass(TICK);
                self.tick_all()?;
            }
        }
        Err(Violation::new("healing", "it never comes to rest"))
    }

    fn tick_all(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        for node in nodes {
            node.tick(common);
        }
        self.look()?;
        self.deliver_all()
    }

    fn deliver_all(&mut self) -> Result<(), Violation> {
        while !self.common.network.is_quiet() {
            self.deliver()?;
        }
        Ok(())
    }

    /// Whether one member leads, all others follow it, and all have applied all.
    fn has_settled(&self) -> bool {
        // Those who were removed may never hear of it, and ask for votes for ever.
        let nodes = || self.nodes.iter().filter(|node| self.common.is_member(node.id()));
        let quiet = nodes().all(Node::is_quiet) && self.common.network.is_quiet();
        let mut members = nodes().filter_map(|node| node.member.as_ref());
        let Some(first) = members.next() else { return false };
        let (leader, last) = (first.core.role().leader, first.core.last_index());
        let applied = |member: &running::Running| member.applier.state().applied().index;
        quiet
            && leader.is_some_and(|leader| self.common.is_member(leader))
            && applied(first) == last
            && members.all(|member| {
                member.core.role().leader == leader
                    && member.core.last_index() == last
                    && applied(member) == last
            })
    }

    fn watch_all(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        for node in nodes.iter_mut().filter(|node| common.is_member(node.id())) {
            for at in 0..node.watchers.len() {
                while node.watch(common, at)? {}
            }
        }
        Ok(())
    }

    /// Holds all that was ever seen against what is there now.
    pub(crate) fn check_all(&self) -> Result<(), Violation> {
        let history = &self.common.history;
        for node in self.nodes.iter().filter(|node| self.common.is_member(node.id())) {
            let Some(member) = &node.member else { continue };
            let applier = &member.applier;
            invariants::acknowledged::all_are_there(history, applier)?;
            invariants::replay::equals(applier, &self.common.mirror.applier)?;
            invariants::watchers::saw_everything(history, &node.watchers, applier)?;
        }
        Ok(())
    }
}

/// A member on a disk of its own.
fn begin(common: &mut Common, disk: MemDisk, id: MemberId, of: u64) -> Result<Node, Violation> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let home = Path::new(running::HOME);
    shared.create_dir_all(home).map_err(|error| Violation::new("opening", error))?;
    let who = Who { id, of, run: common.rng.u64(..) >> 8 };
    Node::new(who, disk, common)
}

impl Common {
    /// Whether this member belongs to the cluster, by all that was ever applied.
    fn is_member(&self, id: MemberId) -> bool {
        self.mirror.applier.state().reader().members().members.contains_key(&id)
    }

    /// A member has applied this entry.
    pub(crate) fn applied(&mut self, entry: &Entry) -> Result<(), Violation> {
        let Self { history, mirror, report, of, .. } = self;
        invariants::log::is_as_before(history, entry)?;
        if history.outcomes.contains_key(&entry.index.0) {
            return Ok(());
        }
        report.changes += u64::from(entry.kind != 0 && entry.index.0 > *of);
        invariants::leases::apply(history, entry)?;
        let commits = mirror.apply(entry)?;
        invariants::only_sent::were_asked_for(history, &commits)?;
        invariants::expiry::are_due(history, &commits)?;
        let by_revision = commits.iter().map(|commit| (commit.main, Arc::clone(commit)));
        history.commits.extend(by_revision);
        history.outcomes.insert(entry.index.0, commits);
        Ok(())
    }

    /// Both clocks, which are one here.
    pub(crate) fn now(&self) -> Now {
        let wall = self.history.now;
        Now { monotonic: UnixNanos::default().until(wall), wall }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.history.now = self.history.now.saturating_add(time);
    }
}
