//! Loses power at every single operation of the disk while opening, flushing and cutting.

use base::disk::MemDisk;

use crate::{Violation, history::History, world::World};

/// More operations than any of these takes.
const OPERATIONS_MAX: u64 = 2_000;

/// Branches off the world, once for every operation. The world itself goes on as it was.
pub(crate) fn run(world: &mut World) -> Result<(), Violation> {
    while_opening(world)?;
    while_working(world)
}

/// Power is lost while what a crash left is opened; then it is opened again.
fn while_opening(world: &mut World) -> Result<(), Violation> {
    for operations in 0..OPERATIONS_MAX {
        let Some((disk, history)) = world.branch() else { return Ok(()) };
        disk.crash();
        disk.fail_after(operations);
        let whole = open(world, disk.clone(), history.clone()).is_ok() && !disk.failed();
        disk.crash();
        check(&mut open(world, disk, history)?)?;
        if whole {
            return Ok(());
        }
    }
    Err(Violation::new("exhaustive", "opening never comes to an end"))
}

/// Power is lost while writes are carried out, flushed, and the log is cut behind them.
fn while_working(world: &mut World) -> Result<(), Violation> {
    for operations in 0..OPERATIONS_MAX {
        let Some((disk, history)) = world.branch() else { return Ok(()) };
        let mut branch = open(world, disk.clone(), history)?;
        branch.settle()?;
        let crashes = branch.report().crashes;
        disk.fail_after(operations);
        branch.propose(20);
        branch.settle()?;
        check(&mut branch)?;
        if branch.report().crashes == crashes {
            return Ok(());
        }
    }
    Err(Violation::new("exhaustive", "working never comes to an end"))
}

fn check(branch: &mut World) -> Result<(), Violation> {
    branch.settle()?;
    branch.check_all()
}

fn open(world: &mut World, disk: MemDisk, history: History) -> Result<World, Violation> {
    let (options, trace) = (world.common.options, world.common.trace);
    let rng = fastrand::Rng::with_seed(world.common.rng.u64(..));
    World::new(rng, (disk, 1), history, options, trace)
}
