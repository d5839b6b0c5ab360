//! When the faults stop, everything comes to an end, and is as it should be.

use std::{collections::BTreeSet, time::Duration};

use base::{MemberId, version::NEXT};

use crate::{
    Violation,
    clients::v3,
    invariants,
    node::Node,
    running::{ELECTION_TICKS, Running},
    world::{Common, World},
};

/// How long one tick takes.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Rounds of doing all that waits after which nothing more will come of it.
const ROUNDS_MAX: usize = 2_000;
/// Ticks after which everybody must have caught up: some elections, one after the other.
const HEALING_TICKS_MAX: u64 = 20 * ELECTION_TICKS as u64;

const NAME: &str = "healing";

impl World {
    /// No more faults: everything must come to an end, and be as it should.
    pub(crate) fn heal(&mut self) -> Result<(), Violation> {
        self.common.trace.step("heal", "");
        self.nodes.iter_mut().for_each(Node::recover);
        let Self { common, nodes } = self;
        nodes.iter_mut().try_for_each(|node| node.set_lags(common, false))?;
        self.common.network.mend();
        self.common.network.faulty = 0;
        let ticks = self.settle()?;
        self.common.report.healing_ticks = ticks;
        if ticks > HEALING_TICKS_MAX {
            return Err(Violation::new(NAME, format!("it took {ticks} ticks")));
        }
        for node in &self.nodes {
            invariants::membership::leaves(node.id(), node.lingers())?;
        }
        self.common.pass(Duration::from_secs(10));
        self.everybody_serves()?;
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
        if self.common.rolls {
            self.is_upgraded()?;
        }
        self.check_all()?;
        self.read_registers()?;
        let Common { history, report, .. } = &mut self.common;
        invariants::linearizability::holds(&mut history.registers, report)
    }

    /// All members have told that they can do more, so the cluster can, and does.
    fn is_upgraded(&mut self) -> Result<(), Violation> {
        for _ in 0..HEALING_TICKS_MAX {
            let versions = self.common.mirror.applier.state().reader().versions();
            if versions.cluster == Some(NEXT.cluster) {
                return self.everybody_serves();
            }
            self.tick()?;
            self.deliver_all()?;
            self.settle()?;
        }
        Err(Violation::new(NAME, "all members are upgraded, and the cluster's version is not"))
    }

