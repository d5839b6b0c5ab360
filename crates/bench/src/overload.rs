//! Far more writes than members can take: what is taken is fast, and what must go on goes on.

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::task::LocalSet;

use crate::{
    calls::{self, Outcome},
    cluster,
    connection::Connection,
    goals::{Bound, Goals},
    load::{self, Load, Verb},
    probes::{self, Probed},
    process::Server,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Our server.
    #[arg(long, default_value = "target/release/etcd")]
    ours: PathBuf,
    /// Where the data goes: the disk under test.
    #[arg(long, default_value = "target")]
    under: PathBuf,
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Of the overload.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// By how much it exceeds what 64 connections reach.
    #[arg(long, default_value_t = 5.0)]
    times: f64,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Calls of gRPC that a connection has under way at most: what is due while all wait is not sent. 0:
    /// HTTP/1.1, where that is one, and takes far more connections.
    #[arg(long, default_value_t = 250)]
    streams: usize,
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
}

/// What is due is sent that much later at most.
const SLACK: Duration = Duration::from_millis(20);
/// What is under way at the end is answered before this.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Fails if a goal is missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // Threads that are started inherit it, and so do the members.
    hold_to(0)?;
    let servers = Server::start_cluster(&options.ours, &options.under, options.members)?;
    hold_to(1)?;
    let leader = cluster::leader(&servers)?;
    let endpoint = servers.get(leader).context("a leader")?.endpoint;
    let load = Load {
        endpoint,
        verb: Verb::Put,
        connections: 64,
        value_bytes: options.value_bytes,
        keys: 1_000,
        key_bytes: 0,
        ttl: None,
        duration: Duration::from_secs(5),
        count: None,
        rate: None,
    };
    let most = sustainable(options, &load)?;
    let rate = most * options.times;
    let changes = changes_of_leader(&servers)?;
    probes::prepare(endpoint)?;
    let stops = Arc::new(AtomicBool::new(false));
    let probing = {
        let stops = Arc::clone(&stops);
        thread::spawn(move || probes::until(endpoint, &stops))
    };
    let watching = memory(&servers, &stops)?;
    let load = Load {
        connections: options.connections,
        duration: Duration::from_secs_f64(options.seconds),
        rate: Some(rate),
        ..load
    };
    let outcome = match options.streams {
        0 => overload(&load, rate)?,
        streams => calls::run(&load, streams)?,
    };
    stops.store(true, Relaxed);
    let probed = probing.join().ok().context("the probes end in order")??;
    let megabytes = watching.join().ok().context("the watch ends in order")?;
    tell(&outcome, rate);
    println!("members grow from {:?} MB to {:?} MB", megabytes.0, megabytes.1);
    probed.tell();
    let changes = changes_of_leader(&servers)? - changes;
    judge(&outcome, &probed, &megabytes, (changes, most))
}

/// What 64 that wait for their answers reach: connections, or calls on eight of them.
fn sustainable(options: &Options, load: &Load) -> anyhow::Result<f64> {
    if options.streams == 0 {
        let most = load::run(load)?;
        println!("sustainable, 64 connections: {most}");
        return Ok(most.rate());
    }
    let most = calls::run(&Load { connections: 8, ..load.clone() }, 8)?;
    ensure!(most.failed == 0 && most.refused.total() == 0, "calls failed without overload");
    println!("sustainable, 8 connections with 8 calls each: {:.0} calls/s", most.rate());
    Ok(most.rate())
}

fn tell(outcome: &Outcome, rate: f64) {
    let elapsed = outcome.elapsed.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let a_second = |count: u64| count as f64 / elapsed;
    for (what, latencies) in [("accepted", &outcome.accepted), ("refused", &outcome.refused)] {
        let of = |share| latencies.quantile(share).as_secs_f64() * 1e3;
        println!(
            "{what}: {:.0} a second, p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms",
            a_second(latencies.total()),
            of(0.5),
            of(0.99),
            of(0.999)
        );
    }
    println!(
        "due: {rate:.0} a second; {:.0} not sent, for all waited; {} failed",
        a_second(outcome.unsent),
        outcome.failed
    );
}

fn judge(
    outcome: &Outcome,
    probed: &Probed,
    megabytes: &(Vec<f64>, Vec<f64>),
    (changes, sustainable): (f64, f64),
) -> anyhow::Result<()> {
    let mut goals = Goals::default();
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let of = |count: u64| count as f64;
    let p99 = outcome.accepted.quantile(0.99).as_secs_f64();
    goals.add("p99 of what is accepted, s", p99, Bound::Below(1.0));
    goals.add("accepted / sustainable", outcome.rate() / sustainable, Bound::AtLeast(0.5));
    goals.add("neither accepted nor refused", of(outcome.failed), Bound::Below(1.0));
    let (before, most) = megabytes;
    let grown = before.iter().zip(most).map(|(before, most)| most - before);
    goals.add("a member grows by MB", grown.fold(0.0, f64::max), Bound::Below(256.0));
    goals.add("changes of the leader", changes, Bound::Below(1.0));
    goals.add("probes that failed", of(probed.failed()), Bound::Below(1.0));
    goals.add("p99 of the probes, s", probed.worst(0.99), Bound::Below(1.0));
    goals.judge()
}

