//! How a member ends, and begins again: its power, its process, its disk.

use std::sync::Arc;

use base::{Disk, disk::MemDisk};

use super::Node;
use crate::{
    Violation, invariants,
    running::{Running, Who},
    world::Common,
};

/// Power that will fail does so within so many operations of the disk.
const OPERATIONS_MAX: u64 = 24;
/// How far a disk that is being filled may still grow.
const ROOM_MAX: u64 = 64 << 10;

impl Node {
    /// The power will fail soon, in the middle of something.
    pub(crate) fn plan_failure(&mut self, common: &mut Common) {
        let operations = common.rng.u64(..OPERATIONS_MAX);
        let id = self.id();
        common.trace.step("plan", format!("power fails at {id} in {operations} operations"));
        self.disk.fail_after(operations);
    }

    pub(crate) fn fail_sync(&mut self, common: &Common) {
        if self.member.is_none() {
            return;
        }
        common.trace.step("plan", format!("the next sync fails at {}", self.id()));
        self.disk.fail_next_sync();
        self.condition.sync_fails = true;
    }

    /// What a sync just now should have written is of no use to anybody.
    pub(crate) fn overlook_failed_sync(&mut self) {
        self.condition.failed_syncs = self.disk.failed_syncs();
    }

    /// Something else takes nearly all the room on the disk.
    pub(crate) fn fill_disk(&mut self, common: &mut Common) {
        if self.member.is_none() {
            return;
        }
        let room = common.rng.u64(..ROOM_MAX);
        common.trace.step("plan", format!("{room} bytes are left at {}", self.id()));
        self.disk.set_capacity(Some(self.disk.used() + room));
        self.condition.disk_is_full = true;
    }

    /// The power may have failed in something that the member did not wait for.
    pub(crate) fn notice_power(&mut self, common: &mut Common) -> Result<(), Violation> {
        if self.member.is_some() && self.disk.failed() { self.crash(common) } else { Ok(()) }
    }

    /// The power fails, and comes back; perhaps not at once.
    pub(crate) fn crash(&mut self, common: &mut Common) -> Result<(), Violation> {
        self.lose_power(common);
        let is_expected_down = self.condition.stays_down;
        if is_expected_down.unwrap_or_else(|| self.who.of > 1 && common.rng.bool()) {
            return Ok(());
        }
        self.start(common)
    }

    /// The power fails.
    pub(crate) fn lose_power(&mut self, common: &mut Common) {
        common.trace.step("crash", self.id());
        common.report.crashes += 1;
        // First, or the process would still close its files in order.
        let damage = self.disk.crash();
        self.forget(common);
        common.report.unsynced += damage.lost;
        common.report.torn += damage.torn;
    }

    /// It is killed or loses its power, and comes back at once unless it is to stay down.
    pub(crate) fn end(&mut self, common: &mut Common, is_killed: bool) -> Result<(), Violation> {
        if !is_killed {
            return self.crash(common);
        }
        self.kill(common);
        if self.condition.stays_down == Some(true) { Ok(()) } else { self.start(common) }
    }

    /// The process ends, killed or in good order; the machine goes on.
    pub(crate) fn restart(&mut self, common: &mut Common) -> Result<(), Violation> {
        let has_failed = self.condition.sync_fails || self.condition.disk_is_full;
        if common.rng.bool() || has_failed {
            self.kill(common);
        } else {
            self.stop(common);
        }
        self.start(common)
    }

    /// The process ends in good order, unless the power fails meanwhile.
    fn stop(&mut self, common: &mut Common) {
        common.trace.step("stop", self.id());
        if let Some(member) = &self.member {
            drop(member.backend.flush());
            drop(member.backend.close());
        }
        if self.disk.failed() {
            self.lose_power(common);
        } else {
            self.leave_disk(common);
        }
    }

    /// The process is killed.
    pub(crate) fn kill(&mut self, common: &mut Common) {
        common.trace.step("kill", self.id());
        common.report.killed += 1;
        self.leave_disk(common);
    }

    fn leave_disk(&mut self, common: &mut Common) {
        // The old process has files open, and would close them in order: they are those of another
        // disk now, where nothing can be written any more.
        let disk = self.disk.fork(common.rng.u64(..));
        std::mem::replace(&mut self.disk, disk).crash();
        self.forget(common);
    }

    /// From its next start on its build is a version on.
    pub(crate) fn upgrade(&mut self, common: &mut Common) {
        common.trace.step("upgrade", self.id());
        common.report.upgraded += 1;
        self.who.next = true;
    }

    pub(super) fn forget(&mut self, common: &mut Common) {
        (self.arrived, self.receiving) = (None, false);
        self.condition.is_paused = false;
        let others: Vec<_> = (1..=self.who.of).map(base::MemberId).collect();
        common.history.registers.break_off(self.id(), &others, &mut common.rng);
        if let Some(member) = self.member.take() {
            let synced = common.history.synced.entry(self.who.id).or_default();
            *synced = member.synced_term.max(*synced);
        }
    }

    /// Starts it, if it is down.
    pub(crate) fn start(&mut self, common: &mut Common) -> Result<(), Violation> {
        if self.member.is_some() || self.gone {
            return Ok(());
        }
        self.reads.clear();
        self.known.clear();
        self.must_leave = false;
        self.disk.set_capacity(None);
        (self.condition.sync_fails, self.condition.disk_is_full) = (false, false);
        for watcher in &mut self.watchers {
            watcher.disconnect();
        }
        for client in &mut self.watches {
            client.disconnect();
        }
        self.who.run += 1;
        if common.rolls && !self.who.next {
            self.upgrade(common);
        }
        let member = self.member.insert(open(&self.disk, self.who, common)?);
        let applied = member.backend.durable().index;
        common.trace.step("open", format!("{}: keyspace at {applied}", self.who.id));
        invariants::durable::stays(&common.history, self.who.id, applied)?;
        let is_known = common.history.outcomes.contains_key(&applied.0);
        invariants::durable::was_applied(is_known, applied)?;
        if member.core.has_left() {
            // It says so, and ends.
            self.leave(common);
            return Ok(());
        }
        self.duties(common)?;
        self.look(common)
    }
}

pub(super) fn open(disk: &MemDisk, who: Who, common: &mut Common) -> Result<Running, Violation> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    loop {
        match Running::open(&shared, who, common.options.sabotage) {
            Ok(member) => return Ok(member),
            // The power may fail again while the member is being opened.
            Err(_) if disk.failed() => {
                let damage = disk.crash();
                common.report.torn += damage.torn;
            }
            Err(error) => return Err(Violation::new("opening", error)),
        }
    }
}