    /// Nobody keeps any lease, so all of them end; a change of leaders gives them another time.
    fn end_leases(&mut self) -> Result<(), Violation> {
        let mut left = Ok(());
        for _ in 0..ELECTION_TICKS {
            self.common.pass(Duration::from_secs(v3::TTL_MAX.unsigned_abs()));
            self.tick()?;
            self.deliver_all()?;
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

    /// Whoever writes at any member now is told of success, and whoever reads gets an answer.
    pub(crate) fn everybody_serves(&mut self) -> Result<(), Violation> {
        for id in self.members() {
            self.serves(id)?;
        }
        Ok(())
    }

    fn serves(&mut self, id: MemberId) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        let node = nodes.iter_mut().find(|node| node.id() == id);
        let write = node.map(|node| {
            node.read(common, None)?;
            Ok(node.propose(common, 1))
        });
        let write = write.transpose()?.unwrap_or_default();
        // All reads are answered then. What comes to a leader that hands over waits until it has.
        self.settle()?;
        if write.iter().any(|id| self.common.history.acknowledged.contains_key(id)) {
            return Ok(());
        }
        Err(Violation::new(NAME, format!("a write at {id} is not acknowledged")))
    }

    /// Everybody is asked for what the registers hold.
    fn read_registers(&mut self) -> Result<(), Violation> {
        self.common.history.registers.end();
        for id in self.members() {
            let Self { common, nodes } = self;
            if let Some(node) = nodes.iter_mut().find(|node| node.id() == id) {
                node.read_registers(common)?;
            }
            self.settle()?;
        }
        Ok(())
    }

    /// All members, by what was applied last.
    pub(crate) fn members(&self) -> Vec<MemberId> {
        let members = self.common.mirror.applier.state().reader().members();
        members.members.keys().copied().collect()
    }

    /// Those of them who vote.
    pub(crate) fn voters(&self) -> Vec<MemberId> {
        let members = self.common.mirror.applier.state().reader().members();
        let voters = members.members.values().filter(|member| !member.learner);
        voters.map(|member| member.id).collect()
    }

    /// Proposes at whichever member leads.
    pub(crate) fn propose(&mut self, count: usize) -> Vec<u64> {
        let members = self.members();
        let Self { common, nodes } = self;
        let leads = |node: &&mut Node| {
            let leads = node.member.as_ref().is_some_and(|member| member.core.role().leads);
            leads && members.contains(&node.id())
        };
        let ids = nodes.iter_mut().find(leads).map(|node| node.propose(common, count));
        ids.unwrap_or_default()
    }

    /// Carries out all that waits, without a fault. Returns how many ticks that took.
    pub(crate) fn settle(&mut self) -> Result<u64, Violation> {
        let mut ticks = 0;
        for _ in 0..ROUNDS_MAX {
            let Self { common, nodes } = self;
            nodes.iter_mut().try_for_each(|node| node.carry_out(common))?;
            if self.has_settled() {
                self.watch_all()?;
                return Ok(ticks);
            }
            self.deliver_all()?;
            for _ in 0..20 {
                self.transfer()?;
            }
            // A cluster of one waits for nobody.
            if !self.is_alone() && self.common.network.is_quiet() {
                ticks += 1;
                self.tick()?;
                self.deliver_all()?;
            }
        }
        Err(Violation::new(NAME, "it never comes to rest"))
    }

    /// Everybody's next tick.
    pub(crate) fn tick(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        common.pass(TICK);
        for node in nodes.iter_mut().filter(|node| node.listens()) {
            node.tick(common)?;
        }
        self.tell_removed();
        self.look()
    }

    /// Who was removed is told so when it connects to those who know; learners say nothing.
    fn tell_removed(&mut self) {
        let Self { common, nodes } = self;
        let known = |node: &Node| {
            let members = node.member.as_ref()?.applier.state().reader().members();
            let learns = members.members.get(&node.id()).is_some_and(|own| own.learner);
            (common.is_member(node.id()) && !learns).then(|| members.removed.clone())
        };
        let removed: BTreeSet<MemberId> = nodes.iter().filter_map(known).flatten().collect();
        for node in nodes.iter_mut().filter(|node| removed.contains(&node.id())) {
            node.hear_of_removal(common);
        }
    }

    fn deliver_all(&mut self) -> Result<(), Violation> {
        while self.deliver()? {}
        Ok(())
    }

    /// Whether one member leads, all others follow it, and all have applied all.
    pub(crate) fn has_settled(&self) -> bool {
        // Those who were removed may never hear of it, and ask for votes for ever.
        let nodes = || self.nodes.iter().filter(|node| self.common.is_member(node.id()));
        let quiet = nodes().all(Node::is_quiet) && self.common.network.is_quiet();
        let mut members = nodes().filter_map(|node| node.member.as_ref());
        let Some(first) = members.next() else { return false };
        let (leader, last) = (first.core.role().leader, first.core.last_index());
        let applied = |member: &Running| member.applier.state().applied().index;
        let mut running = self.nodes.iter().filter_map(|node| node.member.as_ref());
        quiet
            && !running.any(|member| member.core.says_farewell())
            && leader.is_some_and(|leader| self.common.is_member(leader))
            && applied(first) == last
            && members.all(|member| {
                member.core.role().leader == leader
                    && member.core.last_index() == last
                    && applied(member) == last
            })
    }

    fn watch_all(&mut self) -> Result<(), Violation> {
        let members = self.members();
        let Self { common, nodes } = self;
        for node in nodes.iter_mut().filter(|node| members.contains(&node.id())) {
            for at in 0..node.watchers.len() {
                while node.watch(common, at)? {}
            }
            for at in 0..node.watches.len() {
                while node.watch_v3(common, at)? {}
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
            invariants::no_lost_acknowledgement::all_are_there(history, applier)?;
            invariants::replay::equals(applier, &self.common.mirror.applier)?;
            invariants::watch_order::saw_everything(history, &node.watchers, applier)?;
            invariants::watch_reliable::is_all(history, &node.watches, applier)?;
        }
        Ok(())
    }
}
