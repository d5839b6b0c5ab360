//! What must go on at a member that is overloaded: leases are kept and revoked, keys are read, health is told.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use crate::{connection::Connection, histogram::Histogram};

/// Between two rounds of all.
const EVERY: Duration = Duration::from_millis(100);
/// So many rounds can revoke a lease of their own.
const REVOCATIONS: u64 = 1_200;
/// Ids of leases: those to revoke from the first on, one that is kept, one that is not.
const FIRST: u64 = 1_000;
const KEPT: u64 = 1;
const FORGOTTEN: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(20);

/// How one kind of request fared.
struct Kind {
    what: &'static str,
    latencies: Histogram,
    failed: u64,
    /// The last answer that was none.
    why: String,
}

/// How all of them fared.
pub(crate) struct Probed(Vec<Kind>);

impl Probed {
    pub(crate) fn failed(&self) -> u64 {
        self.0.iter().map(|kind| kind.failed).sum()
    }

    /// Seconds: of the kind that has fared worst.
    pub(crate) fn worst(&self, share: f64) -> f64 {
        self.0.iter().map(|kind| kind.latencies.quantile(share).as_secs_f64()).fold(0.0, f64::max)
    }

    pub(crate) fn tell(&self) {
        for Kind { what, latencies, failed, why } in &self.0 {
            let of = |share| latencies.quantile(share).as_secs_f64() * 1e3;
            println!(
                "{what}: {} asked, p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms, {failed} failed {why}",
                latencies.total() + failed,
                of(0.5),
                of(0.99),
                of(1.0)
            );
        }
    }
}

/// What is asked about while there is load.
pub(crate) fn prepare(endpoint: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Asker::open(endpoint).await?.prepare().await })
}

/// Asks for everything again and again, each kind on a connection of its own.
pub(crate) fn until(endpoint: SocketAddr, stops: &Arc<AtomicBool>) -> anyhow::Result<Probed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut asker = Asker::open(endpoint).await?;
        let kinds = [
            "lease keep-alive",
            "lease revocation",
            "linearizable range",
            "v2 get with quorum",
            "health",
        ];
        let mut tasks = JoinSet::new();
        for what in kinds {
            let (asker, stops) = (Asker::open(endpoint).await?, Arc::clone(stops));
            tasks.spawn(asker.probe(what, stops));
        }
        let mut probed = Probed(Vec::new());
        while let Some(kind) = tasks.join_next().await {
            probed.0.push(kind??);
        }
        probed.0.push(asker.conclude().await?);
        Ok(probed)
    })
}

struct Asker {
    connection: Connection,
    endpoint: SocketAddr,
}

impl Asker {
    async fn open(endpoint: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::open(endpoint).await?, endpoint })
    }

    fn post(&self, path: &str, body: &str) -> String {
        format!(
            "POST /v3/{path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.endpoint,
            body.len()
        )
    }

    fn get(&self, path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.endpoint)
    }

    async fn ask(&mut self, request: &str) -> anyhow::Result<(u16, String)> {
        let asked = async {
            self.connection.send(request.as_bytes()).await?;
            self.connection.answer().await
        };
        let (status, body) = tokio::time::timeout(PATIENCE, asked).await.context("no answer")??;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Leases, before there is any load: those that are to be revoked, one that nobody keeps, and one that
    /// is kept.
    async fn prepare(&mut self) -> anyhow::Result<()> {
        let leases = (0..REVOCATIONS).map(|number| (FIRST + number, 600));
        for (id, ttl) in leases.chain([(FORGOTTEN, 5), (KEPT, 3)]) {
            let request = self.post("lease/grant", &format!("{{\"ID\":{id},\"TTL\":{ttl}}}"));
            let (status, text) = self.ask(&request).await?;
            ensure!(status == 200, "no lease is granted: {text}");
        }
        Ok(())
    }

    fn request(&self, what: &str, round: u64) -> Option<String> {
        Some(match what {
            "lease keep-alive" => self.post("lease/keepalive", &format!("{{\"ID\":{KEPT}}}")),
            "lease revocation" if round < REVOCATIONS => {
                self.post("lease/revoke", &format!("{{\"ID\":{}}}", FIRST + round))
            }
            "linearizable range" => self.post("kv/range", "{\"key\":\"YQ==\"}"),
            "v2 get with quorum" => self.get("/v2/keys/?quorum=true"),
            "health" => self.get("/health"),
            _ => return None,
        })
    }

    async fn probe(mut self, what: &'static str, stops: Arc<AtomicBool>) -> anyhow::Result<Kind> {
        let latencies = Histogram::default();
        let mut kind = Kind { what, latencies, failed: 0, why: String::new() };
        let mut round = 0;
        while !stops.load(Relaxed) {
            let Some(request) = self.request(what, round) else { break };
            round += 1;
            let began = Instant::now();
            let asked = self.ask(&request).await;
            let (status, text) = asked.with_context(|| format!("probe: {what}"))?;
            // A lease that is gone is kept alive with nothing.
            let is_kept = what != "lease keep-alive" || text.contains("\"TTL\"");
            if status == 200 && is_kept {
                kind.latencies.record(began.elapsed());
            } else {
                kind.failed += 1;
                kind.why = format!("({status} {text})");
            }
            tokio::time::sleep(EVERY).await;
        }
        Ok(kind)
    }

    /// What nobody kept has ended in its time, though nobody had time for it.
    async fn conclude(&mut self) -> anyhow::Result<Kind> {
        let request = self.post("lease/timetolive", &format!("{{\"ID\":{FORGOTTEN}}}"));
        let began = Instant::now();
        let (_, text) = self.ask(&request).await?;
        let mut latencies = Histogram::default();
        latencies.record(began.elapsed());
        let has_ended = text.contains("\"TTL\":\"-1\"");
        let why = if has_ended { String::new() } else { text };
        let what = "the end of a lease that nobody kept";
        Ok(Kind { what, latencies, failed: u64::from(!has_ended), why })
    }
}
