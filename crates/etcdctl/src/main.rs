//! `etcdctl`: etcd's command line, for its API 2 and its API 3.
//!
//! A run puts the arguments into an order that does not depend on where flags stood (`argv`), finds
//! out which API they are about (`api`), parses them (`cli`, `v3::cli`), reaches the cluster, carries
//! out one of the `commands`, and prints its outcome (`output`) or why there is none (`failure`).
//! What is API 3's alone is in `v3`.

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
mod v3;

use std::{ffi::OsString, process::ExitCode};

use api::Api;
use cli::Cli;
use failure::Failure;

fn main() -> ExitCode {
    match run(std::env::args_os().collect()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let asked = api::asked(std::env::var_os("ETCDCTL_API").as_deref())?;
    let v3_grammar = v3::cli::grammar();
    let environment = v3::cli::environment(&v3_grammar, |name| std::env::var_os(name));
    let for_v3 = argv::arrange_v3(&v3_grammar, arguments.clone(), environment);
    if asked == Some(Api::V3) {
        return run_v3(v3_grammar, for_v3);
    }
    let grammar = cli::grammar();
    let arranged = argv::arrange(&grammar, arguments);
    if asked.is_none() && api::meant(&arranged, &for_v3) == Api::V3 {
        return run_v3(v3_grammar, for_v3);
    }
    let cli = match Cli::read(grammar, arranged.words) {
        Ok(cli) => cli,
        Err(answer) => return Ok(cli::answer(&answer)),
    };
    block_on(false, commands::run(cli))
}

fn run_v3(grammar: clap::Command, arranged: argv::Arranged) -> Result<ExitCode, Failure> {
    for name in v3::cli::strange_variables(&grammar) {
        output::note(format_args!("etcdctl: warning: the variable {name} has no meaning"));
    }
    match v3::cli::Cli::read(grammar, arranged) {
        Ok(cli) => block_on(cli.makes_load(), cli.run()),
        Err(answer) => v3::cli::answer(&answer),
    }
}

/// One thread, where there is one thing to do at a time: a start costs less.
fn block_on(
    many_threads: bool,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<ExitCode, Failure> {
    use tokio::runtime::Builder;
    let mut builder =
        if many_threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|problem| Failure::plain(format!("start etcdctl: {problem}")))?;
    let outcome = runtime.block_on(work);
    // What reads stdin cannot be stopped, and nobody waits for it.
    runtime.shutdown_background();
    outcome?;
    Ok(ExitCode::SUCCESS)
}
