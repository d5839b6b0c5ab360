//! What may happen next in a world, and how often: another mixture for every seed.
//!
//! Many faults at once hide each other: a member that is always down is never slow. So a seed
//! leaves some out, and has others often.

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// At one of the members.
    At(Event),
    /// A client asks for something of one of few keys, and waits for the answer.
    Ask,
    Deliver,
    Transferring,
    /// The stream of a snapshot breaks.
    BreakOff,
    Cut,
    Mend,
    /// Somebody changes the members.
    Change,
}

/// What may happen at a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Propose,
    Read,
    Log,
    Sync,
    TellPersisted,
    Apply,
    TellApplied,
    Flush,
    Install,
    Compact,
    CompactStep,
    Watch,
    Tick,
    Unreachable,
    HandOver,
    Rebuild,
    PlanFailure,
    FailSync,
    FillDisk,
    Crash,
    Restart,
    Start,
    /// The process stops for a while, and its machine goes on; and the other way round.
    Pause,
    Resume,
    /// The disk becomes slow, or quick again.
    Slow,
    /// Somebody moves the clock.
    Skew,
    /// A follower's keyspace falls behind its log, or has caught up.
    Lag,
}

use Action::At;

/// With their weights, where there is one member.
const ALONE: &[(Action, u32)] = &[
    (At(Event::Propose), 300),
    (Action::Ask, 100),
    (At(Event::Read), 40),
    (At(Event::Log), 300),
    (At(Event::Sync), 300),
    (At(Event::TellPersisted), 250),
    (At(Event::Apply), 300),
    (At(Event::TellApplied), 200),
    (At(Event::Flush), 80),
    (At(Event::Compact), 20),
    (At(Event::CompactStep), 40),
    (At(Event::Watch), 100),
    (At(Event::Tick), 150),
    (At(Event::PlanFailure), 50),
    (At(Event::FailSync), 10),
    (At(Event::FillDisk), 5),
    (At(Event::Crash), 10),
    (At(Event::Restart), 10),
    (At(Event::Slow), 5),
    (At(Event::Skew), 5),
];

/// And where there are several: one write takes a dozen steps, and an election more.
const SEVERAL: &[(Action, u32)] = &[
    (At(Event::Propose), 40),
    (Action::Ask, 120),
    (At(Event::Read), 8),
    (At(Event::Log), 200),
    (At(Event::Sync), 200),
    (At(Event::TellPersisted), 200),
    (At(Event::Apply), 200),
    (At(Event::TellApplied), 200),
    (At(Event::Flush), 20),
    (At(Event::Compact), 3),
    (At(Event::CompactStep), 12),
    (At(Event::Watch), 40),
    (At(Event::Tick), 200),
    (Action::Deliver, 500),
    (Action::Transferring, 60),
    (Action::BreakOff, 1),
    (At(Event::Install), 30),
    (At(Event::PlanFailure), 4),
    (At(Event::FailSync), 1),
    (At(Event::FillDisk), 1),
    (At(Event::Crash), 1),
    (At(Event::Restart), 2),
    (At(Event::Start), 12),
    (At(Event::Pause), 2),
    (At(Event::Resume), 6),
    (At(Event::Slow), 1),
    (At(Event::Skew), 1),
    (Action::Cut, 2),
    (Action::Mend, 2),
    (At(Event::Unreachable), 2),
    (At(Event::HandOver), 3),
    (At(Event::Rebuild), 1),
    (At(Event::Lag), 4),
    (Action::Change, 14),
];

/// What a world may have none of, or very much; what ends something comes as often as what begins
/// it.
const SWARMS: &[&[Action]] = &[
    &[Action::Cut, Action::Mend],
    &[At(Event::Pause), At(Event::Resume)],
    &[At(Event::Crash), At(Event::PlanFailure)],
    &[At(Event::Restart)],
    &[At(Event::FailSync)],
    &[At(Event::FillDisk)],
    &[At(Event::Slow)],
    &[At(Event::Skew)],
    &[Action::BreakOff],
    &[At(Event::Unreachable)],
    &[At(Event::HandOver)],
    &[At(Event::Rebuild)],
    &[At(Event::Lag)],
    &[Action::Change],
    &[At(Event::Compact)],
];
/// How many times as often.
const FACTORS: [u32; 5] = [0, 1, 1, 1, 4];
/// In one of so many worlds little goes wrong, and much is done.
const FAIR: usize = 4;
const FACTORS_WHEN_FAIR: [u32; 4] = [0, 0, 0, 1];

