//! Deterministic simulation: the real core, log, storage and state on a disk that forgets.
//!
//! One thread. A seed decides which of a member's effects is carried out next, what clients ask
//! for, how time goes, and when the power fails: between two steps, or in the middle of any
//! operation of the disk. After each loss of power the member is opened again from what is left,
//! and everything that was ever observed is held against it; see [`invariants`]. A seed that fails
//! fails again:
//!
//! ```text
//! cargo xtask sim --seed 42
//! ```

mod clients;
mod exhaustive;
mod healing;
mod history;
pub mod invariants;
mod mirror;
mod network;
mod node;
mod report;
mod running;
mod sabotage;
#[cfg(test)]
mod scenarios;
mod steps;
mod trace;
mod transfers;
mod watcher;
mod weather;
mod world;

use std::fmt;

pub use crate::{report::Report, sabotage::Sabotage};
use crate::{
    weather::Weather,
    world::{Beginning, World},
};

/// What a run is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Print every step.
    pub trace: bool,
    /// A fault that is built in on purpose, to see that the simulation finds it.
    pub sabotage: Option<Sabotage>,
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

/// Of so many seeds of one member one also loses power at every single operation of the disk while
/// opening, flushing and cutting.
const OPERATIONS_EVERY: u64 = 20;
/// Of so many seeds of several, in one a member goes on alone in the end; and of so many, one loses
/// power at every operation meanwhile.
const FORCED_EVERY: u64 = 10;
const FORCED_OPERATIONS_EVERY: u64 = 100;
/// Of so many seeds one also ends either side of a snapshot at every step of it, which takes as long
/// as some thousand others.
const SNAPSHOTS_EVERY: u64 = 4_000;

/// Runs one seed: faults first, then it must heal.
pub fn run(seed: u64, options: Options) -> Result<Report, Violation> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let of = members(seed);
    let weather = Weather::new(&mut rng, of == 1);
    let beginning = Beginning::founding(of, &mut rng);
    let mut world = World::new(rng.fork(), beginning, weather, options)?;
    world.common.rolls = rolls(seed);
    let steps = rng.u32(if of == 1 { 50..300 } else { 2_000..8_000 });
    for _ in 0..steps {
        world.step()?;
    }
    if of == 1 && seed.is_multiple_of(OPERATIONS_EVERY) {
        world.common.report.exhausted += exhaustive::run(&mut world)?;
    }
    world.heal()?;
    if seed % FORCED_EVERY == 3 {
        let every_operation = seed % FORCED_OPERATIONS_EVERY == 3;
        world.common.report.forced += exhaustive::forced::run(&mut world, every_operation)?;
    }
    let mut report = world.report();
    if seed % SNAPSHOTS_EVERY == 2 {
        report += run_snapshots(seed, 1, options)?;
    }
    Ok(report)
}

/// Ends either side of a snapshot at every single step of it, or at every so-manieth.
pub fn run_snapshots(seed: u64, every: u64, options: Options) -> Result<Report, Violation> {
    exhaustive::snapshots::run(seed, every, options)
}

/// Whether the members of this seed's world are upgraded, one by one: it has three.
fn rolls(seed: u64) -> bool {
    seed % 10 == 7
}

/// How many members the world of this seed has.
fn members(seed: u64) -> u64 {
    match seed % 10 {
        0 | 1 | 5 => 1,
        6 => 2,
        4 | 9 => 5,
        _ => 3,
    }
}
