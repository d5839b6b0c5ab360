//! The yardstick: real etcd, ours and ceilings in turn, under the same load, in one run; line by line, judged
//! by the goals.
//!
//! - `work`: the lines and their goals, as one table
//! - `load`: what is sent; `requests`, `watch`, `keep_alive`: its parts; `ceilings`: a bare sync
//! - `servers`: who is measured, and one measurement; `figures`: what rounds come to; `judge`: ratios, goals
//! - `table`, `chart`, `results`: Markdown, SVG, JSON

mod ceilings;
mod chart;
mod figures;
mod judge;
mod keep_alive;
mod load;
mod requests;
mod results;
mod servers;
mod table;
mod watch;
mod work;

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use judge::{Judged, Line};
use load::Sizes;
use serde_json::{Value, json};
use servers::Contender;
use work::Work;

use crate::process;

#[derive(Args)]
pub(crate) struct Options {
    /// Our server.
    #[arg(long, default_value = "target/release/etcd")]
    ours: PathBuf,
    /// An original: its binary, or the directory that holds `etcd`. Of several the better one counts, on each
    /// line for each figure.
    #[arg(long)]
    against: Vec<PathBuf>,
    /// Where the data goes: the disk under test.
    #[arg(long, default_value = "target")]
    under: PathBuf,
    /// Where table, JSON and chart go.
    #[arg(long, default_value = "docs/performance/yardstick")]
    out: PathBuf,
    /// These lines alone, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Small sizes: the whole table in some minutes. Its figures say that all works, and little else.
    #[arg(long)]
    quick: bool,
    /// How often each is measured, in an order that turns round; half as often where all keys are written
    /// first. [default: 3; quick: 2]
    #[arg(long)]
    rounds: Option<usize>,
    /// Of each measurement. [default: 4; quick: 0.4]
    #[arg(long)]
    seconds: Option<f64>,
    /// Of `memory`, `start` and `range-all`. [default: 1000000; quick: 10000]
    #[arg(long)]
    keys: Option<u64>,
    /// [default: 10000; quick: 1000]
    #[arg(long)]
    watchers: Option<usize>,
    /// Streams that the watchers are spread over. [default: 100; quick: 10]
    #[arg(long)]
    watch_streams: Option<usize>,
    /// [default: 10000; quick: 1000]
    #[arg(long)]
    leases: Option<u64>,
    /// Requests a second of open loops.
    #[arg(long, default_value_t = 5000.0)]
    open_rate: f64,
}

impl Options {
    fn sizes(&self) -> Sizes {
        let quick = self.quick;
        Sizes {
            seconds: self.seconds.unwrap_or(if quick { 0.4 } else { 4.0 }),
            keys: self.keys.unwrap_or(if quick { 10_000 } else { 1_000_000 }),
            watchers: self.watchers.unwrap_or(if quick { 1_000 } else { 10_000 }),
            watch_streams: self.watch_streams.unwrap_or(if quick { 10 } else { 100 }),
            leases: self.leases.unwrap_or(if quick { 1_000 } else { 10_000 }),
            open_rate: self.open_rate,
        }
    }

    fn rounds(&self, work: &Work) -> usize {
        let rounds = self.rounds.unwrap_or(if self.quick { 2 } else { 3 });
        if work.is_long() { rounds.div_ceil(2) } else { rounds }
    }

    fn work(&self) -> anyhow::Result<Vec<&'static Work>> {
        let names = || work::ALL.iter().map(|work| work.name).collect::<Vec<_>>().join(" ");
        for name in &self.only {
            let is_known = work::ALL.iter().any(|work| work.name == name);
            ensure!(is_known, "no line is called {name}; there are {}", names());
        }
        let is_wanted =
            |work: &&Work| self.only.is_empty() || self.only.iter().any(|name| name == work.name);
        Ok(work::ALL.iter().filter(is_wanted).collect())
    }
}

/// Writes what was found, goals met or missed; fails if something could not be measured.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let all = options.work()?;
    let contenders = servers::contenders(&options.ours, &options.against)?;
    let about = about(options, &contenders);
    if cfg!(debug_assertions) {
        println!(
            "bench itself is not optimised, nor are its ceilings: what is held against them says nothing"
        );
    }
    fs::create_dir_all(&options.out).context("make the directory of the results")?;
    let (mut lines, mut failures) = (Vec::new(), Vec::new());
    for work in all {
        lines.push(measure(options, work, &contenders, &mut failures));
        // A run takes long: what is measured is kept.
        write(&options.out, &about, &lines, &failures)?;
    }
    let judged = judged(&lines);
    println!("\n{}\n{}", table::figures(&lines), table::goals(&judged));
    let missed = judged.iter().filter(|one| one.verdict != judge::Verdict::Met).count();
    println!(
        "{} of {} goals met; written to {}",
        judged.len() - missed,
        judged.len(),
        options.out.display()
    );
    ensure!(
        failures.is_empty(),
        "{} measurements failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    Ok(())
}

