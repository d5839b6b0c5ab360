//! When to flush the keyspace, and when to cut the log behind it.

use std::time::Duration;

use base::{Index, limits};

/// Entries that stay in the log behind a cut, for followers that lag (etcd: 5,000).
pub const ENTRIES_KEPT: u64 = 5_000;

/// Bytes of the log beyond which it is cut right behind the keyspace, whatever lags.
pub const LOG_BYTES_MAX: u64 = 512 << 20;

/// How long a member takes care of somebody who copies its data while it runs (a backup): the log is
/// not cut, and no space of the keyspace is used again.
pub const COPY_PATIENCE: Duration = Duration::from_mins(30);

/// Nor any more once its log has so many bytes.
pub const COPY_LOG_BYTES_MAX: u64 = 4 * LOG_BYTES_MAX;

/// Whether care is taken of somebody who has been copying for so long.
pub fn may_be_copied(copying: Duration, log_bytes: u64) -> bool {
    copying < COPY_PATIENCE && log_bytes < COPY_LOG_BYTES_MAX
}

/// Whether there is anything to flush. Entries that changed nothing (a write whose condition did
/// not hold) count once there are many: the log can only be cut behind what the keyspace knows of,
/// but an idle member should write nothing for the one entry by which it began to lead.
pub fn is_anything_to_flush(
    tail_bytes: usize,
    applied: Index,
    durable: Index,
    snapshot_count: u64,
) -> bool {
    tail_bytes > 0 || applied.0.saturating_sub(durable.0) >= (snapshot_count / 2).max(2)
}

/// Whether what there is to flush should be written now: it has grown, or waited long.
pub fn flush_due(tail_bytes: usize, waiting: Duration) -> bool {
    tail_bytes >= limits::TAIL_FLUSH_BYTES || waiting >= limits::FLUSH_INTERVAL
}

/// Decides when the log is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cutter {
    /// Entries between two cuts (`--snapshot-count`).
    every: u64,
    /// Entries that stay behind a cut: [`ENTRIES_KEPT`], or few in simulation.
    kept: u64,
    last: Index,
}

impl Cutter {
    /// `first`: what the log begins behind. A member that is restarted often must not begin to
    /// count each time.
    pub fn new(snapshot_count: u64, kept: u64, first: Index) -> Self {
        Self { every: snapshot_count.max(1), kept, last: Index(first.0.saturating_add(kept)) }
    }

    /// After a flush: up to where the log, of so many bytes, may go now, if it is time.
    pub fn due(&mut self, durable: Index, log_bytes: u64) -> Option<Index> {
        if log_bytes > LOG_BYTES_MAX {
            self.last = durable;
            return Some(durable);
        }
        if durable.0.saturating_sub(self.last.0) < self.every {
            return None;
        }
        self.last = durable;
        let cut = durable.0.saturating_sub(self.kept);
        (cut > 0).then_some(Index(cut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_flushed_when_it_is_large_or_old() {
        assert!(flush_due(limits::TAIL_FLUSH_BYTES, Duration::ZERO));
        assert!(flush_due(1, limits::FLUSH_INTERVAL));
        assert!(!flush_due(1, Duration::ZERO));
    }

    #[test]
    fn a_copy_that_never_ends_harms_nobody() {
        assert!(may_be_copied(Duration::from_mins(1), LOG_BYTES_MAX + 1));
        assert!(!may_be_copied(COPY_PATIENCE, 0));
        assert!(!may_be_copied(Duration::ZERO, COPY_LOG_BYTES_MAX));
    }

    #[test]
    fn entries_that_change_nothing_are_flushed_once_there_are_many() {
        assert!(is_anything_to_flush(1, Index(1), Index(1), 10_000));
        assert!(!is_anything_to_flush(0, Index(10), Index(9), 10_000));
        assert!(!is_anything_to_flush(0, Index(4_999), Index(0), 10_000));
        assert!(is_anything_to_flush(0, Index(5_000), Index(0), 10_000));
        assert!(!is_anything_to_flush(0, Index(1), Index(0), 1), "the beginning of a leader");
    }

    #[test]
    fn the_log_is_cut_once_enough_entries_have_passed_and_less_a_margin() {
        let mut cutter = Cutter::new(10_000, ENTRIES_KEPT, Index(100));
        assert_eq!(cutter.due(Index(15_099), 0), None);
        assert_eq!(cutter.due(Index(15_100), 0), Some(Index(10_100)));
        assert_eq!(cutter.due(Index(15_101), 0), None);
    }

    #[test]
    fn a_member_that_is_restarted_often_still_cuts_its_log() {
        let mut cuts = 0;
        for run in 1..=10 {
            let mut cutter = Cutter::new(10_000, ENTRIES_KEPT, Index(0));
            cuts += u64::from(cutter.due(Index(run * 2_000), 0).is_some());
        }
        assert!(cuts > 0);
    }

    #[test]
    fn a_log_of_large_entries_is_cut_whatever_their_number() {
        let mut cutter = Cutter::new(10_000, ENTRIES_KEPT, Index(0));
        assert_eq!(cutter.due(Index(50), LOG_BYTES_MAX), None);
        assert_eq!(cutter.due(Index(50), LOG_BYTES_MAX + 1), Some(Index(50)));
    }
}
