//! A line's load on one server: what is written before, what warms it up, and what is measured.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;

use super::{
    keep_alive, requests, watch,
    work::{Method, Pace, Shape, Verb},
};
use crate::{
    calls::{self, Outcome},
    histogram::Histogram,
    load::{self, Load},
};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) seconds: f64,
    /// Of memory, start, and the range of all.
    pub(super) keys: u64,
    pub(super) watchers: usize,
    pub(super) watch_streams: usize,
    pub(super) leases: u64,
    /// Requests a second of open loops.
    pub(super) open_rate: f64,
}

/// Keys that requests go round, and that a range has.
const KEYS: u64 = 1000;
/// How often a key is written before a start.
pub(super) const REVISIONS_OF_EACH: u64 = 5;
/// What warms up takes this share of what is measured.
const WARM_SHARE: f64 = 0.25;
const FILL_PATIENCE: Duration = Duration::from_hours(2);

/// What came of the measured part.
#[derive(Default)]
pub(super) struct Driven {
    pub(super) elapsed: Duration,
    pub(super) units: f64,
    pub(super) latencies: Histogram,
    /// What was due in an open loop and found no stream free.
    pub(super) unsent: u64,
}

/// A load for this endpoint.
pub(super) struct Driver<'a> {
    pub(super) endpoint: SocketAddr,
    pub(super) shape: Shape,
    pub(super) sizes: &'a Sizes,
}

impl Driver<'_> {
    /// Writes what must be there.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        match self.shape {
            Shape::Calls { method: Method::RangeOfAll, .. } => {
                self.fill(self.sizes.keys, 1).map(drop)
            }
            // Memory and start measure what is written.
            Shape::Memory | Shape::Start => Ok(()),
            Shape::Calls { .. } => self.fill(KEYS, 1).map(drop),
            Shape::V2 { .. } => load::fill(&self.v2_load(Verb::Put, 64, Pace::Closed)),
            Shape::Watch => self.fill(1, 1).map(drop),
            Shape::KeepAlive => {
                let load = Load { count: Some(self.sizes.leases), ..self.filling() };
                all_well(calls::run_calls(&load, 16, &requests::grants(self.endpoint))?).map(drop)
            }
        }
    }

    /// Writes so many keys, so often.
    pub(super) fn fill(&self, keys: u64, times: u64) -> anyhow::Result<Driven> {
        let load = Load { count: Some(keys * times), ..self.filling() };
        let calls = requests::fill(self.endpoint, keys);
        let driven = all_well(calls::run_calls(&load, 32, &calls)?)?;
        Ok(per_unit(driven, 1.0))
    }

    fn filling(&self) -> Load {
        Load { duration: FILL_PATIENCE, ..self.load(8) }
    }

    /// Warms up, lets `begin` look, and loads.
    pub(super) fn run(
        &self,
        begin: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Driven> {
        let warm = Duration::from_secs_f64(self.sizes.seconds * WARM_SHARE);
        match self.shape {
            Shape::Calls { method, clients, pace } => {
                let (connections, streams) = connections_of(clients);
                let load = Load { rate: self.rate(pace), ..self.load(connections) };
                let calls = (0..KEYS).map(|number| requests::call(self.endpoint, method, number));
                let calls = calls::round(calls.collect());
                calls::run_calls(&Load { duration: warm, ..load.clone() }, streams, &calls)?;
                begin()?;
                let driven = all_well(calls::run_calls(&load, streams, &calls)?)?;
                Ok(per_unit(driven, self.units_of(method)))
            }
            Shape::V2 { verb, connections, pace } => {
                let load = self.v2_load(verb, connections, pace);
                load::run(&Load { duration: warm, ..load.clone() })?;
                begin()?;
                let report = load::run(&load)?;
                ensure!(report.failed == 0, "{} requests failed", report.failed);
                let (units, elapsed) = (report.requests(), report.elapsed);
                Ok(Driven { elapsed, units, latencies: report.latencies, unsent: 0 })
            }
            Shape::Watch => watch::run(self.endpoint, self.sizes, warm, begin),
            Shape::KeepAlive => keep_alive::run(self.endpoint, self.sizes, warm, begin),
            Shape::Memory => {
                begin()?;
                self.fill(self.sizes.keys, 1)
            }
            Shape::Start => {
                begin()?;
                self.fill(self.sizes.keys, REVISIONS_OF_EACH)
            }
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a count")]
    fn units_of(&self, method: Method) -> f64 {
        match method {
            Method::Range => KEYS as f64,
            Method::RangeOfAll => self.sizes.keys as f64,
            Method::Put | Method::Get | Method::SerializableGet | Method::Txn => 1.0,
        }
    }

    fn rate(&self, pace: Pace) -> Option<f64> {
        (pace == Pace::Open).then_some(self.sizes.open_rate)
    }

    fn load(&self, connections: usize) -> Load {
        Load {
            endpoint: self.endpoint,
            verb: Verb::Put,
            connections,
            value_bytes: requests::VALUE_BYTES,
            keys: usize::try_from(KEYS).unwrap_or(1),
            key_bytes: 0,
            ttl: None,
            duration: Duration::from_secs_f64(self.sizes.seconds),
            count: None,
            rate: None,
        }
    }

    fn v2_load(&self, verb: Verb, connections: usize, pace: Pace) -> Load {
        Load { verb, rate: self.rate(pace), ..self.load(connections) }
    }
}

/// Connections, and what each has under way: several of both as soon as there are several clients.
fn connections_of(clients: usize) -> (usize, usize) {
    match clients {
        0..8 => (clients, 1),
        8..64 => (4, clients / 4),
        64..1000 => (8, clients / 8),
        _ => (50, clients / 50),
    }
}

fn all_well(outcome: Outcome) -> anyhow::Result<Outcome> {
    let refused = outcome.refused.total();
    ensure!(
        outcome.failed == 0 && refused == 0,
        "{} calls failed, {refused} refused",
        outcome.failed
    );
    Ok(outcome)
}

#[allow(clippy::cast_precision_loss, reason = "a count")]
fn per_unit(outcome: Outcome, units: f64) -> Driven {
    let Outcome { elapsed, accepted, unsent, .. } = outcome;
    Driven { elapsed, units: accepted.total() as f64 * units, latencies: accepted, unsent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_connections_times_streams() {
        for clients in [1, 16, 64, 1000] {
            let (connections, streams) = connections_of(clients);
            assert_eq!(connections * streams, clients);
        }
    }
}
