//! Memory and disk while a few keys are overwritten very often.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    load::{self, Load, Verb},
    process::Server,
};

#[derive(Args)]
pub(crate) struct Options {
    /// The server to start.
    #[arg(long, default_value = "target/release/etcd")]
    server: PathBuf,
    #[arg(long, default_value = "target")]
    under: PathBuf,
    #[arg(long, default_value_t = 10_000_000)]
    count: u64,
    #[arg(long, default_value_t = 100)]
    keys: usize,
    /// Give every second key this time to live.
    #[arg(long)]
    ttl: Option<u64>,
    /// Lines to print.
    #[arg(long, default_value_t = 40)]
    steps: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let server = Server::start(&options.server, &options.under)?;
    println!("| writes | writes/s | p99 us | resident MB | disk MB |");
    println!("|---|---|---|---|---|");
    for step in 1..=options.steps {
        let report = load::run(&Load {
            endpoint: server.endpoint,
            verb: Verb::Put,
            connections: 256,
            value_bytes: 64,
            keys: options.keys,
            key_bytes: 0,
            ttl: options.ttl,
            duration: Duration::from_hours(1),
            count: Some(options.count / options.steps),
            rate: None,
        })?;
        anyhow::ensure!(report.failed == 0, "{} writes failed", report.failed);
        println!(
            "| {} | {:.0} | {:.0} | {:.1} | {:.1} |",
            options.count / options.steps * step,
            report.rate(),
            report.quantile(0.99),
            server.resident_megabytes()?,
            server.disk_megabytes()
        );
    }
    Ok(())
}
