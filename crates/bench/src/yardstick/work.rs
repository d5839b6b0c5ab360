//! What is measured, line by line, and what is wanted of each: the one table of the yardstick.

use super::figures::Quantity;
pub(super) use crate::load::Verb;

/// A line of the yardstick.
#[derive(Debug)]
pub(super) struct Work {
    /// For `--only`, and in the JSON.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What rate and CPU count.
    pub(super) unit: &'static str,
    pub(super) members: usize,
    pub(super) shape: Shape,
    pub(super) goals: &'static [Goal],
}

/// How a server is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Calls of gRPC, so many under way at any time, or at a rate.
    Calls {
        method: Method,
        clients: usize,
        pace: Pace,
    },
    /// Requests of v2, one at a time on each connection, or at a rate.
    V2 {
        verb: Verb,
        connections: usize,
        pace: Pace,
    },
    /// One writer, and many who watch its key.
    Watch,
    KeepAlive,
    /// Keys are written, and the server is looked at.
    Memory,
    /// Keys are written several times, and the server is started again.
    Start,
}

/// A method of the v3 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Put,
    Get,
    SerializableGet,
    /// Of a thousand keys.
    Range,
    /// Of all keys (`--keys`).
    RangeOfAll,
    /// Compare, put, get.
    Txn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The next request follows an answer.
    Closed,
    /// Each is due at a time of its own, and its latency counts from there.
    Open,
}

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Goal {
    pub(super) quantity: Quantity,
    pub(super) against: Against,
    pub(super) bound: Bound,
}

/// What ours is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Against {
    /// The better of the originals.
    Original,
    NoopGrpc,
    NoopHttp,
    /// A bare fdatasync and a call of the no-op gRPC service, one after the other.
    SyncAndCall,
    /// Nothing: the figure itself.
    Itself,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};
use Quantity::{Cpu, Growth, P50, P99, Rate, Resident, Start};

/// All lines. The goals are those of the issue "Ahead of the originals, measured in one run".
pub(super) const ALL: &[Work] = &[
    Work {
        goals: &[Goal { quantity: P50, against: Against::SyncAndCall, bound: AtMost(1.3) }],
        ..call("put-1", "put, 256 B, 1 client", Method::Put, 1)
    },
    Work { goals: PUT, ..call("put-64", "put, 256 B, 64 clients", Method::Put, 64) },
    Work { goals: PUT, ..call("put-1000", "put, 256 B, 1000 clients", Method::Put, 1000) },
    open("put-open", "put, 256 B, open loop", Method::Put),
    Work {
        members: 3,
        goals: PUT_THREE,
        ..call("put-three-64", "put, 256 B, three members, 64 clients", Method::Put, 64)
    },
    Work {
        members: 3,
        goals: PUT_THREE,
        ..call("put-three-1000", "put, 256 B, three members, 1000 clients", Method::Put, 1000)
    },
    Work { goals: GET, ..call("get-64", "get, linearizable, 64 clients", Method::Get, 64) },
    Work { goals: GET, ..call("get-1000", "get, linearizable, 1000 clients", Method::Get, 1000) },
    Work {
        goals: GET,
        ..call("get-serializable-64", "get, serializable, 64 clients", Method::SerializableGet, 64)
    },
    Work {
        goals: GET,
        ..call(
            "get-serializable-1000",
            "get, serializable, 1000 clients",
            Method::SerializableGet,
            1000,
        )
    },
    open("get-open", "get, linearizable, open loop", Method::Get),
    Work {
        goals: &[Goal { quantity: Cpu, against: Against::Original, bound: AtMost(0.4) }],
        ..v2("v2-put-64", "v2 PUT, 64 connections", Verb::Put, Pace::Closed)
    },
    Work {
        goals: &[Goal { quantity: Cpu, against: Against::NoopHttp, bound: AtMost(1.5) }],
        ..v2("v2-get-64", "v2 GET, 64 connections", Verb::Get, Pace::Closed)
    },
    v2("v2-put-open", "v2 PUT, open loop on 64 connections", Verb::Put, Pace::Open),
    Work {
        unit: "key",
        goals: RANGE,
        ..call("range-1000", "range of 1,000 keys, 16 clients", Method::Range, 16)
    },
    Work {
        unit: "key",
        goals: RANGE,
        ..call("range-all", "range of all keys, 1 client", Method::RangeOfAll, 1)
    },
    Work {
        goals: &[Goal { quantity: Cpu, against: Against::Original, bound: AtMost(0.4) }],
        ..call("txn-64", "txn (compare, put, get), 64 clients", Method::Txn, 64)
    },
    Work {
        unit: "event",
        shape: Shape::Watch,
        goals: &[
            Goal { quantity: Cpu, against: Against::Original, bound: AtMost(1.0 / 3.0) },
            Goal { quantity: P99, against: Against::Original, bound: AtMost(0.25) },
        ],
        ..call("watch", "watch, 1 writer, all watchers of one key", Method::Put, 1)
    },
    Work {
        shape: Shape::KeepAlive,
        goals: &[Goal { quantity: Cpu, against: Against::Original, bound: AtMost(0.4) }],
        ..call("keep-alive", "lease keep-alive, 64 streams", Method::Put, 1)
    },
    Work {
        unit: "key",
        shape: Shape::Memory,
        goals: &[Goal { quantity: Resident, against: Against::Original, bound: AtMost(1.0 / 3.0) }],
        ..call("memory", "resident memory, keys of 32 B with values of 256 B", Method::Put, 1)
    },
    Work {
        unit: "key",
        shape: Shape::Start,
        goals: &[Goal { quantity: Start, against: Against::Original, bound: AtMost(1.0 / 3.0) }],
        ..call("start", "start with all keys, five revisions of each", Method::Put, 1)
    },
];

