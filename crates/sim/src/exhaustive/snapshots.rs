//! Ends either side of a snapshot at every step of it: at every message, chunk and effect, and in
//! every operation of its disk.
//!
//! Three members, of which one was cut off until it needs a snapshot. From there on one thing
//! happens after the other, always the same ones, until at some point the sender or the receiver
//! loses its power or is killed. It comes back at once, or after the others have gone on without it;
//! and then everything must heal.

use std::sync::Arc;

use base::{Disk, MemberId, disk::MemDisk};

use crate::{
    Options, Report, Violation, invariants,
    node::Node,
    running::Running,
    steps::Steps,
    weather::Weather,
    world::{Beginning, World},
};

const MEMBERS: u64 = 3;
/// Written while the receiver is cut off, and while the snapshot is under way.
const WRITES_BEFORE: usize = 40;
/// More writes than it takes until all logs are cut.
const WRITES_BEFORE_MAX: usize = 400;
const WRITES_MEANWHILE: u64 = 12;
/// A write comes after so many steps of the snapshot.
const STEPS_PER_WRITE: u64 = 6;
/// Steps after which everything that is done for a write has been done.
const STEPS_TO_WRITE: usize = 60;
/// What stays down does so for so many steps of the others.
const STEPS_DOWN: usize = 400;
/// More steps than anything takes.
const STEPS_MAX: u64 = 20_000;

const NAME: &str = "exhaustive";

/// Who ends, when and how.
#[derive(Clone, Copy, Debug)]
struct End {
    side: Side,
    moment: Moment,
    is_killed: bool,
    stays_down: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Sender,
    Receiver,
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Before this step of the snapshot.
    Step(u64),
    /// In this operation of its disk.
    Operation(u64),
}

/// Where all stories of a seed begin.
struct Stories {
    before: World,
    options: Options,
    seed: u64,
    every: u64,
    total: Report,
}

/// Runs the story of one seed once for every end that it can have, or for every so-manieth.
pub(crate) fn run(seed: u64, every: u64, options: Options) -> Result<Report, Violation> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let beginning = Beginning::founding(MEMBERS, &mut rng);
    let mut before = World::new(rng, beginning, Weather::calm(), options)?;
    cut_off(&mut before)?;
    let mut stories = Stories { before, options, seed, every, total: Report::default() };
    for side in [Side::Receiver, Side::Sender] {
        for stays_down in [false, true] {
            let (moment, is_killed) = (Moment::Step(0), false);
            let power = End { side, moment, is_killed, stays_down };
            stories.each(|step| End { moment: Moment::Step(step), ..power })?;
            stories.each(|step| End { moment: Moment::Step(step), is_killed: true, ..power })?;
            stories.each(|at| End { moment: Moment::Operation(at), ..power })?;
        }
    }
    Ok(stories.total)
}

/// Until one member needs a snapshot, whoever leads the others.
fn cut_off(world: &mut World) -> Result<(), Violation> {
    world.settle()?;
    let members = world.members();
    let leads = |id: &&MemberId| world.node(**id).is_some_and(Node::leads);
    let lagging = members.iter().find(|id| !leads(id)).copied().unwrap_or_default();
    world.common.network.isolate(lagging, &members);
    let mut steps = Steps::default();
    for written in 0..WRITES_BEFORE_MAX {
        if written >= WRITES_BEFORE && is_left_behind(world, lagging) {
            return Ok(());
        }
        world.propose(1);
        steps.many(world, STEPS_TO_WRITE)?;
    }
    Err(Violation::new(NAME, "not every log is cut behind what one member has"))
}

/// Whether no other member has the entry any more that comes next to this one.
fn is_left_behind(world: &World, lagging: MemberId) -> bool {
    let up = || world.nodes.iter().filter_map(|node| Some((node.id(), node.member.as_ref()?)));
    let Some((_, behind)) = up().find(|(id, _)| *id == lagging) else { return false };
    let next = behind.core.last_index().0 + 1;
    up().all(|(id, other)| id == lagging || other.wal.first().0 > next)
}

