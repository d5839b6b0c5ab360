//! What it costs to poll quiet keys with an old `waitIndex`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use tokio::time;

use crate::{
    compare::median,
    connection::Connection,
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
    /// Clients, each with a quiet key of its own.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Writes to other keys, so that the old index is old.
    #[arg(long, default_value_t = 200_000)]
    writes: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let server = Server::start(&options.server, &options.under)?;
    let load = Load {
        endpoint: server.endpoint,
        verb: Verb::Put,
        connections: 64,
        value_bytes: 64,
        keys: 1000,
        key_bytes: 0,
        ttl: None,
        duration: Duration::from_hours(1),
        count: Some(options.writes),
        rate: None,
    };
    load::run(&load)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut fresh, mut old) = (Vec::new(), Vec::new());
    println!("| polls | fresh: CPU us each | old waitIndex: CPU us each |");
    println!("|---|---|---|");
    for _ in 0..options.rounds {
        let of_fresh = runtime.block_on(poll(&server, options.clients, ""))?;
        let of_old = runtime.block_on(poll(&server, options.clients, "&waitIndex=2"))?;
        println!("| {} | {of_fresh:.1} | {of_old:.1} |", options.clients);
        fresh.push(of_fresh);
        old.push(of_old);
    }
    println!("median ratio old / fresh: {:.2}", median(old) / median(fresh));
    Ok(())
}

/// Every client polls its key twenty times, going away in between; CPU microseconds per poll.
async fn poll(server: &Server, clients: usize, index: &str) -> anyhow::Result<f64> {
    const TIMES: usize = 20;
    let before = server.cpu_seconds()?;
    for _ in 0..TIMES {
        let mut waiting = Vec::with_capacity(clients);
        for client in 0..clients {
            let mut connection = Connection::open(server.endpoint).await?;
            let request = format!(
                "GET /v2/keys/quiet/{client}?wait=true{index} HTTP/1.1\r\nHost: {}\r\n\r\n",
                server.endpoint
            );
            connection.send(request.as_bytes()).await?;
            waiting.push(connection);
        }
        for connection in &mut waiting {
            connection.head().await?;
        }
        drop(waiting);
        time::sleep(Duration::from_millis(20)).await;
    }
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let polls = (clients * TIMES) as f64;
    Ok((server.cpu_seconds()? - before) * 1e6 / polls)
}