const PUT: &[Goal] = &[
    Goal { quantity: Cpu, against: Against::Original, bound: AtMost(0.4) },
    Goal { quantity: Rate, against: Against::Original, bound: AtLeast(1.7) },
    Goal { quantity: P99, against: Against::Original, bound: AtMost(0.6) },
];
const PUT_THREE: &[Goal] = &[
    Goal { quantity: Cpu, against: Against::Original, bound: AtMost(0.4) },
    Goal { quantity: Rate, against: Against::Original, bound: AtLeast(2.0) },
];
const GET: &[Goal] = &[
    Goal { quantity: Cpu, against: Against::NoopGrpc, bound: AtMost(1.3) },
    Goal { quantity: Rate, against: Against::NoopGrpc, bound: AtLeast(0.85) },
];
/// "Memory flat" is taken as a growth by no more than this, whatever the answers' size.
const FLAT_MEGABYTES: f64 = 32.0;
const RANGE: &[Goal] = &[
    Goal { quantity: Cpu, against: Against::Original, bound: AtMost(1.0 / 3.0) },
    Goal { quantity: Growth, against: Against::Itself, bound: AtMost(FLAT_MEGABYTES) },
];

const fn call(name: &'static str, title: &'static str, method: Method, clients: usize) -> Work {
    let shape = Shape::Calls { method, clients, pace: Pace::Closed };
    Work { name, title, unit: "request", members: 1, shape, goals: &[] }
}

const fn open(name: &'static str, title: &'static str, method: Method) -> Work {
    let shape = Shape::Calls { method, clients: 64, pace: Pace::Open };
    Work { shape, ..call(name, title, method, 64) }
}

const fn v2(name: &'static str, title: &'static str, verb: Verb, pace: Pace) -> Work {
    let shape = Shape::V2 { verb, connections: 64, pace };
    Work { shape, ..call(name, title, Method::Put, 64) }
}

impl Work {
    /// The ceilings that stand beside it.
    pub(super) fn ceilings(&self) -> Vec<Against> {
        match self.shape {
            _ if self.members > 1 => Vec::new(),
            Shape::Calls { method: Method::Put, clients: 1, .. } => {
                vec![Against::NoopGrpc, Against::SyncAndCall]
            }
            // Nothing that does nothing sends so much.
            Shape::Calls { method: Method::Range | Method::RangeOfAll, .. }
            | Shape::Watch
            | Shape::KeepAlive
            | Shape::Memory
            | Shape::Start => Vec::new(),
            Shape::Calls { .. } => vec![Against::NoopGrpc],
            Shape::V2 { .. } => vec![Against::NoopHttp],
        }
    }

    /// Whether all keys must be written before, which takes its time.
    pub(super) fn is_long(&self) -> bool {
        let range = matches!(self.shape, Shape::Calls { method: Method::RangeOfAll, .. });
        range || matches!(self.shape, Shape::Memory | Shape::Start)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_has_a_name_of_its_own_and_the_ceilings_that_its_goals_ask_for() {
        let names: BTreeSet<&str> = ALL.iter().map(|work| work.name).collect();
        assert_eq!(names.len(), ALL.len());
        for work in ALL {
            for goal in work.goals {
                let stands = match goal.against {
                    Against::Original | Against::Itself => true,
                    Against::NoopGrpc | Against::NoopHttp | Against::SyncAndCall => {
                        work.ceilings().contains(&goal.against)
                    }
                };
                assert!(stands, "{}: {goal:?}", work.name);
            }
        }
    }
}
