//! The members, the network between them and the clock; and what may happen next.

use std::{path::Path, sync::Arc, time::Duration};

use base::{Disk, MemberId, Term, UnixNanos, disk::MemDisk};
use proto::command::Member;
use state::apply::membership_change::Change;
use wal::Entry;

use crate::{
    Options, Report, Violation,
    history::History,
    invariants,
    mirror::Mirror,
    network::{Network, one_in},
    node::Node,
    running::{self, Who},
    trace::Trace,
    transfers::Transfer,
    weather::{Action, Event, Weather},
};

/// A whole simulated world.
pub(crate) struct World {
    pub(crate) common: Common,
    pub(crate) nodes: Vec<Node>,
}

impl Drop for World {
    /// Nobody needs files that are closed in order.
    fn drop(&mut self) {
        for node in &self.nodes {
            node.disk.crash();
        }
    }
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
    pub(crate) weather: Weather,
    pub(crate) mirror: Mirror,
    /// So many founded the cluster.
    pub(crate) of: u64,
    /// Whoever starts again is of a build that is a version on.
    pub(crate) rolls: bool,
}

/// What a world begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// So many found the cluster.
    pub(crate) of: u64,
    /// Those who are there, with what they have on their disks.
    pub(crate) members: Vec<(MemberId, MemDisk)>,
    /// They are to go on alone.
    pub(crate) forced: bool,
    /// All that has happened before.
    pub(crate) history: History,
}

/// Clusters have so many members at least, and at most, when members come and go.
const MEMBERS: std::ops::RangeInclusive<usize> = 1..=6;

impl Beginning {
    /// A cluster of so many that is founded now.
    pub(crate) fn founding(of: u64, rng: &mut fastrand::Rng) -> Self {
        let members = (1..=of).map(|id| (MemberId(id), MemDisk::new(rng.u64(..)))).collect();
        Self { of, members, forced: false, history: History::new() }
    }
}

