//! What a member counts of itself, for `/metrics`; all from the start of the process.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use base::{Histogram, UnixNanos};

use crate::{applies::Applies, figures::Writes, promotion::Promotions};

/// What a member counts of itself. Whoever has something to count adds to it, and takes no lock.
#[derive(Debug)]
pub struct Counters {
    pub proposals_failed: AtomicU64,
    pub proposals_applied: AtomicU64,
    /// From being proposed to their answer.
    pub proposals: Histogram,
    pub leader_changes: AtomicU64,
    /// Heartbeats that a leader sent late.
    pub heartbeats_late: AtomicU64,
    pub wal_fsync: Histogram,
    pub wal_write: Histogram,
    /// Written to the log since the start of the process.
    pub wal_written_bytes: AtomicU64,
    /// Of the log, on disk.
    pub wal_bytes: AtomicU64,
    /// The last entry that is in the log.
    pub wal_last_index: AtomicU64,
    pub backend_commit: Histogram,
    pub applies: Applies,
    /// Entries whose turn took too long, and reads.
    pub applies_slow: AtomicU64,
    /// Read indexes that nobody answered in time.
    pub read_indexes_slow: AtomicU64,
    /// Read indexes that were given up for another reason.
    pub read_indexes_failed: AtomicU64,
    /// Learners that this member, leading, let vote or did not.
    pub promotions: Promotions,
    /// Snapshots of the keyspace that went to clients.
    pub snapshots_saved: Histogram,
    /// Snapshots of the leader that were taken in, and the last sync of each.
    pub snapshots_taken: Histogram,
    pub snapshots_synced: Histogram,
    /// The keyspace of a snapshot is about to take the place of ours.
    pub snapshots_installing: AtomicU64,
    /// Snapshots whose keyspace has taken the place of ours.
    pub(crate) snapshots_installed: AtomicU64,
    pub compaction: Compaction,
    pub(crate) writes: Writes,
}

/// What compaction does.
#[derive(Debug)]
pub struct Compaction {
    /// Rows that were removed.
    pub rows: AtomicU64,
    /// Steps, each of which holds up writes.
    pub pauses: Histogram,
    /// From the first step to the last.
    pub totals: Histogram,
    /// When the last one ended, in seconds since 1970; 0: there was none.
    pub last: AtomicI64,
    /// When the one began that is under way, in nanoseconds of the clock that never goes back; 0: none is.
    began: AtomicU64,
}

impl Compaction {
    /// A step that began then, and if it was the last one when it ended.
    pub(crate) fn step(&self, began: Duration, ended: Option<(Duration, UnixNanos)>) {
        let nanos = u64::try_from(began.as_nanos()).unwrap_or(u64::MAX).max(1);
        let first = self.began.compare_exchange(0, nanos, Relaxed, Relaxed);
        if let Some((now, wall)) = ended {
            let first = Duration::from_nanos(first.err().unwrap_or(nanos));
            self.totals.record(now.saturating_sub(first));
            self.began.store(0, Relaxed);
            self.last.store(wall.0 / 1_000_000_000, Relaxed);
        }
    }
}

impl Default for Counters {
    /// With etcd's bounds.
    fn default() -> Self {
        let milli = Duration::from_millis(1);
        Self {
            proposals_failed: AtomicU64::default(),
            proposals_applied: AtomicU64::default(),
            proposals: Histogram::doubling(milli, 14),
            leader_changes: AtomicU64::default(),
            heartbeats_late: AtomicU64::default(),
            wal_fsync: Histogram::doubling(milli, 14),
            wal_write: Histogram::doubling(milli, 14),
            wal_written_bytes: AtomicU64::default(),
            wal_bytes: AtomicU64::default(),
            wal_last_index: AtomicU64::default(),
            backend_commit: Histogram::doubling(milli, 14),
            applies: Applies::default(),
            applies_slow: AtomicU64::default(),
            read_indexes_slow: AtomicU64::default(),
            read_indexes_failed: AtomicU64::default(),
            promotions: Promotions::default(),
            snapshots_saved: Histogram::doubling(10 * milli, 17),
            snapshots_taken: Histogram::doubling(100 * milli, 10),
            snapshots_synced: Histogram::doubling(milli, 14),
            snapshots_installing: AtomicU64::default(),
            snapshots_installed: AtomicU64::default(),
            compaction: Compaction {
                rows: AtomicU64::default(),
                pauses: Histogram::doubling(milli, 13),
                totals: Histogram::doubling(100 * milli, 14),
                last: AtomicI64::default(),
                began: AtomicU64::default(),
            },
            writes: Writes::default(),
        }
    }
}
