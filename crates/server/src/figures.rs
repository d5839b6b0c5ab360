//! Figures for `/metrics`.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Figures for `/metrics`; all count from the start of the process.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub proposals_pending: u64,
    pub proposals_failed: u64,
    pub proposals_applied: u64,
    pub leader_changes: u64,
    /// Upper bounds in seconds and cumulative counts, then sum and count.
    pub wal_fsync: Histogram,
    pub backend_commit: Histogram,
    pub keyspace_bytes: u64,
    pub keyspace_bytes_in_use: u64,
    pub wal_bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Histogram {
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
    pub count: u64,
}

/// etcd's buckets for both durations: 1 ms to 8.192 s, each twice the one before.
const BUCKETS: usize = 14;

/// Durations as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    /// Not cumulative; the last is for what is above all bounds.
    counts: [AtomicU64; BUCKETS + 1],
    sum_nanos: AtomicU64,
}

impl Durations {
    pub(crate) fn record(&self, took: Duration) {
        let bucket = (0..BUCKETS).find(|bucket| took <= bound(*bucket)).unwrap_or(BUCKETS);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn histogram(&self) -> Histogram {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BUCKETS);
        for (bucket, counted) in self.counts.iter().enumerate() {
            count += counted.load(Relaxed);
            if bucket < BUCKETS {
                buckets.push((bound(bucket).as_secs_f64(), count));
            }
        }
        let sum = Duration::from_nanos(self.sum_nanos.load(Relaxed)).as_secs_f64();
        Histogram { buckets, sum, count }
    }
}

fn bound(bucket: usize) -> Duration {
    Duration::from_millis(1 << bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let durations = Durations::default();
        for millis in [1, 2, 3, 100_000] {
            durations.record(Duration::from_millis(millis));
        }
        let histogram = durations.histogram();
        assert_eq!(histogram.buckets[..3], [(0.001, 1), (0.002, 2), (0.004, 3)]);
        assert_eq!(histogram.buckets[13], (8.192, 3));
        assert_eq!((histogram.count, histogram.sum), (4, 100.006));
    }
}
