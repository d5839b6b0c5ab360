//! `etcdutl`: what is done to etcd's data where no server is asked: saved snapshots are looked into
//! and become members, data directories are checked.
//!
//! A run parses its arguments (`cli`) and carries out one of the `commands`. What `etcdctl` has too
//! is in the crate `commandline`; what is done to data is in `member`.

mod cli;
mod commands;

use std::{ffi::OsString, process::ExitCode};

use cli::Cli;
use commandline::Failure;

fn main() -> ExitCode {
    match run(std::env::args_os().collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    match Cli::read(arguments) {
        Ok(cli) => commands::run(cli),
        Err(answer) => cli::answer(&answer),
    }
}
