//! Deterministic simulation: the real core, log, storage and state on a disk that forgets.
//!
//! One thread. A seed decides which of a member's effects is carried out next, what clients ask
//! for, how time goes, and when the power fails: between two steps, or in the middle of any
//! operation of the disk. After each loss of power the member is opened again from what is left,
//! and everything that was ever observed is held against it; see [`invariants`]. A seed that fails
//! fails again:
//!
//! ```text
//! cargo run --release -p sim -- --seed 42
//! ```

mod clients;
mod exhaustive;
mod history;
pub mod invariants;
mod mirror;
mod network;
mod node;
mod running;
mod trace;
mod transfers;
mod watcher;
mod world;

use std::fmt;

use base::disk::MemDisk;

use crate::{history::History, trace::Trace, world::World};

/// What a run is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Print every step.
    pub trace: bool,
    /// A fault that is built in on purpose, to see that the simulation finds it.
    pub sabotage: Option<Sabotage>,
}

/// A fault in how effects are carried out, which some invariant must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Tell the core that a batch is on disk before it is.
    AcknowledgeBeforeSync,
    /// Cut the log up to what is applied, before that is durable.
    CutBeforeFlush,
    /// Lose the hard state: it is not written.
    ForgetHardState,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {text}")]
pub struct Violation {
    pub invariant: &'static str,
    pub text: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, text: impl fmt::Display) -> Self {
        Self { invariant, text: text.to_string() }
    }
}

/// How much a run has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub steps: u64,
    pub sent: u64,
    pub acknowledged: u64,
    pub crashes: u64,
    pub cuts: u64,
    pub elections: u64,
    /// Entries that changed the members, after the founding.
    pub changes: u64,
    /// Snapshots that came to a follower whole, and those of them that were taken over.
    pub snapshots: u64,
    pub installs: u64,
}

/// Seeds of which every so-many-th also loses power at every single operation of the disk while
/// opening, flushing and cutting.
const EXHAUSTIVE_EVERY: u64 = 20;

/// Runs one seed: faults first, then it must heal.
pub fn run(seed: u64, options: Options) -> Result<Report, Violation> {
    let trace = Trace::new(options.trace);
    let rng = fastrand::Rng::with_seed(seed);
    let disk = MemDisk::new(seed);
    let of = members(seed);
    let mut world = World::new(rng, (disk, of), History::default(), options, trace)?;
    let steps = world.common.rng.u32(if of == 1 { 50..300 } else { 2_000..6_000 });
    for _ in 0..steps {
        world.step()?;
    }
    if of == 1 && seed.is_multiple_of(EXHAUSTIVE_EVERY) {
        exhaustive::run(&mut world)?;
    }
    world.heal()?;
    Ok(world.report())
}

/// How many members the world of this seed has.
fn members(seed: u64) -> u64 {
    match seed % 5 {
        0 | 1 => 1,
        2 | 3 => 3,
        _ => 5,
    }
}
