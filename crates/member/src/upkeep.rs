//! When to flush the keyspace, and when to cut the log behind it.

use std::time::Duration;

use base::{Index, limits};

/// Entries that stay in the log behind a cut, for followers that lag (etcd: 5,000).
pub const ENTRIES_KEPT: u64 = 5_000;

/// Whether the tail should be written now: it has grown, or its oldest change has waited long.
pub fn flush_due(tail_bytes: usize, waiting: Duration) -> bool {
    tail_bytes >= limits::TAIL_FLUSH_BYTES || (tail_bytes > 0 && waiting >= limits::FLUSH_INTERVAL)
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
    /// `durable`: where the keyspace stood when it was opened.
    pub fn new(snapshot_count: u64, kept: u64, durable: Index) -> Self {
        Self { every: snapshot_count.max(1), kept, last: durable }
    }

    /// After a flush: up to where the log may go now, if it is time.
    pub fn due(&mut self, durable: Index) -> Option<Index> {
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
    fn a_tail_is_flushed_when_it_is_large_or_old_but_never_when_empty() {
        assert!(flush_due(limits::TAIL_FLUSH_BYTES, Duration::ZERO));
        assert!(flush_due(1, limits::FLUSH_INTERVAL));
        assert!(!flush_due(1, Duration::ZERO));
        assert!(!flush_due(0, limits::FLUSH_INTERVAL));
    }

    #[test]
    fn the_log_is_cut_once_enough_entries_have_passed_and_less_a_margin() {
        let mut cutter = Cutter::new(10_000, ENTRIES_KEPT, Index(100));
        assert_eq!(cutter.due(Index(10_099)), None);
        assert_eq!(cutter.due(Index(10_100)), Some(Index(5_100)));
        assert_eq!(cutter.due(Index(10_101)), None);
        let mut often = Cutter::new(10, ENTRIES_KEPT, Index(0));
        assert_eq!(often.due(Index(20)), None, "nothing lies below the margin yet");
    }
}
