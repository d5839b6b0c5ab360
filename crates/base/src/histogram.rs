//! How often something took how long, as it is counted: without a lock, and without memory for it.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How often something took how long, by upper bounds.
#[derive(Debug)]
pub struct Histogram {
    /// In rising order.
    bounds: Box<[Duration]>,
    /// Not cumulative; the last is for what is above all bounds.
    counts: Box<[AtomicU64]>,
    /// The sum, whole seconds apart from the rest: times to live are long, and nanoseconds many.
    seconds: AtomicU64,
    nanos: AtomicU64,
}

impl Histogram {
    /// So many bounds, each twice the one before.
    pub fn doubling(first: Duration, bounds: u32) -> Self {
        let bound = |at| first.saturating_mul(1_u32.checked_shl(at).unwrap_or(u32::MAX));
        Self::new((0..bounds).map(bound).collect())
    }

    /// `bounds` in rising order.
    pub fn new(bounds: Vec<Duration>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let (seconds, nanos) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { bounds: bounds.into(), counts, seconds, nanos }
    }

    pub fn record(&self, took: Duration) {
        if let Some(count) = self.counts.get(self.bucket(took)) {
            count.fetch_add(1, Relaxed);
        }
        if took.as_secs() > 0 {
            self.seconds.fetch_add(took.as_secs(), Relaxed);
        }
        self.nanos.fetch_add(took.subsec_nanos().into(), Relaxed);
    }

    /// Upper bounds, and how often it took no longer; the last has none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let mut sum = 0;
        self.counts.iter().enumerate().map(move |(at, count)| {
            sum += count.load(Relaxed);
            (self.bounds.get(at).copied(), sum)
        })
    }

    /// How often it was recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// All that it took, in seconds.
    pub fn sum(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a sum of years is good enough")]
        let (seconds, nanos) = (self.seconds.load(Relaxed) as f64, self.nanos.load(Relaxed) as f64);
        seconds + nanos / 1e9
    }

    /// A bound belongs to its bucket.
    fn bucket(&self, took: Duration) -> usize {
        self.bounds.partition_point(|bound| *bound < took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::doubling(Duration::from_millis(1), 14);
        for millis in [1, 2, 3, 100_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(buckets[..3], [(millis(1), 1), (millis(2), 2), (millis(4), 3)]);
        assert_eq!(buckets[13..], [(millis(8_192), 3), (None, 4)]);
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum() - 100.006).abs() < 1e-9);
    }

    #[test]
    fn a_duration_belongs_to_the_first_bound_that_it_does_not_pass() {
        let histogram = Histogram::doubling(Duration::from_micros(500), 13);
        let check = |micros, expected| {
            assert_eq!(histogram.bucket(Duration::from_micros(micros)), expected, "{micros}");
        };
        for (micros, bucket) in [(0, 0), (500, 0), (501, 1), (1_000, 1), (1_001, 2)] {
            check(micros, bucket);
        }
        check(2_048_000, 12);
        check(2_048_001, 13);
        check(u64::MAX, 13);
    }

    #[test]
    fn sums_do_not_wrap_within_what_leases_may_live() {
        let histogram = Histogram::doubling(Duration::from_secs(1), 24);
        for _ in 0..1_000 {
            histogram.record(Duration::from_hours(2_500_000));
        }
        assert!((histogram.sum() - 9e12).abs() < 1.0);
    }
}
