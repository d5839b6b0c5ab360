//! Loses power at every single operation of the disk while opening, flushing and cutting; and, in
//! [`snapshots`], at every step of a snapshot; in [`forced`], while a member is made the only one.

pub(crate) mod forced;
pub(crate) mod snapshots;

use std::sync::Arc;

use base::{Disk, MemberId, disk::MemDisk};

use crate::{
    Violation,
    running::{Running, Who},
    weather::Weather,
    world::{Beginning, World},
};

/// More operations than any of these takes.
const OPERATIONS_MAX: u64 = 2_000;

/// Branches off the world, once for every operation. The world itself goes on as it was. Returns how
/// often that was.
pub(crate) fn run(world: &mut World) -> Result<u64, Violation> {
    Ok(while_opening(world)? + while_working(world)?)
}

/// Power is lost while what a crash left is opened; then it is opened again.
fn while_opening(world: &mut World) -> Result<u64, Violation> {
    for operations in 0..OPERATIONS_MAX {
        let Some((who, disk)) = only(world) else { return Ok(operations) };
        disk.crash();
        disk.fail_after(operations);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let opened = Running::open(&shared, who, world.common.options.sabotage);
        let is_over = !disk.failed();
        disk.crash();
        // Not before: or it would close its files in order.
        drop(opened);
        check(&mut open(world, &disk)?)?;
        if is_over {
            return Ok(operations);
        }
    }
    Err(Violation::new("exhaustive", "opening never comes to an end"))
}

/// Power is lost while writes are carried out, flushed, and the log is cut behind them.
fn while_working(world: &mut World) -> Result<u64, Violation> {
    for operations in 0..OPERATIONS_MAX {
        let Some((_, disk)) = only(world) else { return Ok(operations) };
        let mut branch = open(world, &disk)?;
        branch.settle()?;
        let crashes = branch.report().crashes;
        disk.fail_after(operations);
        branch.propose(20);
        branch.settle()?;
        check(&mut branch)?;
        if branch.report().crashes == crashes {
            return Ok(operations);
        }
    }
    Err(Violation::new("exhaustive", "working never comes to an end"))
}

fn check(branch: &mut World) -> Result<(), Violation> {
    branch.settle()?;
    branch.check_all()
}

/// The only member, and its disk as it would find it if it were killed now.
fn only(world: &mut World) -> Option<(Who, MemDisk)> {
    let (id, disk) = world.disks().into_iter().next()?;
    let run = world.common.rng.u64(..) >> 8;
    Some((Who { id, of: 1, run, forced: false, next: false }, disk))
}

fn open(world: &mut World, disk: &MemDisk) -> Result<World, Violation> {
    let history = world.common.history.clone();
    let members = vec![(MemberId(1), disk.clone())];
    let rng = world.common.rng.fork();
    let beginning = Beginning { of: 1, members, forced: false, history };
    World::new(rng, beginning, Weather::calm(), world.common.options)
}
