//! Ours, the original and a no-op service in turn, round after round, in one run.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
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
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    connections: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "64,256")]
    value_bytes: Vec<usize>,
}

/// One measurement of one server.
#[derive(Clone, Copy, Default)]
struct Figures {
    rate: f64,
    /// Microseconds.
    p50: f64,
    p99: f64,
    p999: f64,
    /// Microseconds of the server's time per request.
    cpu: f64,
}

/// Fails if a goal is missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut goals = Goals::default();
    for &value_bytes in &options.value_bytes {
        for &connections in &options.connections {
            for verb in [Verb::Put, Verb::Get] {
                compare(options, verb, (connections, value_bytes), &mut goals)?;
            }
        }
    }
    one_write(options, &mut goals)?;
    idle(options, &mut goals)?;
    goals.judge()
}

/// What a comparison at this many connections is held to.
const JUDGED_CONNECTIONS: usize = 64;

/// The servers to compare; the no-op service only stands beside GET.
fn servers(
    options: &Options,
    verb: Verb,
    value_bytes: usize,
) -> anyhow::Result<Vec<(&'static str, Server)>> {
    let mut servers = vec![("ours", Server::start(&options.ours, &options.under)?)];
    if let Some(against) = &options.against {
        servers.push(("original", Server::start(against, &options.under)?));
    }
    if verb == Verb::Get {
        servers.push(("no-op", Server::start_noop(value_bytes)?));
    }
    Ok(servers)
}

fn compare(
    options: &Options,
    verb: Verb,
    (connections, value_bytes): (usize, usize),
    goals: &mut Goals,
) -> anyhow::Result<()> {
    println!("\n{verb:?}, {connections} connections, {value_bytes} bytes:");
    let servers = servers(options, verb, value_bytes)?;
    let mut all = vec![Vec::new(); servers.len()];
    for round in 0..options.rounds {
        for ((name, server), found) in servers.iter().zip(&mut all) {
            let load = Load {
                endpoint: server.endpoint,
                verb,
                connections,
                value_bytes,
                keys: 1000,
                key_bytes: 0,
                ttl: None,
                duration: Duration::from_secs_f64(options.seconds),
                count: None,
                rate: None,
            };
            if verb == Verb::Get && round == 0 && *name != "no-op" {
                load::fill(&load)?;
            }
            found.push(measure(server, &load)?);
        }
    }
    println!("| server | requests/s | p50 us | p99 us | p99.9 us | CPU us/request |");
    println!("|---|---|---|---|---|---|");
    for ((name, _), found) in servers.iter().zip(&all) {
        let of = |figure: fn(&Figures) -> f64| median(found.iter().map(figure).collect());
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} |",
            of(|f| f.rate),
            of(|f| f.p50),
            of(|f| f.p99),
            of(|f| f.p999),
            of(|f| f.cpu)
        );
    }
    for ((name, _), found) in servers.iter().zip(&all).skip(1) {
        let ratio = |figure: fn(&Figures) -> f64| {
            let ours = all.first().into_iter().flatten();
            median(ours.zip(found).map(|(o, f)| figure(o) / figure(f)).collect())
        };
        let (rate, p99, cpu) = (ratio(|f| f.rate), ratio(|f| f.p99), ratio(|f| f.cpu));
        println!("ours / {name}: rate {rate:.2}, p99 {p99:.2}, CPU {cpu:.2}");
        if connections != JUDGED_CONNECTIONS {
            continue;
        }
        let what = |figure| format!("{verb:?}, {value_bytes} bytes: {figure} / {name}");
        match (verb, *name) {
            (Verb::Get, "no-op") => goals.add(what("rate"), rate, Bound::AtLeast(0.85)),
            (Verb::Get, _) => goals.add(what("p99"), p99, Bound::Below(1.0)),
            (Verb::Put, _) => {
                goals.add(what("rate"), rate, Bound::AtLeast(2.0));
                goals.add(what("CPU"), cpu, Bound::Below(0.5));
                goals.add(what("p99"), p99, Bound::Below(1.0));
            }
        }
    }
    Ok(())
}

fn measure(server: &Server, load: &Load) -> anyhow::Result<Figures> {
    let before = server.cpu_seconds()?;
    let report = load::run(load)?;
    anyhow::ensure!(report.failed == 0, "{} requests failed", report.failed);
    Ok(Figures {
        rate: report.rate(),
        p50: report.quantile(0.5),
        p99: report.quantile(0.99),
        p999: report.quantile(0.999),
        cpu: (server.cpu_seconds()? - before) * 1e6 / report.requests(),
    })
}