impl World {
    pub(crate) fn new(
        mut rng: fastrand::Rng,
        beginning: Beginning,
        weather: Weather,
        options: Options,
    ) -> Result<Self, Violation> {
        let Beginning { of, members, forced, history } = beginning;
        let mut common = Common {
            mirror: Mirror::new(&history, of)?,
            network: Network::new(&weather, options.sabotage),
            trace: Trace::new(options.trace),
            report: Report::default(),
            transfers: Vec::new(),
            rng: rng.fork(),
            options,
            weather,
            history,
            of,
            rolls: false,
        };
        let mut nodes = Vec::new();
        for (id, disk) in members {
            nodes.push(begin(&mut common, disk, Who { id, of, run: 0, forced, next: false })?);
        }
        Ok(Self { common, nodes })
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            sent: (self.common.history.sent.len() + self.common.history.sent_v3.len()) as u64,
            acknowledged: self.common.history.acknowledged.len() as u64,
            ..self.common.report
        }
    }

    /// Who there is, with a copy of their disks as they would find them if they were killed now.
    pub(crate) fn disks(&mut self) -> Vec<(MemberId, MemDisk)> {
        let Self { common, nodes } = self;
        let mut disk = |node: &Node| {
            let disk = node.disk.fork(common.rng.u64(..));
            disk.set_capacity(None);
            disk
        };
        nodes.iter().map(|node| (node.id(), disk(node))).collect()
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Lets something happen.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        self.common.report.steps += 1;
        let action = self.common.weather.pick(&mut self.common.rng);
        let elections = self.common.report.elections;
        self.act(action)?;
        if self.common.report.elections > elections {
            self.tempt();
            if one_in(self.common.weather.malice, &mut self.common.rng) {
                self.strike()?;
            }
        }
        Ok(())
    }

    /// Some clients turn to whoever still believes that it leads.
    fn tempt(&mut self) {
        let Self { common, nodes } = self;
        let terms = nodes.iter().filter(|node| node.leads());
        let Some(deposed) = terms.min_by_key(|node| node.term()) else { return };
        for _ in 0..3 {
            if let Some((caller, _)) = common.history.registers.idle(&mut common.rng) {
                common.history.registers.turn(caller, deposed.id());
            }
        }
    }

    /// Whoever has just been elected is cut off, and another loses its power, perhaps one of those
    /// whose votes it has.
    fn strike(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        let ids: Vec<MemberId> = nodes.iter().map(Node::id).collect();
        let terms = nodes.iter().filter(|node| node.leads());
        if let Some(leader) = terms.max_by_key(|node| node.term()) {
            common.report.parted += 1;
            common.network.isolate(leader.id(), &ids);
        }
        let at = common.rng.usize(..nodes.len());
        if let Some(node) = nodes.get_mut(at) {
            node.crash(common)?;
        }
        self.look()
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        let ids: Vec<MemberId> = self.nodes.iter().map(Node::id).collect();
        let Common { network, rng, report, .. } = &mut self.common;
        match action {
            Action::Ask => return self.ask(),
            Action::Deliver => return self.deliver().map(|_| ()),
            Action::Transferring => return self.transfer(),
            Action::BreakOff => self.break_off(),
            Action::Change => return self.change(),
            Action::Cut => network.cut(&ids, rng, report),
            Action::Mend if rng.u8(..4) == 0 => network.mend_one(rng),
            Action::Mend => network.mend(),
            Action::At(event) => self.happens(event, &ids)?,
        }
        self.look()
    }

    /// Something happens at one of the members; if it is work, at one of those that have it to do.
    fn happens(&mut self, event: Event, ids: &[MemberId]) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        if event == Event::Tick {
            let millis = common.rng.u64(1..200) / ids.len() as u64;
            common.pass(Duration::from_millis(millis));
        }
        let may = |node: &&mut Node| !event.is_work() || node.waits_for(event);
        let mut nodes: Vec<&mut Node> = nodes.iter_mut().filter(may).collect();
        let at = common.rng.usize(..nodes.len().max(1));
        match nodes.get_mut(at) {
            Some(node) if node.is_able_to(event, &mut common.rng) => {
                node.happens(common, event, ids)
            }
            _ => Ok(()),
        }
    }

    /// Something happens at this member, if there is anything of that to do; returns whether it
    /// did.
    pub(crate) fn happens_at(&mut self, at: usize, event: Event) -> Result<bool, Violation> {
        let Self { common, nodes } = self;
        let waits = |node: &&mut Node| node.listens() && node.waits_for(event);
        let Some(node) = nodes.get_mut(at).filter(waits) else { return Ok(false) };
        node.happens(common, event, &[])?;
        self.look().map(|()| true)
    }

    pub(crate) fn node(&self, id: MemberId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id() == id)
    }

    /// Whether there is a snapshot on its way between two who are not paused.
    pub(crate) fn has_transfers(&self) -> bool {
        let listens = |id| self.node(id).is_none_or(Node::listens);
        let mut ways = self.common.transfers.iter().map(Transfer::way);
        ways.any(|(from, to)| listens(from) && listens(to))
    }

    pub(crate) fn look(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        nodes.iter_mut().try_for_each(|node| {
            node.notice_power(common)?;
            node.run(common, |member, _| {
                member.step();
                Ok(())
            })
        })
    }

    /// A client of the registers asks the member that it is with, or turns to another.
    fn ask(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        let Some((caller, at)) = common.history.registers.idle(&mut common.rng) else {
            return Ok(());
        };
        let answers = |node: &&mut Node| node.id() == at && node.member.is_some() && node.listens();
        if let Some(node) = nodes.iter_mut().find(answers) {
            node.ask(common, caller)?;
        } else {
            let other = nodes.get(common.rng.usize(..nodes.len())).map_or(at, Node::id);
            common.history.registers.turn(caller, other);
        }
        self.look()
    }

    /// One message comes to whom it is for; false if there is none for those who listen.
    pub(crate) fn deliver(&mut self) -> Result<bool, Violation> {
        let Self { common, nodes } = self;
        let Common { network, rng, report, .. } = common;
        let listens = |id| nodes.iter().all(|node| node.id() != id || node.listens());
        let Some((to, message)) = network.deliver(listens, rng, report) else { return Ok(false) };
        if let Some(node) = nodes.iter_mut().find(|node| node.id() == to) {
            node.receive(common, message)?;
        }
        self.look().map(|()| true)
    }

    /// Somebody adds a member, which starts at once, removes one, makes a voter of a learner, moves
    /// one to another address, or tries to bring back one that was removed.
    fn change(&mut self) -> Result<(), Violation> {
        let Self { common, nodes } = self;
        let members = common.mirror.applier.state().reader().members();
        let ids: Vec<MemberId> = members.members.keys().copied().collect();
        let learner = members.members.values().find(|member| member.learner);
        let (at, newest) = (common.rng.usize(..nodes.len()), 100 + nodes.len() as u64);
        let any = common.rng.usize(..ids.len().max(1));
        // Nobody but the leader can promote anybody.
        let leader = nodes.iter().position(Node::leads).filter(|_| learner.is_some());
        let at = leader.filter(|_| common.rng.u8(..4) > 0).unwrap_or(at);
        let Some(node) = nodes.get_mut(at).filter(|node| node.listens()) else { return Ok(()) };
        match (learner, common.rng.u8(..8)) {
            (Some(learner), 0..5) => {
                node.change(common, &Change::Promote(learner.id));
            }
            (_, 0..4) if ids.len() < *MEMBERS.end() => {
                let added = running::member(newest);
                let learners = common.rng.u32(..3);
                let change = match learners {
                    0 => Change::Add(added),
                    _ => Change::AddLearner(added, learners),
                };
                if node.change(common, &change) {
                    let disk = MemDisk::new(common.rng.u64(..));
                    let (id, next) = (MemberId(newest), common.rolls);
                    let who = Who { id, of: common.of, run: 0, forced: false, next };
                    nodes.push(begin(common, disk, who)?);
                }
            }
            (_, 4 | 5) if ids.len() > *MEMBERS.start() => {
                let gone = ids.get(any).copied().unwrap_or_default();
                node.change(common, &Change::Remove(gone));
            }
            (_, 6) => {
                if let Some(gone) = members.removed.first() {
                    node.change(common, &Change::Add(running::member(gone.0)));
                }
            }
            (_, 7) => {
                if let Some(member) = ids.get(any).and_then(|id| members.members.get(id)) {
                    let peer_urls = vec![format!("http://moved-{}:2380", common.rng.u16(..))];
                    let moved = Member { peer_urls, ..running::member(member.id.0) };
                    node.change(common, &Change::Update(moved));
                }
            }
            _ => {}
        }
        self.look()
    }

    /// Moves a snapshot that is being sent one step on.
    pub(crate) fn transfer(&mut self) -> Result<(), Violation> {
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

    /// The stream of a snapshot breaks.
    fn break_off(&mut self) {
        let Common { transfers, rng, .. } = &mut self.common;
        let at = rng.usize(..transfers.len().max(1));
        if let Some(transfer) = transfers.get_mut(at) {
            transfer.break_off();
        }
    }
}

