//! A follower that was away while much was written comes back, under an open-loop load.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;

use crate::{
    cluster,
    goals::{Bound, Goals},
    load::{self, Load, Report, Verb},
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
    /// What is written while the follower is away.
    #[arg(long, default_value_t = 1_000_000_000)]
    bytes: u64,
    /// Of the values that are written then.
    #[arg(long, default_value_t = 4096)]
    value_bytes: usize,
    /// Of the values of the load before and meanwhile.
    #[arg(long, default_value_t = 256)]
    load_value_bytes: usize,
    /// Of the measurements before and after.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Of the leader's maximum: the open-loop load.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Each with a new cluster; what counts is the median.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

const PATIENCE: Duration = Duration::from_mins(5);
/// A follower this near has caught up: the load moves on while we ask both.
const NEAR: u64 = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The load's figures while the follower comes back.
struct Return {
    report: Report,
    took: Duration,
    /// Megabytes: before, and at most.
    leader: (f64, f64),
    follower: (f64, f64),
}

/// Fails if a goal is missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..options.rounds.max(1) {
        rounds.push(round(options)?);
    }
    let median = |figure: fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let mut goals = Goals::default();
    goals.add("p99 meanwhile / without", median(|round| round.slower), Bound::Below(2.0));
    goals.add("the leader grows by MB", median(|round| round.leader), Bound::Below(64.0));
    goals.add("the follower grows by MB", median(|round| round.follower), Bound::Below(64.0));
    goals.judge()
}

/// What a round gave.
struct Round {
    /// The p99 while the follower comes back, by what it is right before.
    slower: f64,
    /// By how many megabytes they grew.
    leader: f64,
    follower: f64,
}

fn round(options: &Options) -> anyhow::Result<Round> {
    let mut servers = Server::start_cluster(&options.ours, &options.under, 3)?;
    let leader = cluster::leader(&servers)?;
    let away = (leader + 1) % servers.len();
    let load = Load {
        endpoint: servers.get(leader).context("a leader")?.endpoint,
        verb: Verb::Put,
        connections: 64,
        value_bytes: options.load_value_bytes,
        keys: 1_000,
        key_bytes: 0,
        ttl: None,
        duration: Duration::from_secs_f64(options.seconds),
        count: None,
        rate: None,
    };
    let most = sound(load::run(&load)?)?;
    println!("as fast as 64 connections go: {most}");
    let rate = Some(most.rate() * options.share);
    let load = Load { rate, connections: 512, ..load };
    let before = sound(load::run(&load)?)?;
    println!("open loop, three members: {before}");

    let follower = servers.get_mut(away).context("a follower")?;
    let small = follower.resident_megabytes()?;
    follower.kill();
    let count = usize::try_from(options.bytes)? / options.value_bytes;
    let written = Load {
        rate: None,
        connections: 64,
        value_bytes: options.value_bytes,
        duration: PATIENCE,
        count: Some(count as u64),
        // Each key once: what is overwritten need not be sent.
        keys: count,
        ..load.clone()
    };
    println!("written while it is away: {}", sound(load::run(&written)?)?);
    let alone = sound(load::run(&load)?)?;
    println!("open loop, two members: {alone}");

    let back = come_back(&load, &mut servers, (leader, away), small)?;
    println!("open loop until it has caught up, {:.1?}: {}", back.took, back.report);
    let sent =
        sum(servers.get(leader).context("a leader")?, "etcd_network_snapshot_send_success{")?;
    anyhow::ensure!(sent > 0.0, "it has caught up without a snapshot");
    let (leader, follower) = (back.leader, back.follower);
    println!("leader: {:.0} MB before, {:.0} MB at most", leader.0, leader.1);
    println!("follower: {:.0} MB before it went, {:.0} MB at most", follower.0, follower.1);
    #[allow(clippy::cast_precision_loss, reason = "a size")]
    let written_bytes = options.bytes as f64;
    let on_disk = servers.get(away).context("a follower")?.disk_megabytes();
    println!("on its disk: {on_disk:.0} MB");
    anyhow::ensure!(on_disk * 1e6 > 0.9 * written_bytes, "it does not have what was written");

    Ok(Round {
        slower: back.report.quantile(0.99) / alone.quantile(0.99),
        leader: leader.1 - leader.0,
        follower: follower.1 - follower.0,
    })
}

/// Starts the one that was away, and lets the load go on until it has caught up.
fn come_back(
    load: &Load,
    servers: &mut [Server],
    (leader, away): (usize, usize),
    small: f64,
) -> anyhow::Result<Return> {
    let stops = Arc::new(AtomicBool::new(false));
    let loading = {
        let (stops, load) = (Arc::clone(&stops), Load { duration: PATIENCE, ..load.clone() });
        thread::spawn(move || load::run_until(&load, &stops))
    };
    let caught_up = catch_up(servers, (leader, away));
    stops.store(true, Relaxed);
    let report = loading.join().ok().context("the load ends in order")??;
    let (took, leader, most) = caught_up?;
    Ok(Return { report: sound(report)?, took, leader, follower: (small, most) })
}

/// How long it took; the leader's megabytes before and at most; the follower's at most.
fn catch_up(
    servers: &mut [Server],
    (leader, away): (usize, usize),
) -> anyhow::Result<(Duration, (f64, f64), f64)> {
    // The load has begun.
    thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    servers.get_mut(away).context("a follower")?.launch()?;
    let [leader, follower] =
        servers.get_disjoint_mut([leader, away]).map_err(|_| anyhow::anyhow!("two members"))?;
    let before = leader.resident_megabytes()?;
    leader.forget_peak()?;
    loop {
        thread::sleep(LOOK_EVERY);
        let (Ok(all), Ok(reached)) = (revision(leader), revision(follower)) else { continue };
        if all < reached + NEAR {
            // The follower's counts from its start.
            let leader = (before, leader.peak_megabytes()?);
            return Ok((began.elapsed(), leader, follower.peak_megabytes()?));
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "it does not catch up: {reached} of {all}");
    }
}

/// How far a member's keyspace is.
fn revision(server: &Server) -> anyhow::Result<u64> {
    let text = metrics(server)?;
    let name = "etcd_debugging_mvcc_current_revision ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.context("the metric of the revision")?.parse()?)
}

/// A metric, over all its labels.
fn sum(server: &Server, name: &str) -> anyhow::Result<f64> {
    let text = metrics(server)?;
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(|line| Ok(line.rsplit(' ').next().context("a value")?.parse::<f64>()?)).sum()
}

fn metrics(server: &Server) -> anyhow::Result<String> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", server.endpoint);
    let (_, body) = cluster::ask(server.endpoint, &request)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn sound(report: Report) -> anyhow::Result<Report> {
    anyhow::ensure!(report.failed == 0, "{} requests failed", report.failed);
    Ok(report)
}