/// One write at a time, against what it cannot do without: a bare sync and an HTTP round trip.
///
/// Both are measured by themselves, and one after the other as a write has them: a disk that is
/// asked again at once answers sooner than one that was left alone for as long as a round trip.
fn one_write(options: &Options, goals: &mut Goals) -> anyhow::Result<()> {
    let ours = Server::start(&options.ours, &options.under)?;
    let noop = Server::start_noop(64)?;
    let duration = Duration::from_secs_f64(options.seconds / 4.0);
    let load = |server: &Server, verb| Load {
        endpoint: server.endpoint,
        verb,
        connections: 1,
        value_bytes: 64,
        keys: 1000,
        key_bytes: 0,
        ttl: None,
        duration,
        count: None,
        rate: None,
    };
    let (mut to_sum, mut to_both) = (Vec::new(), Vec::new());
    println!("\none connection: PUT p50 against a bare fdatasync and a no-op round trip (us):");
    println!("| PUT | fdatasync | no-op | PUT / sum | one after the other | PUT / that |");
    println!("|---|---|---|---|---|---|");
    for _ in 0..3 * options.rounds.max(3) {
        let put = load::run(&load(&ours, Verb::Put))?.quantile(0.5);
        let (sync, _) = bare_sync(&options.under, duration, &mut || Ok(()))?;
        let round_trip = load::run(&load(&noop, Verb::Get))?.quantile(0.5);
        let both = sync_after_round_trip(options, &noop, duration)?;
        let (sum_ratio, both_ratio) = (put / (sync + round_trip), put / both);
        println!(
            "| {put:.0} | {sync:.0} | {round_trip:.0} | {sum_ratio:.2} | {both:.0} | \
             {both_ratio:.2} |"
        );
        to_sum.push(sum_ratio);
        to_both.push(both_ratio);
    }
    let (to_sum, to_both) = (median(to_sum), median(to_both));
    println!("median ratios: {to_sum:.2} to the sum, {to_both:.2} to one after the other");
    goals.add("one connection: PUT p50 / (fdatasync + no-op)", to_sum, Bound::Below(1.3));
    Ok(())
}

/// The median time of a round trip to the no-op service with an fdatasync after it, in
/// microseconds.
fn sync_after_round_trip(
    options: &Options,
    noop: &Server,
    duration: Duration,
) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connection = runtime.block_on(Connection::open(noop.endpoint))?;
    let request = b"GET /v2/keys/bench/000000 HTTP/1.1\r\nHost: bench\r\n\r\n";
    let mut round_trip = || runtime.block_on(connection.ask(request)).map(drop);
    Ok(bare_sync(&options.under, duration, &mut round_trip)?.1)
}

/// The median times, in microseconds, of an fdatasync after 200 bytes into a file whose space is
/// reserved; and of all of it, with what comes before.
fn bare_sync(
    under: &Path,
    duration: Duration,
    before: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(f64, f64)> {
    const LENGTH: u64 = 64 << 20;
    let dir = tempfile::TempDir::new_in(under)?;
    let file = fs::File::create(dir.path().join("sync"))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, LENGTH)?;
    file.sync_all()?;
    let (mut syncs, mut wholes) = (Vec::new(), Vec::new());
    let began = Instant::now();
    let mut at = 0;
    while began.elapsed() < duration {
        let from = Instant::now();
        before()?;
        file.write_all_at(&[7; 200], at)?;
        let written = Instant::now();
        file.sync_data()?;
        syncs.push(written.elapsed().as_secs_f64() * 1e6);
        wholes.push(from.elapsed().as_secs_f64() * 1e6);
        at = (at + 200) % (LENGTH - 200);
    }
    Ok((median(syncs), median(wholes)))
}

/// What a server costs that has nothing to do; how soon it starts; what 100,000 keys take.
fn idle(options: &Options, goals: &mut Goals) -> anyhow::Result<()> {
    let mut starts = Vec::new();
    for _ in 0..10 {
        starts.push(Server::start(&options.ours, &options.under)?.started_in.as_secs_f64() * 1e3);
    }
    let start = median(starts);
    println!("\nstart on an empty directory to the first answer: median {start:.1} ms");
    goals.add("start, ms", start, Bound::Below(100.0));
    let server = Server::start(&options.ours, &options.under)?;
    std::thread::sleep(Duration::from_secs(1));
    let (before, began) = (server.cpu_seconds()?, Instant::now());
    std::thread::sleep(Duration::from_secs(10));
    let idle = (server.cpu_seconds()? - before) / began.elapsed().as_secs_f64() * 100.0;
    println!("idle: {idle:.2}% of a CPU, {:.1} MB resident", server.resident_megabytes()?);
    goals.add("idle, % of a CPU", idle, Bound::Below(1.0));
    load::fill(&Load {
        endpoint: server.endpoint,
        verb: Verb::Put,
        connections: 64,
        value_bytes: 64,
        keys: 100_000,
        key_bytes: 64,
        ttl: None,
        duration: Duration::ZERO,
        count: None,
        rate: None,
    })?;
    let at_once = server.resident_megabytes()?;
    goals.add("100,000 keys, MB resident", at_once, Bound::Below(40.0));
    std::thread::sleep(Duration::from_secs(5));
    println!(
        "100,000 keys of 64 bytes with 64-byte values: {at_once:.1} MB resident at once, {:.1} MB \
         after 5 s; {:.1} MB on disk",
        server.resident_megabytes()?,
        server.disk_megabytes()
    );
    Ok(())
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