fn judged(lines: &[Line]) -> Vec<Judged> {
    lines.iter().flat_map(Line::judge).collect()
}

/// All rounds of a line, each with all servers: there and back.
fn measure(
    options: &Options,
    work: &'static Work,
    contenders: &[Contender],
    failures: &mut Vec<String>,
) -> Line {
    println!("\n{}: {}", work.name, work.title);
    let mut line = Line { work, servers: servers::of_line(work, contenders) };
    let sizes = options.sizes();
    for round in 0..options.rounds(work) {
        let mut order: Vec<usize> = (0..line.servers.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let Some(server) = line.servers.get_mut(at) else { continue };
            let found = servers::measure(work, server, contenders, (&options.under, &sizes));
            let figures = found.unwrap_or_else(|error| {
                let failure = format!("{}, {}, round {round}: {error:#}", work.name, server.name);
                println!("  FAILED {failure}");
                failures.push(failure);
                figures::Figures::new()
            });
            let shown = figures.iter().map(|(quantity, figure)| {
                format!("{} {} {}", quantity.title(), table::number(*figure), quantity.unit())
            });
            println!("  {}: {}", server.name, shown.collect::<Vec<_>>().join(", "));
            server.rounds.push(figures);
        }
    }
    for judged in line.judge() {
        println!("  {}: {} ({})", judged.what(), judged.verdict, judged.goal.bound);
    }
    line
}

/// Of what, on what and how much.
fn about(options: &Options, contenders: &[Contender]) -> Value {
    let Sizes { seconds, keys, watchers, watch_streams, leases, open_rate } = options.sizes();
    let servers = contenders.iter().map(|one| {
        let path = one.binary.as_ref().map(|path| path.display().to_string());
        let says = one.binary.as_ref().and_then(|path| process::version_text(path).ok());
        let says = says.map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        json!({ "name": one.name, "version": one.version, "binary": path, "says": says })
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    json!({
        "measured_at_unix": now.map_or(0, |since| since.as_secs()),
        "machine": results::machine(&options.under),
        "servers": servers.collect::<Vec<_>>(),
        "ceilings_are_optimised": !cfg!(debug_assertions),
        "sizes": {
            "quick": options.quick,
            "seconds": seconds,
            "keys": keys,
            "revisions_before_a_start": load::REVISIONS_OF_EACH * keys,
            "value_bytes": requests::VALUE_BYTES,
            "watchers": watchers,
            "watch_streams": watch_streams,
            "leases": leases,
            "open_rate_per_s": open_rate,
        },
    })
}

fn write(out: &Path, about: &Value, lines: &[Line], failures: &[String]) -> anyhow::Result<()> {
    let judged = judged(lines);
    let servers = lines.first().into_iter().flat_map(|line| &line.servers);
    let servers: Vec<&str> = servers.map(|server| server.name.as_str()).collect();
    let title = format!("Goals, as ratios of ours to others: {}", servers.join(", "));
    let chart = chart::svg(&judged, &title);
    let table = format!(
        "# The yardstick: one run\n\nMedians of the rounds; ratios are those within a round, with the least and the \
         most.\n[How to read this](../yardstick.md).\n\n{}\n## Goals\n\n{}",
        table::figures(lines),
        table::goals(&judged)
    );
    let json = results::text(&results::json(about, lines, failures))?;
    for (name, text) in [("results.json", json), ("ratios.svg", chart), ("table.md", table)] {
        fs::write(out.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Cli::try_parse_from([&["bench"], arguments].concat()).unwrap().options
    }

    #[test]
    fn lines_are_picked_by_name_and_a_wrong_name_is_told() {
        let names = |arguments: &[&str]| -> anyhow::Result<Vec<&str>> {
            Ok(options(arguments).work()?.iter().map(|work| work.name).collect())
        };
        assert_eq!(names(&["--only", "watch,put-1"]).unwrap(), ["put-1", "watch"]);
        assert_eq!(names(&[]).unwrap().len(), work::ALL.len());
        let error = names(&["--only", "put"]).unwrap_err().to_string();
        assert!(error.starts_with("no line is called put; there are put-1 put-64 "), "{error}");
    }

    #[test]
    fn what_is_asked_for_counts_more_than_quick_does() {
        let chosen = options(&["--quick", "--keys", "7", "--rounds", "5"]);
        assert_eq!((chosen.sizes().keys, chosen.sizes().leases), (7, 1000));
        let named = |name| work::ALL.iter().find(|work| work.name == name).unwrap();
        assert_eq!((chosen.rounds(named("put-64")), chosen.rounds(named("start"))), (5, 3));
    }
}
