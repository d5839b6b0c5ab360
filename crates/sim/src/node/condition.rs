//! What is wrong with a member and its machine, short of a crash.

use base::UnixNanos;

use super::Node;
use crate::{weather::Event, world::Common};

/// Of so many steps of a slow disk one is done.
const SLOWNESS: u8 = 8;

/// What is wrong with a member and its machine.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(crate) struct Condition {
    /// A sync has been made to fail since the member was opened.
    pub(super) sync_fails: bool,
    /// Failed syncs that were noticed.
    pub(super) failed_syncs: u64,
    /// Its disk has been filled since the member was opened.
    pub(super) disk_is_full: bool,
    /// The process does nothing.
    pub(super) is_paused: bool,
    /// Of the steps of its disk most are not done.
    is_slow: bool,
    /// Of the steps of its disk none is done, where that is not left to chance.
    pub(crate) is_hung: bool,
    /// By how many milliseconds its clock is wrong.
    skew: i64,
    /// Of eight of its ticks so many are left out.
    pub(crate) laziness: u8,
    /// Whether it stays down after the next crash, where that is not left to chance.
    pub(crate) stays_down: Option<bool>,
}

impl Condition {
    /// What the time is there.
    pub(super) fn wall(self, common: &mut Common) -> UnixNanos {
        let wall = UnixNanos(common.history.now.0 + self.skew * 1_000_000);
        common.history.latest = common.history.latest.max(wall);
        wall
    }
}

impl Node {
    /// Whether it hears what is sent to it; or will, when it goes on.
    pub(crate) fn listens(&self) -> bool {
        !self.condition.is_paused
    }

    /// Whether this can happen here now.
    pub(crate) fn is_able_to(&self, event: Event, rng: &mut fastrand::Rng) -> bool {
        let Condition { is_paused, is_slow, .. } = self.condition;
        let is_kept = is_paused && !event.is_from_outside();
        let waits = is_slow && event.is_of_disk() && rng.u8(..SLOWNESS) > 0;
        !is_kept && !waits
    }

    pub(crate) fn pause(&mut self, common: &mut Common) {
        if self.member.is_some() && !self.condition.is_paused {
            common.trace.step("pause", self.id());
            common.report.paused += 1;
            self.condition.is_paused = true;
        }
    }

    pub(crate) fn resume(&mut self, common: &Common) {
        if self.condition.is_paused {
            common.trace.step("resume", self.id());
            self.condition.is_paused = false;
        }
    }

    /// Its disk becomes slow, or quick again.
    pub(crate) fn become_slow(&mut self, common: &mut Common) {
        self.condition.is_slow = !self.condition.is_slow;
        common.report.slow += u64::from(self.condition.is_slow);
    }

    pub(crate) fn move_clock(&mut self, common: &mut Common) {
        let max = common.weather.skew_max;
        self.condition.skew = common.rng.i64(-max..=max);
        common.report.skewed += u64::from(max > 0);
    }

    /// Nothing is wrong with it any more, but for what was done to its disk already.
    pub(crate) fn recover(&mut self) {
        self.disk.fail_after(u64::MAX);
        self.disk.set_capacity(None);
        let Condition { sync_fails, failed_syncs, .. } = self.condition;
        self.condition = Condition { sync_fails, failed_syncs, ..Condition::default() };
    }
}