/// A member on a disk of its own.
fn begin(common: &mut Common, disk: MemDisk, who: Who) -> Result<Node, Violation> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let home = Path::new(running::HOME);
    shared.create_dir_all(home).map_err(|error| Violation::new("opening", error))?;
    let who = Who { run: common.rng.u64(..) >> 8, ..who };
    let mut node = Node::new(who, disk, common)?;
    node.condition.laziness = common.weather.laziness(&mut common.rng);
    node.move_clock(common);
    Ok(node)
}

impl Common {
    /// Whether this member belongs to the cluster, by all that was ever applied.
    pub(crate) fn is_member(&self, id: MemberId) -> bool {
        self.mirror.applier.state().reader().members().members.contains_key(&id)
    }

    /// A member has applied this entry, while it was in this term.
    pub(crate) fn applied(&mut self, entry: &Entry, term: Term) -> Result<(), Violation> {
        let Self { history, mirror, report, of, rolls, .. } = self;
        invariants::apply_agreement::is_as_before(history, entry)?;
        let first = history.applied_in.entry(entry.index.0).or_insert(term);
        *first = term.min(*first);
        if history.outcomes.contains_key(&entry.index.0) {
            return Ok(());
        }
        invariants::only_sent::stands_once(history, entry)?;
        report.new += u64::from(*rolls && running::is_new(entry));
        report.noted += invariants::leases::apply(history, entry)?;
        let before = mirror.applier.state().reader().members();
        let commits = mirror.apply(entry)?;
        if entry.kind != 0 {
            let after = mirror.applier.state().reader().members();
            invariants::membership::goes_on(history, &before, &after)?;
            if entry.index.0 > *of {
                report.count_changes(&before, &after);
            }
        }
        invariants::only_sent::were_asked_for(history, &commits)?;
        invariants::expiry::are_due(history, &commits)?;
        let by_revision = commits.iter().map(|commit| (commit.main, Arc::clone(commit)));
        history.commits.extend(by_revision);
        history.outcomes.insert(entry.index.0, commits);
        Ok(())
    }

    /// What the clocks show that never go back: nobody sets them, so they are right everywhere.
    pub(crate) fn monotonic(&self) -> Duration {
        UnixNanos::default().until(self.history.now)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let Self { history, mirror, rng, .. } = self;
        history.now = history.now.saturating_add(time);
        history.latest = history.latest.max(history.now);
        let members = mirror.applier.state().reader().members();
        let ids: Vec<MemberId> = members.members.keys().copied().collect();
        history.registers.expire(history.now, &ids, rng);
    }
}
