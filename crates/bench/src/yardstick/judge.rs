//! A line's figures beside one another: ratios to the better original and to ceilings, and what the goals
//! say of them.

use std::fmt;

use super::{
    figures::{self, Figures, Quantity, Spread},
    work::{Against, Bound, Goal, Work},
};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Original,
    NoopGrpc,
    NoopHttp,
    /// A bare append with an fdatasync.
    Sync,
}

/// One server's rounds of one line.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) rounds: Vec<Figures>,
}

/// One line's servers.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) work: &'static Work,
    pub(super) servers: Vec<Measured>,
}

impl Line {
    /// Ours divided by that, round by round; the figure itself, if there is nothing to divide by.
    pub(super) fn ratio(&self, quantity: Quantity, against: Against) -> Option<Spread> {
        let ours = self.of(Kind::Ours)?;
        match against {
            Against::Original => {
                figures::ratio(ours, &self.better_original(quantity)?.rounds, quantity)
            }
            Against::NoopGrpc => figures::ratio(ours, self.of(Kind::NoopGrpc)?, quantity),
            Against::NoopHttp => figures::ratio(ours, self.of(Kind::NoopHttp)?, quantity),
            // Times of what follows one another can be added; rates cannot, nor what is rare of both.
            Against::SyncAndCall if quantity != Quantity::P50 => None,
            Against::SyncAndCall => {
                let both = sum(self.of(Kind::Sync)?, self.of(Kind::NoopGrpc)?, quantity);
                figures::ratio(ours, &both, quantity)
            }
            Against::Itself => figures::spread(ours, quantity),
        }
    }

    /// The original that is better in this, by its median.
    pub(super) fn better_original(&self, quantity: Quantity) -> Option<&Measured> {
        let originals = self.servers.iter().filter(|server| server.kind == Kind::Original);
        let measured = originals
            .filter_map(|server| Some((server, figures::spread(&server.rounds, quantity)?.median)));
        let better = |(_, one): &(&Measured, f64), (_, other): &(&Measured, f64)| {
            if quantity.is_gain() { other.total_cmp(one) } else { one.total_cmp(other) }
        };
        measured.min_by(better).map(|(server, _)| server)
    }

    fn of(&self, kind: Kind) -> Option<&[Figures]> {
        self.servers.iter().find(|server| server.kind == kind).map(|server| &server.rounds[..])
    }

    pub(super) fn judge(&self) -> Vec<Judged> {
        let judged = |goal: &Goal| {
            let found = self.ratio(goal.quantity, goal.against);
            let verdict = verdict(found.map(|spread| spread.median), goal.bound);
            Judged { work: self.work, goal: *goal, found, verdict }
        };
        self.work.goals.iter().map(judged).collect()
    }
}

/// Both, one after the other, round by round.
fn sum(one: &[Figures], other: &[Figures], quantity: Quantity) -> Vec<Figures> {
    let both = |(one, other): (&Figures, &Figures)| {
        let sum = one.get(&quantity).zip(other.get(&quantity)).map(|(one, other)| one + other);
        sum.map(|sum| (quantity, sum)).into_iter().collect()
    };
    one.iter().zip(other).map(both).collect()
}

/// A goal, and what was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    pub(super) work: &'static Work,
    pub(super) goal: Goal,
    pub(super) found: Option<Spread>,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Met,
    Missed { found: f64, wanted: f64 },
    NotMeasured,
}

fn verdict(found: Option<f64>, bound: Bound) -> Verdict {
    let Some(found) = found.filter(|found| found.is_finite()) else { return Verdict::NotMeasured };
    let (is_met, wanted) = match bound {
        Bound::AtMost(most) => (found <= most, most),
        Bound::AtLeast(least) => (found >= least, least),
    };
    if is_met { Verdict::Met } else { Verdict::Missed { found, wanted } }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => f.write_str("met"),
            // A miss by little must not look like none.
            Self::Missed { found, wanted } if format!("{found:.2}") == format!("{wanted:.2}") => {
                write!(f, "missed: {found:.4} wanted {wanted:.4}")
            }
            Self::Missed { found, wanted } => write!(f, "missed: {found:.2} wanted {wanted:.2}"),
            Self::NotMeasured => f.write_str("not measured"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most:.2}"),
            Self::AtLeast(least) => write!(f, "at least {least:.2}"),
        }
    }
}

