//! `etcdctl`: etcd's command line, API 2.
//!
//! A run puts the arguments into an order that does not depend on where flags stood (`argv`),
//! parses them (`cli`), reaches the cluster (`connect`), carries out one of the `commands`, and
//! prints its outcome (`output`) or why there is none (`failure`).

mod api;
mod argv;
mod cli;
mod commands;
mod connect;
mod failure;
mod json;
mod number;
mod output;
mod password;

use std::{ffi::OsString, process::ExitCode};

use cli::Cli;
use failure::Failure;

fn main() -> ExitCode {
    match run(std::env::args_os().collect()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let grammar = cli::grammar();
    let arranged = argv::arrange(&grammar, arguments);
    let asked = std::env::var_os("ETCDCTL_API");
    api::check(asked.as_deref(), arranged.command.as_deref())?;
    let cli = match Cli::read(grammar, arranged.words) {
        Ok(cli) => cli,
        Err(answer) => return Ok(cli::answer(&answer)),
    };
    // One thread: there is one thing to do at a time, and a start costs less.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|problem| Failure::plain(format!("start etcdctl: {problem}")))?;
    runtime.block_on(commands::run(cli))?;
    Ok(ExitCode::SUCCESS)
}
