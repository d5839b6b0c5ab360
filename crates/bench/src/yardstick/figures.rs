//! What is measured, and what rounds of measurements come to: medians, ratios and their spread.

use std::collections::BTreeMap;

/// What one measurement may tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quantity {
    /// Units (requests; keys of a range; events of a watch) in a second.
    Rate,
    P50,
    P99,
    P999,
    /// Of the server's time, for a unit; of all members together.
    Cpu,
    ResidentPeak,
    Resident,
    /// Of that, what is of no file.
    Anonymous,
    /// By how much the peak is above what was resident before the load.
    Growth,
    Disk,
    /// From the start of the process until it says to be in health.
    Start,
    /// Of an open loop: what was due while all streams waited for answers.
    Unsent,
}

impl Quantity {
    pub(super) const ALL: [Self; 12] = [
        Self::Rate,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::Cpu,
        Self::ResidentPeak,
        Self::Resident,
        Self::Anonymous,
        Self::Growth,
        Self::Disk,
        Self::Start,
        Self::Unsent,
    ];

    /// In the JSON: what, and its unit.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Rate => "rate_per_s",
            Self::P50 => "p50_us",
            Self::P99 => "p99_us",
            Self::P999 => "p999_us",
            Self::Cpu => "cpu_us",
            Self::ResidentPeak => "resident_peak_mb",
            Self::Resident => "resident_mb",
            Self::Anonymous => "anonymous_mb",
            Self::Growth => "growth_mb",
            Self::Disk => "disk_mb",
            Self::Start => "start_ms",
            Self::Unsent => "unsent",
        }
    }

    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Cpu => "CPU",
            Self::ResidentPeak => "resident at most",
            Self::Resident => "resident",
            Self::Anonymous => "anonymous",
            Self::Growth => "growth of memory",
            Self::Disk => "disk",
            Self::Start => "start",
            Self::Unsent => "not sent",
        }
    }

    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Rate => "1/s",
            Self::P50 | Self::P99 | Self::P999 | Self::Cpu => "µs",
            Self::ResidentPeak | Self::Resident | Self::Anonymous | Self::Growth | Self::Disk => {
                "MB"
            }
            Self::Start => "ms",
            Self::Unsent => "requests",
        }
    }

    /// Whether more of it is better.
    pub(super) fn is_gain(self) -> bool {
        self == Self::Rate
    }
}

/// One measurement of one server: what was measured of it.
pub(super) type Figures = BTreeMap<Quantity, f64>;

/// Some figures of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// `None`: there are none.
    pub(super) fn of(figures: Vec<f64>) -> Option<Self> {
        let least = figures.iter().copied().reduce(f64::min)?;
        let most = figures.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(figures)?, least, most })
    }
}

/// Of two in the middle, what lies between them.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().checked_sub(1)? / 2, figures.len() / 2);
    Some(f64::midpoint(*figures.get(low)?, *figures.get(high)?))
}

/// A quantity over the rounds.
pub(super) fn spread(rounds: &[Figures], quantity: Quantity) -> Option<Spread> {
    Spread::of(rounds.iter().filter_map(|one| one.get(&quantity).copied()).collect())
}

/// Ours to another's, round by round: what disturbs a round disturbs both.
pub(super) fn ratio(ours: &[Figures], others: &[Figures], quantity: Quantity) -> Option<Spread> {
    let of = |(ours, other): (&Figures, &Figures)| {
        let ratio = ours.get(&quantity)? / other.get(&quantity)?;
        ratio.is_finite().then_some(ratio)
    };
    Spread::of(ours.iter().zip(others).filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(rates: &[f64]) -> Vec<Figures> {
        rates.iter().map(|rate| Figures::from([(Quantity::Rate, *rate)])).collect()
    }

    #[test]
    fn a_ratio_is_that_of_a_round_and_not_that_of_medians() {
        let (ours, others) = (rounds(&[100.0, 300.0, 600.0]), rounds(&[50.0, 100.0, 400.0]));
        let found = ratio(&ours, &others, Quantity::Rate);
        assert_eq!(found, Some(Spread { median: 2.0, least: 1.5, most: 3.0 }));
    }

    #[test]
    fn what_was_not_measured_has_no_ratio() {
        assert_eq!(ratio(&rounds(&[1.0]), &rounds(&[1.0]), Quantity::Cpu), None);
        assert_eq!(ratio(&rounds(&[1.0]), &[], Quantity::Rate), None);
        // A division by nothing says nothing.
        assert_eq!(ratio(&rounds(&[1.0]), &rounds(&[0.0]), Quantity::Rate), None);
        assert_eq!(spread(&[], Quantity::Rate), None);
    }

    #[test]
    fn a_spread_has_both_ends() {
        let found = spread(&rounds(&[3.0, 9.0, 1.0, 4.0]), Quantity::Rate);
        assert_eq!(found, Some(Spread { median: 3.5, least: 1.0, most: 9.0 }));
    }
}