impl Against {
    /// What stands below the line of the ratio.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Original => "etcd",
            Self::NoopGrpc => "no-op tonic",
            Self::NoopHttp => "no-op hyper",
            Self::SyncAndCall => "(fdatasync + no-op tonic)",
            Self::Itself => "",
        }
    }
}

impl Judged {
    /// What is judged, without the line that it is of.
    pub(super) fn what(&self) -> String {
        let quantity = self.goal.quantity.title();
        match self.goal.against {
            Against::Itself => format!("{quantity}, {}", self.goal.quantity.unit()),
            Against::Original | Against::NoopGrpc | Against::NoopHttp | Against::SyncAndCall => {
                format!("{quantity} / {}", self.goal.against.title())
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::yardstick::work;

    /// Some server of which these rates and times were measured.
    pub(in crate::yardstick) fn measured(
        kind: Kind,
        name: &str,
        rounds: &[(f64, f64)],
    ) -> Measured {
        let figures = |(rate, p50): &(f64, f64)| {
            Figures::from([
                (Quantity::Rate, *rate),
                (Quantity::P50, *p50),
                (Quantity::P99, p50 * 2.0),
                (Quantity::Cpu, 1e6 / rate),
            ])
        };
        Measured { name: name.to_owned(), kind, rounds: rounds.iter().map(figures).collect() }
    }

    pub(in crate::yardstick) fn line(name: &str, servers: Vec<Measured>) -> Line {
        let work = work::ALL.iter().find(|work| work.name == name).unwrap();
        Line { work, servers }
    }

    #[test]
    fn the_better_of_the_originals_counts_for_each_quantity() {
        let line = line(
            "put-64",
            vec![
                measured(Kind::Ours, "ours", &[(200.0, 10.0), (220.0, 12.0)]),
                measured(Kind::Original, "quick", &[(100.0, 60.0), (100.0, 60.0)]),
                measured(Kind::Original, "short", &[(50.0, 20.0), (50.0, 20.0)]),
            ],
        );
        let ratio = |quantity| line.ratio(quantity, Against::Original).unwrap();
        assert_eq!(ratio(Quantity::Rate), Spread { median: 2.1, least: 2.0, most: 2.2 });
        assert_eq!(ratio(Quantity::P50), Spread { median: 0.55, least: 0.5, most: 0.6 });
        assert_eq!(line.better_original(Quantity::Cpu).unwrap().name, "quick");
    }

    #[test]
    fn one_put_is_held_against_a_sync_and_a_call() {
        let line = line(
            "put-1",
            vec![
                measured(Kind::Ours, "ours", &[(1.0, 260.0), (1.0, 300.0)]),
                measured(Kind::NoopGrpc, "tonic", &[(1.0, 100.0), (1.0, 50.0)]),
                measured(Kind::Sync, "sync", &[(1.0, 100.0), (1.0, 50.0)]),
            ],
        );
        let found = line.ratio(Quantity::P50, Against::SyncAndCall).unwrap();
        assert_eq!((found.least, found.most), (1.3, 3.0));
        assert_eq!(line.ratio(Quantity::Rate, Against::SyncAndCall), None);
        assert_eq!(line.judge()[0].verdict.to_string(), "missed: 2.15 wanted 1.30");
    }

    #[test]
    fn goals_are_judged_by_the_median_and_a_miss_says_by_how_much() {
        for (found, bound, expected) in [
            (Some(0.44), Bound::AtMost(0.4), "missed: 0.44 wanted 0.40"),
            (Some(0.4), Bound::AtMost(0.4), "met"),
            (Some(0.401), Bound::AtMost(0.4), "missed: 0.4010 wanted 0.4000"),
            (Some(1.69), Bound::AtLeast(1.7), "missed: 1.69 wanted 1.70"),
            (Some(1.7), Bound::AtLeast(1.7), "met"),
            (Some(f64::NAN), Bound::AtMost(1.0), "not measured"),
            (None, Bound::AtLeast(1.0), "not measured"),
        ] {
            assert_eq!(verdict(found, bound).to_string(), expected);
        }
    }

    #[test]
    fn without_an_original_nothing_is_judged_against_it() {
        let alone = vec![measured(Kind::Ours, "ours", &[(1.0, 1.0)])];
        let judged = line("put-64", alone).judge();
        assert_eq!(judged.len(), 3);
        assert!(judged.iter().all(|one| one.verdict == Verdict::NotMeasured));
    }
}
