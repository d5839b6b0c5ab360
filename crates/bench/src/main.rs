//! Load for any etcd with the v2 API, and comparisons in one run: `bench --help`.
//!
//! - `load`: many connections, one kind of request; `connection`, `histogram`: its parts
//! - `calls`: the same over gRPC, on few connections; `frames`: as much HTTP/2 as that takes
//! - `process`: a server under test, and what Linux says it costs
//! - `compare`: ours, the original and a no-op service in turn; `noop`: that service
//! - `yardstick`: ours, originals and ceilings in one run, line by line, judged by goals; `noop_grpc`: a
//!   ceiling; `streams`: watches and keep-alives
//! - `cluster`: three members, and elections; `catch_up`: one of them that was away
//! - `overload`: more than members can take; `probes`: what must go on meanwhile
//! - `instructions`: how many instructions a request takes, counted by callgrind
//! - `overwrite`, `poll`, `wake`: memory, disk and watchers over a long time

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a load generator measures real time, and prints what it found"
)]

mod calls;
mod catch_up;
mod cluster;
mod compare;
mod connection;
mod frames;
mod goals;
mod histogram;
mod instructions;
mod load;
mod noop;
mod noop_grpc;
mod overload;
mod overwrite;
mod poll;
mod probes;
mod process;
mod streams;
mod wake;
mod yardstick;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use load::{Load, Verb};

#[derive(Parser)]
#[command(name = "bench", about = "Load for any etcd with the v2 API")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// PUT as fast as the connections allow.
    Put(LoadArgs),
    /// GET as fast as the connections allow; the keys are written first.
    Get(LoadArgs),
    /// Serve a fixed answer like that of a GET: the most that this machine can reach.
    Noop {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Of the value that the answer shows.
        #[arg(long, default_value_t = 64)]
        value_bytes: usize,
    },
    /// The same over gRPC, by tonic's own server.
    NoopGrpc {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Of the value that the answer of a read shows.
        #[arg(long, default_value_t = 64)]
        value_bytes: usize,
    },
    /// Ours, originals and ceilings in one run, as table, JSON and chart, judged by the goals.
    Yardstick(yardstick::Options),
    /// Count the instructions of a put, a get and a GET of v2 under callgrind; fails where one of them takes more
    /// than is known of it.
    Instructions(instructions::Options),
    /// Measure our server, the original and the no-op service in turn, in one run.
    Compare(compare::Options),
    /// Measure three members of ours and of the original in turn, and elections.
    Cluster(cluster::Options),
    /// Let a follower of three catch up with what it missed, under an open-loop load.
    CatchUp(catch_up::Options),
    /// Send three members far more than they can take, and see what becomes of it.
    Overload(overload::Options),
    /// Overwrite a few keys very often, and show memory and disk on the way.
    Overwrite(overwrite::Options),
    /// Poll quiet keys with an old `waitIndex`, and with none, and compare the costs.
    Poll(poll::Options),
    /// Wait on very many keys at once, and measure how soon one write wakes those concerned.
    Wake(wake::Options),
}

#[derive(Args, Clone)]
struct LoadArgs {
    #[arg(long, default_value = "127.0.0.1:2379")]
    endpoint: SocketAddr,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Calls of gRPC that each connection has under way; 0: requests of v2.
    #[arg(long, default_value_t = 0)]
    streams: usize,
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Keys that the requests go round.
    #[arg(long, default_value_t = 1000)]
    keys: usize,
    /// Key length in bytes, padded; 0: as short as can be.
    #[arg(long, default_value_t = 0)]
    key_bytes: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Stop after so many requests rather than after a time.
    #[arg(long)]
    count: Option<u64>,
    /// Requests a second of an open loop, whose latencies count from when each is due.
    #[arg(long)]
    rate: Option<f64>,
    /// The server's process id, to show what a request costs it.
    #[arg(long)]
    pid: Option<u32>,
}

impl LoadArgs {
    fn load(&self, verb: Verb) -> Load {
        Load {
            endpoint: self.endpoint,
            verb,
            connections: self.connections,
            value_bytes: self.value_bytes,
            keys: self.keys,
            key_bytes: self.key_bytes,
            ttl: None,
            duration: Duration::from_secs_f64(self.seconds),
            count: self.count,
            rate: self.rate,
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    process::raise_file_limit();
    match command {
        Command::Put(args) => one(&args, Verb::Put),
        Command::Get(args) => {
            load::fill(&args.load(Verb::Get))?;
            one(&args, Verb::Get)
        }
        Command::Noop { listen, value_bytes } => noop::serve(listen, value_bytes),
        Command::NoopGrpc { listen, value_bytes } => noop_grpc::serve(listen, value_bytes),
        Command::Yardstick(options) => yardstick::run(&options),
        Command::Cluster(options) => cluster::run(&options),
        Command::CatchUp(options) => catch_up::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Instructions(options) => instructions::run(&options),
        Command::Overload(options) => overload::run(&options),
        Command::Overwrite(options) => overwrite::run(&options),
        Command::Poll(options) => poll::run(&options),
        Command::Wake(options) => wake::run(&options),
    }
}

fn one(args: &LoadArgs, verb: Verb) -> anyhow::Result<()> {
    let before = args.pid.map(process::cpu_seconds).transpose()?;
    let report = match args.streams {
        0 => load::run(&args.load(verb))?,
        streams => calls::run(&args.load(verb), streams)?.into(),
    };
    println!("{report}");
    if let (Some(pid), Some(before)) = (args.pid, before) {
        let cpu = process::cpu_seconds(pid)? - before;
        println!(
            "server: {:.1} us of CPU per request, {:.1} MB resident",
            cpu * 1e6 / report.requests(),
            process::resident_megabytes(pid)?
        );
    }
    Ok(())
}
