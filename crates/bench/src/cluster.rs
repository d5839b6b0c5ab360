//! Three members of ours and three of the original's in turn, and how soon a dead leader is replaced.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    compare::median,
    connection::Connection,
    goals::{Bound, Goals},
    load::{self, Load, Verb},
    process::Server,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Our server.
    #[arg(long, default_value = "target/release/etcd")]
    ours: PathBuf,
    /// The original, 3.4 (with v2), if it is to be compared.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Where the data goes: the disk under test.
    #[arg(long, default_value = "target")]
    under: PathBuf,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Of each measurement.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 20)]
    elections: usize,
}

const MEMBERS: usize = 3;
/// The default of the servers.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_PATIENCE: Duration = Duration::from_millis(50);

/// One measurement of one cluster.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    /// Microseconds.
    p50: f64,
    p99: f64,
    /// Microseconds of all members' time per request.
    cpu: f64,
}

/// Fails if a goal is missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut goals = Goals::default();
    let start = |binary| Server::start_cluster(binary, &options.under, MEMBERS);
    let mut clusters = vec![("ours", start(&options.ours)?)];
    if let Some(against) = &options.against {
        clusters.push(("original", start(against)?));
    }
    for connections in [64, 1] {
        compare(options, &clusters, connections, &mut goals)?;
    }
    clusters.truncate(1);
    if let Some((_, ours)) = clusters.first_mut() {
        elections(options, ours, &mut goals)?;
    }
    goals.judge()
}

fn compare(
    options: &Options,
    clusters: &[(&str, Vec<Server>)],
    connections: usize,
    goals: &mut Goals,
) -> anyhow::Result<()> {
    println!("\nPUT to the leader of three, {connections} connections, 64 bytes:");
    let mut all = vec![Vec::new(); clusters.len()];
    for _ in 0..options.rounds {
        for ((_, servers), found) in clusters.iter().zip(&mut all) {
            found.push(measure(options, servers, connections)?);
        }
    }
    println!("| three of | requests/s | p50 us | p99 us | CPU us/request, all members |");
    println!("|---|---|---|---|---|");
    for ((name, _), found) in clusters.iter().zip(&all) {
        let of = |figure: fn(&Figures) -> f64| median(found.iter().map(figure).collect());
        let (rate, p50, p99, cpu) = (of(|f| f.rate), of(|f| f.p50), of(|f| f.p99), of(|f| f.cpu));
        println!("| {name} | {rate:.0} | {p50:.0} | {p99:.0} | {cpu:.1} |");
    }
    let [ours, theirs] = all.as_slice() else { return Ok(()) };
    let ratio = |figure: fn(&Figures) -> f64| {
        median(ours.iter().zip(theirs).map(|(o, t)| figure(o) / figure(t)).collect())
    };
    if connections == 1 {
        goals.add("one connection: p50 / original", ratio(|f| f.p50), Bound::Below(1.0));
        goals.add("one connection: p99 / original", ratio(|f| f.p99), Bound::Below(1.0));
    } else {
        goals.add("64 connections: rate / original", ratio(|f| f.rate), Bound::AtLeast(2.0));
        goals.add("64 connections: CPU / original", ratio(|f| f.cpu), Bound::Below(0.5));
    }
    Ok(())
}

fn measure(options: &Options, servers: &[Server], connections: usize) -> anyhow::Result<Figures> {
    let leader = leader(servers)?;
    let endpoint = servers.get(leader).context("a leader")?.endpoint;
    let load = Load {
        endpoint,
        verb: Verb::Put,
        connections,
        value_bytes: 64,
        keys: 1000,
        key_bytes: 0,
        ttl: None,
        duration: Duration::from_secs_f64(options.seconds),
        count: None,
        rate: None,
    };
    let cpu = || servers.iter().map(Server::cpu_seconds).sum::<anyhow::Result<f64>>();
    let before = cpu()?;
    let report = load::run(&load)?;
    anyhow::ensure!(report.failed == 0, "{} requests failed", report.failed);
    Ok(Figures {
        rate: report.rate(),
        p50: report.quantile(0.5),
        p99: report.quantile(0.99),
        cpu: (cpu()? - before) * 1e6 / report.requests(),
    })
}

/// From the leader's death to the first write that another member acknowledges.
fn elections(options: &Options, servers: &mut [Server], goals: &mut Goals) -> anyhow::Result<()> {
    let mut took = Vec::new();
    for _ in 0..options.elections {
        let dead = leader(servers)?;
        let others = servers.iter().enumerate().filter(|(at, _)| *at != dead);
        let others: Vec<_> = others.map(|(_, server)| server.endpoint).collect();
        let server = servers.get_mut(dead).context("a leader")?;
        server.kill();
        let killed = Instant::now();
        while !others.iter().any(|endpoint| writes(*endpoint)) {
            anyhow::ensure!(killed.elapsed() < PATIENCE, "no new leader");
            std::thread::sleep(Duration::from_millis(2));
        }
        took.push(killed.elapsed().as_secs_f64());
        server.restart()?;
    }
    took.sort_by(f64::total_cmp);
    let shown: Vec<String> = took.iter().map(|seconds| format!("{seconds:.2}")).collect();
    println!("\nfrom a leader's death to the next write, in seconds: {}", shown.join(" "));
    let median = median(took) / ELECTION_TIMEOUT.as_secs_f64();
    goals.add("a new leader, in election timeouts (median)", median, Bound::Below(1.5));
    Ok(())
}

fn writes(endpoint: SocketAddr) -> bool {
    let request = format!(
        "PUT /v2/keys/election HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\nvalue=x"
    );
    ask(endpoint, &request).is_ok_and(|(status, _)| matches!(status, 200 | 201))
}

/// Asks once, and not for long: a member without a leader keeps a write waiting.
pub(crate) fn ask(endpoint: SocketAddr, request: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = async {
            let mut connection = Connection::open(endpoint).await?;
            connection.send(request.as_bytes()).await?;
            connection.answer().await
        };
        tokio::time::timeout(ANSWER_PATIENCE, asked).await?
    })
}

/// Which of them says that it leads.
pub(crate) fn leader(servers: &[Server]) -> anyhow::Result<usize> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let leads = |server: &Server| -> anyhow::Result<bool> {
            let endpoint = server.endpoint;
            let request = format!("GET /v2/stats/self HTTP/1.1\r\nHost: {endpoint}\r\n\r\n");
            let (_, body) = ask(endpoint, &request)?;
            Ok(String::from_utf8_lossy(&body).contains("StateLeader"))
        };
        if let Some(at) = servers.iter().position(|server| leads(server).unwrap_or(false)) {
            return Ok(at);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("nobody leads")
}