/// One message in so many is lost between several members, and one repeated.
const FAULTY: [usize; 4] = [0, 6, 12, 40];
/// Of so many messages one overtakes those that were sent before.
const HASTY: [usize; 3] = [2, 4, 30];
/// Of so many elections one is followed by the worst at once.
const MALICE: [usize; 3] = [0, 0, 2];
/// How far clocks are off, in milliseconds.
const SKEW_MAX: [i64; 3] = [0, 300, 5_000];

/// What may happen in the world of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    actions: Vec<(Action, u32)>,
    total: u32,
    /// One message in so many is lost, and one repeated; none if 0.
    pub(crate) faulty: usize,
    pub(crate) hasty: usize,
    pub(crate) skew_max: i64,
    /// Of so many elections one is followed by the worst at once; none if 0.
    pub(crate) malice: usize,
}

impl Event {
    /// Whether it happens to the machine, or to the process from outside; a process that is paused
    /// does nothing else.
    pub(crate) fn is_from_outside(self) -> bool {
        let from_outside = [
            Self::PlanFailure,
            Self::FailSync,
            Self::FillDisk,
            Self::Crash,
            Self::Restart,
            Self::Start,
            Self::Pause,
            Self::Resume,
            Self::Slow,
            Self::Skew,
        ];
        from_outside.contains(&self)
    }

    /// Whether a member has it to do, or not.
    pub(crate) fn is_work(self) -> bool {
        use Event::{Apply, Flush, Install, Log, Sync, TellApplied, TellPersisted};
        [Apply, Flush, Install, Log, Sync, TellApplied, TellPersisted].contains(&self)
    }

    /// Whether it waits for the disk.
    pub(crate) fn is_of_disk(self) -> bool {
        matches!(self, Self::Log | Self::Sync | Self::Flush | Self::Install)
    }
}

impl Weather {
    pub(crate) fn new(rng: &mut fastrand::Rng, alone: bool) -> Self {
        let table = if alone { ALONE } else { SEVERAL };
        let is_fair = rng.usize(..FAIR) == 0;
        let factor = |swarm: &&[Action], rng: &mut fastrand::Rng| match swarm {
            [Action::Change] if is_fair => 4,
            _ if is_fair => one_of(rng, &FACTORS_WHEN_FAIR),
            _ => one_of(rng, &FACTORS),
        };
        let factors: Vec<u32> = SWARMS.iter().map(|swarm| factor(swarm, rng)).collect();
        let factor = |action: Action| {
            let swarm = SWARMS.iter().position(|swarm| swarm.contains(&action));
            swarm.and_then(|at| factors.get(at).copied()).unwrap_or(1)
        };
        let actions: Vec<(Action, u32)> =
            table.iter().map(|(action, weight)| (*action, weight * factor(*action))).collect();
        let total = actions.iter().map(|(_, weight)| weight).sum();
        let faulty = if alone { 0 } else { one_of(rng, &FAULTY) };
        let (hasty, skew_max) = (one_of(rng, &HASTY), one_of(rng, &SKEW_MAX));
        let malice = if alone { 0 } else { one_of(rng, &MALICE) };
        Self { actions, total, faulty, hasty, skew_max, malice }
    }

    /// A world in which nothing goes wrong by itself.
    pub(crate) fn calm() -> Self {
        Self { actions: Vec::new(), total: 0, faulty: 0, hasty: 0, skew_max: 0, malice: 0 }
    }

    /// Of eight ticks how many a member leaves out.
    pub(crate) fn laziness(&self, rng: &mut fastrand::Rng) -> u8 {
        if self.total == 0 { 0 } else { one_of(rng, &[0, 0, 0, 2, 4, 7]) }
    }

    /// What happens next.
    pub(crate) fn pick(&self, rng: &mut fastrand::Rng) -> Action {
        let mut at = rng.u32(..self.total);
        for (action, weight) in &self.actions {
            if at < *weight {
                return *action;
            }
            at -= weight;
        }
        At(Event::Tick)
    }
}

fn one_of<T: Copy + Default>(rng: &mut fastrand::Rng, choices: &[T]) -> T {
    choices.get(rng.usize(..choices.len())).copied().unwrap_or_default()
}
