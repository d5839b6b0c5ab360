//! One member goes on as the only one, by force, when the others are lost; and loses its power in
//! every operation of its disk while it is made to.

use std::sync::Arc;

use base::{Disk, MemberId, disk::MemDisk};

use crate::{
    Violation,
    running::{Running, Who},
    weather::Weather,
    world::{Beginning, World},
};

/// More operations than opening takes.
const OPERATIONS_MAX: u64 = 2_000;

const NAME: &str = "exhaustive";

/// Branches off a world in which all have all that was acknowledged. Returns how often that was:
/// once for every operation, or only once.
pub(crate) fn run(world: &mut World, exhaustive: bool) -> Result<u64, Violation> {
    let voters = world.voters();
    let at = world.common.rng.usize(..voters.len().max(1));
    let Some(id) = voters.get(at).copied() else { return Ok(0) };
    if !exhaustive {
        let operations = world.common.rng.u64(..8);
        force(world, id, operations)?;
        return Ok(1);
    }
    for operations in 0..OPERATIONS_MAX {
        if force(world, id, operations)? {
            return Ok(operations);
        }
    }
    Err(Violation::new(NAME, "a cluster is never forced to go on"))
}

/// The power fails in an operation of the forced opening; then it is opened again. Returns whether
/// the opening was over before.
fn force(world: &mut World, id: MemberId, operations: u64) -> Result<bool, Violation> {
    let disks = world.disks().into_iter();
    let Some((_, disk)) = disks.into_iter().find(|(one, _)| *one == id) else { return Ok(true) };
    disk.fail_after(operations);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let run = world.common.rng.u64(..) >> 8;
    let who = Who { id, of: world.common.of, run, forced: true, next: false };
    let opened = Running::open(&shared, who, world.common.options.sabotage);
    let is_over = !disk.failed();
    disk.crash();
    // Not before: or it would close its files in order.
    drop(opened);

    let mut alone = branch(world, (id, disk), true)?;
    alone.is_one_again(id)?;
    // And from then on it is an ordinary cluster of one.
    let disk = alone.disks().into_iter().next().map(|(_, disk)| disk).unwrap_or_default();
    branch(&mut alone, (id, disk), false)?.is_one_again(id)?;
    Ok(is_over)
}

fn branch(
    world: &mut World,
    member: (MemberId, MemDisk),
    forced: bool,
) -> Result<World, Violation> {
    let history = world.common.history.clone();
    let beginning = Beginning { of: world.common.of, members: vec![member], forced, history };
    let rng = world.common.rng.fork();
    World::new(rng, beginning, Weather::calm(), world.common.options)
}

impl World {
    /// It is a cluster of this one, has all that was ever acknowledged, and takes writes.
    fn is_one_again(&mut self, id: MemberId) -> Result<(), Violation> {
        self.settle()?;
        self.check_all()?;
        if self.members() != [id] || self.voters() != [id] {
            let text = format!("{id} should be alone, and there are {:?}", self.members());
            return Err(Violation::new(NAME, text));
        }
        self.everybody_serves()?;
        self.check_all()
    }
}
