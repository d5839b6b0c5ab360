//! `check perf`

use std::{
    ffi::OsString,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use client::v3::Client;
use tokio::time::interval;

use super::{
    super::lock::interrupted,
    Keys, Size, clients, load,
    load::{Load, Outcome},
};
use crate::{
    failure::{Exit, Failure},
    output::line,
    v3::{cli::Globals, progress::Progress},
};

const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;
/// What the slowest write may take, in seconds.
const SLOWEST: f64 = 0.5;
/// How far writes may scatter, in seconds.
const DEVIATION: f64 = 0.1;
/// How much of the load must be carried.
const CARRIED: f64 = 0.9;

/// Whether the cluster carries a load of writes
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl check perf [FLAGS]",
    after_help = "Writes for a minute and deletes what it wrote. s: 150 writes a second by 50 \
        clients; m: 1000 by 200; l: 8000 by 500; xl: 15000 by 1000. PASS: at least 90 % of that, no \
        write above 500 ms, a standard deviation of at most 100 ms.\n\n\
        Example:\n  etcdctl check perf --load m"
)]
pub(crate) struct Perf {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<OsString>,
    /// How much: s, m, l or xl
    #[arg(long, value_name = "SIZE", default_value = "s")]
    load: String,
    /// What the keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "/etcdctl-check-perf/")]
    prefix: String,
    /// Compact afterwards
    #[arg(long)]
    auto_compact: bool,
    /// Defragment afterwards
    #[arg(long)]
    auto_defrag: bool,
    /// How long to write (the original: always a minute)
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = base::duration::parse)]
    duration: Duration,
}

impl Perf {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (rate, count): (u32, usize) = match Size::named(&self.load)? {
            Size::Small => (150, 50),
            Size::Medium => (1000, 200),
            Size::Large => (8000, 500),
            Size::XLarge => (15_000, 1000),
        };
        let keys = Keys {
            prefix: self.prefix.clone(),
            compacts: self.auto_compact,
            defragments: self.auto_defrag,
        };
        let clients = clients(globals, count).await?;
        let Some(first) = clients.first().cloned() else { return Ok(()) };
        keys.check_empty(&first).await?;
        let load = Load {
            prefix: self.prefix,
            key_bytes: KEY_BYTES,
            value_bytes: VALUE_BYTES,
            rate: Some(rate.into()),
            writes_max: u64::MAX,
            lasts: self.duration,
        };
        let outcome = measured(clients, load).await;
        keys.clean_up(&first, globals).await?;
        judge(&outcome, rate)
    }
}

/// Writes, with a bar that shows the seconds; Ctrl-C ends it early.
async fn measured(clients: Vec<Client>, load: Load) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let progress = Progress::of_steps("check perf (seconds)", load.lasts.as_secs());
    let mut writing = pin!(load::run(clients, load, Arc::clone(&stop), || {}));
    let mut seconds = interval(Duration::from_secs(1));
    seconds.tick().await;
    loop {
        tokio::select! {
            outcome = &mut writing => return outcome,
            _ = seconds.tick() => progress.add(1),
            () = interrupted() => stop.store(true, Ordering::Relaxed),
        }
    }
}

fn judge(outcome: &Outcome, rate: u32) -> Result<(), Failure> {
    let mut passed = outcome.errors.is_empty();
    if !passed {
        line("FAIL: too many errors")?;
        for (error, times) in &outcome.errors {
            line(format_args!("FAIL: ERROR({error}) -> {times}"))?;
        }
    }
    let per_second = outcome.per_second();
    let shown = per_second.floor() + 1.0;
    if per_second / f64::from(rate) <= CARRIED {
        line(format_args!("FAIL: Throughput too low: {shown} writes/s"))?;
        passed = false;
    } else {
        line(format_args!("PASS: Throughput is {shown} writes/s"))?;
    }
    let slowest = outcome.slowest();
    if slowest > SLOWEST {
        line(format_args!("Slowest request took too long: {slowest:.6}s"))?;
        passed = false;
    } else {
        line(format_args!("PASS: Slowest request took {slowest:.6}s"))?;
    }
    let deviation = outcome.deviation();
    if deviation > DEVIATION {
        line(format_args!("Stddev too high: {deviation:.6}s"))?;
        passed = false;
    } else {
        line(format_args!("PASS: Stddev is {deviation:.6}s"))?;
    }
    line(if passed { "PASS" } else { "FAIL" })?;
    if passed { Ok(()) } else { Err(Failure::silent(Exit::Error as u8)) }
}
