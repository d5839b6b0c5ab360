//! How soon one write wakes those that wait for it, among very many.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::Args;
use tokio::time::{self, Instant};

use crate::{connection::Connection, process::Server};

#[derive(Args)]
pub(crate) struct Options {
    /// The server to start.
    #[arg(long, default_value = "target/release/etcd")]
    server: PathBuf,
    #[arg(long, default_value = "target")]
    under: PathBuf,
    #[arg(long, default_value_t = 10_000)]
    watchers: usize,
    /// Share of them, one in so many, that wait for the key that is written.
    #[arg(long, default_value_t = 1)]
    one_in: usize,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let server = Server::start(&options.server, &options.under)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(rounds(options, &server))
}

async fn rounds(options: &Options, server: &Server) -> anyhow::Result<()> {
    println!("| waiting | concerned | write answered ms | last event read ms | resident MB |");
    println!("|---|---|---|---|---|");
    let endpoint = server.endpoint;
    for _ in 0..options.rounds {
        let mut waiting = Vec::with_capacity(options.watchers);
        for number in 0..options.watchers {
            let key = if number % options.one_in == 0 {
                "hot".to_owned()
            } else {
                format!("cold/{number}")
            };
            let mut connection = Connection::open(endpoint).await?;
            let request =
                format!("GET /v2/keys/{key}?wait=true HTTP/1.1\r\nHost: {endpoint}\r\n\r\n");
            connection.send(request.as_bytes()).await?;
            connection.head().await?;
            waiting.push(connection);
        }
        let mut writer = Connection::open(endpoint).await?;
        let began = Instant::now();
        let request = format!(
            "PUT /v2/keys/hot HTTP/1.1\r\nHost: {endpoint}\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\nvalue=1"
        );
        writer.ask(request.as_bytes()).await?;
        let answered = began.elapsed();
        let concerned = waiting.iter_mut().step_by(options.one_in);
        let count = concerned.len();
        for connection in concerned {
            let (status, body) = connection.answer().await?;
            ensure!(status == 200 && body.starts_with(b"{\"action\":\"set\""), "a wrong event");
        }
        let last = began.elapsed();
        // Whoever waits for another key must still wait.
        if let Some(quiet) = waiting.get_mut(1).filter(|_| options.one_in > 1) {
            let woken = time::timeout(Duration::from_millis(50), quiet.answer()).await.is_ok();
            ensure!(!woken, "a write woke somebody whom it does not concern");
        }
        println!(
            "| {} | {count} | {:.1} | {:.1} | {:.1} |",
            options.watchers,
            answered.as_secs_f64() * 1e3,
            last.as_secs_f64() * 1e3,
            server.resident_megabytes()?
        );
    }
    Ok(())
}
