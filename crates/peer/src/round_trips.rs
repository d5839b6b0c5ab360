//! How long messages to a peer and back take.

use std::time::Duration;

/// The upper bounds of the buckets of `etcd_network_peer_round_trip_time_seconds`: 0.1 ms, doubled.
const BUCKETS: usize = 16;

/// How long messages to a peer and back took.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrips {
    pub count: u64,
    pub last: Duration,
    pub least: Duration,
    pub most: Duration,
    pub sum: Duration,
    /// Of the seconds, for a standard deviation.
    pub sum_of_squares: f64,
    /// How many took at most 0.1 ms, 0.2 ms, 0.4 ms and so on, each counted once; the rest took
    /// longer.
    pub buckets: [u64; BUCKETS],
}

impl RoundTrips {
    /// The upper bound of a bucket, in seconds.
    pub fn bound(bucket: usize) -> f64 {
        0.0001 * f64::from(2_u32.saturating_pow(u32::try_from(bucket).unwrap_or(u32::MAX)))
    }

    pub(crate) fn add(&mut self, took: Duration) {
        self.least = if self.count == 0 { took } else { self.least.min(took) };
        self.most = self.most.max(took);
        self.count += 1;
        self.last = took;
        self.sum += took;
        let seconds = took.as_secs_f64();
        self.sum_of_squares += seconds * seconds;
        let bucket = (0..BUCKETS).find(|bucket| seconds <= Self::bound(*bucket));
        if let Some(count) = bucket.and_then(|bucket| self.buckets.get_mut(bucket)) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_counted_in_doubling_buckets() {
        let mut trips = RoundTrips::default();
        for micros in [100, 101, 300, 10_000_000] {
            trips.add(Duration::from_micros(micros));
        }
        assert_eq!(trips.buckets[..3], [1, 1, 1]);
        assert_eq!(trips.buckets.iter().sum::<u64>(), 3, "ten seconds are beyond all");
        assert_eq!((trips.count, trips.last), (4, Duration::from_secs(10)));
        assert_eq!(trips.least, Duration::from_micros(100));
        assert!((RoundTrips::bound(15) - 3.2768).abs() < 1e-9);
    }
}