/// Holds this thread, and whatever it starts, to a core.
fn hold_to(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("be held to core {core}"))
}

/// How many each member has seen, together.
fn changes_of_leader(servers: &[Server]) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for server in servers {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", server.endpoint);
        let (_, body) = cluster::ask(server.endpoint, &request)?;
        let text = String::from_utf8_lossy(&body);
        let name = "etcd_server_leader_changes_seen_total ";
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        sum += value.context("the metric of leaders")?.parse::<f64>()?;
    }
    Ok(sum)
}

/// Megabytes of each member now, and at most until it is told to stop.
fn memory(
    servers: &[Server],
    stops: &Arc<AtomicBool>,
) -> anyhow::Result<thread::JoinHandle<(Vec<f64>, Vec<f64>)>> {
    let pids: Vec<u32> = servers.iter().map(Server::pid).collect();
    let now = |pids: &[u32]| -> Vec<f64> {
        let one = |pid: &u32| crate::process::resident_megabytes(*pid).unwrap_or(f64::NAN);
        pids.iter().map(one).map(f64::round).collect()
    };
    let before = now(&pids);
    ensure!(before.iter().all(|megabytes| megabytes.is_finite()), "a member has ended");
    let stops = Arc::clone(stops);
    Ok(thread::spawn(move || {
        let mut most = before.clone();
        while !stops.load(Relaxed) {
            thread::sleep(LOOK_EVERY);
            for (most, now) in most.iter_mut().zip(now(&pids)) {
                *most = most.max(now);
            }
        }
        (before, most)
    }))
}

fn overload(load: &Load, rate: f64) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, send_all(load, rate))
}

async fn send_all(load: &Load, rate: f64) -> anyhow::Result<Outcome> {
    let requests: Rc<[Vec<u8>]> = load::requests(load, Verb::Put).into();
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(Connection::open(load.endpoint).await?);
    }
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let began = Instant::now();
    let due = Due { began, rate, until: began + load.duration, next: Rc::default() };
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            let (requests, outcome) = (Rc::clone(&requests), Rc::clone(&outcome));
            tokio::task::spawn_local(send(connection, requests, due.clone(), outcome))
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let outcome = Rc::into_inner(outcome).context("all have ended")?;
    Ok(Outcome { elapsed: began.elapsed(), ..outcome.into_inner() })
}

/// When each request is due, and which is the next.
#[derive(Clone)]
struct Due {
    began: Instant,
    rate: f64,
    until: Instant,
    next: Rc<Cell<u64>>,
}

impl Due {
    /// The next request that can be sent in its time; how many could not; `None`: it is over.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    fn next(&self, now: Instant) -> (Option<(u64, Instant)>, u64) {
        let first = now
            .checked_sub(SLACK)
            .map_or(Duration::ZERO, |time| time.saturating_duration_since(self.began));
        let first = (first.as_secs_f64() * self.rate) as u64;
        let number = self.next.get().max(first);
        let unsent = number - self.next.get();
        let at = self.began + Duration::from_secs_f64(number as f64 / self.rate);
        if at >= self.until {
            return (None, 0);
        }
        self.next.set(number + 1);
        (Some((number, at)), unsent)
    }
}

async fn send(
    mut connection: Connection,
    requests: Rc<[Vec<u8>]>,
    due: Due,
    outcome: Rc<RefCell<Outcome>>,
) -> anyhow::Result<()> {
    loop {
        let (next, unsent) = due.next(Instant::now());
        outcome.borrow_mut().unsent += unsent;
        let Some((number, at)) = next else { return Ok(()) };
        if Instant::now() < at {
            tokio::time::sleep_until(at.into()).await;
        }
        let at = at.max(Instant::now().checked_sub(SLACK).unwrap_or(at));
        let place = usize::try_from(number).unwrap_or(0) % requests.len().max(1);
        let request = requests.get(place).context("a request")?;
        let status = tokio::time::timeout(PATIENCE, connection.ask(request)).await;
        let took = at.elapsed();
        let mut outcome = outcome.borrow_mut();
        match status {
            Ok(Ok(200 | 201)) => outcome.accepted.record(took),
            Ok(Ok(503)) => outcome.refused.record(took),
            Ok(Ok(_)) => outcome.failed += 1,
            Ok(Err(_)) | Err(_) => {
                outcome.failed += 1;
                return Ok(());
            }
        }
    }
}
