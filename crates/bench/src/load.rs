//! Many connections, one kind of request: one after the other on each, or at given times.

use std::{
    cell::Cell,
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::task::LocalSet;

use crate::{connection::Connection, histogram::Histogram};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Put,
}

/// A load.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) endpoint: SocketAddr,
    pub(crate) verb: Verb,
    pub(crate) connections: usize,
    pub(crate) value_bytes: usize,
    pub(crate) keys: usize,
    pub(crate) key_bytes: usize,
    /// Seconds; of every second key.
    pub(crate) ttl: Option<u64>,
    pub(crate) duration: Duration,
    /// Ends the load before its time.
    pub(crate) count: Option<u64>,
    /// Requests a second of an open loop: each is due at a time of its own, whatever became of those
    /// before it, and its latency counts from there. Otherwise the next one follows an answer.
    pub(crate) rate: Option<f64>,
}

/// What came of it.
pub(crate) struct Report {
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Histogram,
    pub(crate) failed: u64,
}

impl Report {
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    pub(crate) fn requests(&self) -> f64 {
        self.latencies.total() as f64
    }

    pub(crate) fn rate(&self) -> f64 {
        self.requests() / self.elapsed.as_secs_f64()
    }

    /// Microseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        self.latencies.quantile(share).as_secs_f64() * 1e6
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} requests/s, p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, {} failed",
            self.rate(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.999),
            self.failed
        )
    }
}

/// The path of a key, padded to `key_bytes` (which counts no `/v2/keys`).
pub(crate) fn key(load: &Load, number: usize) -> String {
    let digits = load.key_bytes.saturating_sub("/bench/".len()).max(6);
    format!("/bench/{number:0digits$}")
}

pub(crate) fn requests(load: &Load, verb: Verb) -> Vec<Vec<u8>> {
    let host = load.endpoint;
    let value = "x".repeat(load.value_bytes);
    (0..load.keys)
        .map(|number| {
            let key = key(load, number);
            match verb {
                Verb::Get => format!("GET /v2/keys{key} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                Verb::Put => {
                    let ttl = load.ttl.filter(|_| number % 2 == 1);
                    let ttl = ttl.map_or(String::new(), |ttl| format!("&ttl={ttl}"));
                    let form = format!("value={value}{ttl}");
                    format!(
                        "PUT /v2/keys{key} HTTP/1.1\r\nHost: {host}\r\nContent-Type: \
                         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                        form.len()
                    )
                }
            }
            .into_bytes()
        })
        .collect()
}

/// Writes every key once.
pub(crate) fn fill(load: &Load) -> anyhow::Result<()> {
    let fill = Load {
        verb: Verb::Put,
        connections: 64.min(load.keys),
        duration: Duration::from_mins(10),
        count: Some(load.keys as u64),
        rate: None,
        ..load.clone()
    };
    let report = run(&fill)?;
    ensure!(report.failed == 0, "{} of the first writes failed", report.failed);
    Ok(())
}

/// Runs a load on this thread.
pub(crate) fn run(load: &Load) -> anyhow::Result<Report> {
    run_until(load, &Arc::default())
}

/// The same, but it also ends once `stops` is set.
pub(crate) fn run_until(load: &Load, stops: &Arc<AtomicBool>) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run_all(load, stops))
}

async fn run_all(load: &Load, stops: &Arc<AtomicBool>) -> anyhow::Result<Report> {
    let requests: Rc<[Vec<u8>]> = requests(load, load.verb).into();
    let next = Rc::new(Cell::new(0));
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(Connection::open(load.endpoint).await?);
    }
    let began = Instant::now();
    let until = began + load.duration;
    let count = load.count.unwrap_or(u64::MAX);
    let pace = load.rate.map(|rate| Pace { began, rate });
    let work = |connection| {
        let (requests, next) = (Rc::clone(&requests), Rc::clone(&next));
        let stops = Arc::clone(stops);
        let worker = Worker { connection, requests, next, until, count, pace, stops };
        tokio::task::spawn_local(worker.run())
    };
    let tasks: Vec<_> = connections.into_iter().map(work).collect();
    let mut report = Report { elapsed: Duration::ZERO, latencies: Histogram::default(), failed: 0 };
    for task in tasks {
        let (latencies, failed) = task.await??;
        report.latencies.merge(&latencies);
        report.failed += failed;
    }
    report.elapsed = began.elapsed();
    Ok(report)
}

struct Worker {
    connection: Connection,
    requests: Rc<[Vec<u8>]>,
    /// The number of the next request of all workers.
    next: Rc<Cell<u64>>,
    until: Instant,
    count: u64,
    pace: Option<Pace>,
    stops: Arc<AtomicBool>,
}

/// When each request of an open loop is due.
#[derive(Clone, Copy)]
struct Pace {
    began: Instant,
    rate: f64,
}

impl Pace {
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    fn due(self, number: u64) -> Instant {
        self.began + Duration::from_secs_f64(number as f64 / self.rate)
    }
}

impl Worker {
    async fn run(mut self) -> anyhow::Result<(Histogram, u64)> {
        let mut latencies = Histogram::default();
        let mut failed = 0;
        let mut began = Instant::now();
        while began < self.until && !self.stops.load(Relaxed) {
            let number = self.next.get();
            if number >= self.count {
                break;
            }
            self.next.set(number + 1);
            if let Some(pace) = self.pace {
                began = pace.due(number);
                if Instant::now() < began {
                    tokio::time::sleep_until(began.into()).await;
                    // The timer is late by up to a millisecond, which is not the server's.
                    began = Instant::now();
                }
            }
            let at = usize::try_from(number).unwrap_or(0) % self.requests.len().max(1);
            let Some(request) = self.requests.get(at) else { break };
            let status = self.connection.ask(request).await?;
            let ended = Instant::now();
            latencies.record(ended - began);
            failed += u64::from(!matches!(status, 200 | 201));
            began = ended;
        }
        Ok((latencies, failed))
    }
}
