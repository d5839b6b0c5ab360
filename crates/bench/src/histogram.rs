//! Latencies, kept to within two percent of their size.

use std::time::Duration;

/// Buckets of one power of two.
const STEPS: u32 = 64;
/// Powers of two, from 1 ns to over 60 s.
const POWERS: u32 = 37;

/// Latencies, kept to within two percent of their size.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; (STEPS * POWERS) as usize], total: 0 }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(u64::from(STEPS));
        let power = nanos.ilog2();
        let step = u32::try_from((nanos >> (power - STEPS.ilog2())) & u64::from(STEPS - 1));
        let step = step.unwrap_or(STEPS - 1);
        let at = ((power - STEPS.ilog2()) * STEPS + step) as usize;
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(at.min(last)) {
            *count += 1;
        }
        self.total += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that this share of all (0 to 1) does not exceed.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank"
    )]
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in (0u32..).zip(&self.counts) {
            seen += count;
            if seen >= rank {
                let (power, step) = (at / STEPS, at % STEPS);
                return Duration::from_nanos(u64::from(STEPS + step) << power);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.999, 9_990.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 0.02, "{share}: {found} for {micros}");
        }
    }
}