impl Stories {
    /// One moment after the other, until the snapshot is over before it comes.
    fn each(&mut self, end: impl Fn(u64) -> End) -> Result<(), Violation> {
        for moment in (0..STEPS_MAX).step_by(usize::try_from(self.every).unwrap_or(1)) {
            let end = end(moment);
            let (ended, report) = self.story(end).map_err(|Violation { invariant, text }| {
                Violation::new(invariant, format!("{text}; {end:?}"))
            })?;
            self.total += report;
            if !ended {
                return Ok(());
            }
            self.total.exhausted += 1;
        }
        Err(Violation::new(NAME, "a snapshot never comes to an end"))
    }

    /// Returns whether the end came before the snapshot was over.
    fn story(&mut self, end: End) -> Result<(bool, Report), Violation> {
        let beginning = Beginning {
            of: MEMBERS,
            members: self.before.disks(),
            forced: false,
            history: self.before.common.history.clone(),
        };
        let rng = fastrand::Rng::with_seed(self.seed);
        let mut world = World::new(rng, beginning, Weather::calm(), self.options)?;
        let mut steps = Steps::default();
        let (sender, receiver) = begin(&mut world, &mut steps)?;
        let whose = if end.side == Side::Sender { sender } else { receiver };
        let ended = go_on(&mut world, &mut steps, whose, end)?;
        if ended && end.stays_down {
            self.total.exhausted += crash_while_opening(&mut world, whose)?;
            steps.many(&mut world, STEPS_DOWN)?;
        }
        world.heal()?;
        if !ended && world.report().installs == 0 {
            return Err(Violation::new(NAME, "nobody has taken over a snapshot"));
        }
        Ok((ended, world.report()))
    }
}

/// What is down loses its power again in every operation of its next start, which may have to finish
/// a switch to the snapshot. This happens to copies of its disk. Returns how often.
fn crash_while_opening(world: &mut World, whose: MemberId) -> Result<u64, Violation> {
    let World { common, nodes } = world;
    let Some(node) = nodes.iter().find(|node| node.id() == whose) else { return Ok(0) };
    let open = |disk: &MemDisk| {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        Running::open(&shared, node.who, common.options.sabotage)
    };
    for operations in 0..STEPS_MAX {
        let disk = node.disk.fork(common.rng.u64(..));
        disk.fail_after(operations);
        let opened = open(&disk);
        let is_over = !disk.failed();
        disk.crash();
        drop(opened);
        let member = open(&disk).map_err(|error| Violation::new("opening", error))?;
        let applied = member.backend.durable().index;
        invariants::durable::stays(&common.history, whose, applied)?;
        let is_known = common.history.outcomes.contains_key(&applied.0);
        invariants::durable::was_applied(is_known, applied)?;
        disk.crash();
        drop(member);
        if is_over {
            return Ok(operations);
        }
    }
    Err(Violation::new(NAME, "opening never comes to an end"))
}

/// Until a snapshot is about to be sent. Returns from whom to whom.
fn begin(world: &mut World, steps: &mut Steps) -> Result<(MemberId, MemberId), Violation> {
    for _ in 0..STEPS_MAX {
        if let Some(transfer) = world.common.transfers.first() {
            return Ok(transfer.way());
        }
        steps.one(world)?;
    }
    Err(Violation::new(NAME, "nobody needs a snapshot"))
}

/// Until the end, or the snapshot is over and all are one again.
fn go_on(
    world: &mut World,
    steps: &mut Steps,
    whose: MemberId,
    end: End,
) -> Result<bool, Violation> {
    let crashes = world.common.report.crashes;
    if let Some(node) = world.nodes.iter_mut().find(|node| node.id() == whose) {
        node.condition.stays_down = Some(end.stays_down);
        if let Moment::Operation(operations) = end.moment {
            node.disk.fail_after(operations);
        }
    }
    for step in 0..STEPS_MAX {
        if let Moment::Step(at) = end.moment
            && at == step
        {
            let World { common, nodes } = world;
            if let Some(node) = nodes.iter_mut().find(|node| node.id() == whose) {
                node.end(common, end.is_killed)?;
            }
            return Ok(true);
        }
        let is_over = step > STEPS_PER_WRITE * WRITES_MEANWHILE && world.common.report.installs > 0;
        if is_over && world.has_settled() {
            return Ok(false);
        }
        if step.is_multiple_of(STEPS_PER_WRITE) && step < STEPS_PER_WRITE * WRITES_MEANWHILE {
            world.propose(1);
        }
        steps.one(world)?;
        if world.common.report.crashes > crashes {
            return Ok(true);
        }
    }
    Err(Violation::new(NAME, "a snapshot never comes to an end"))
}
