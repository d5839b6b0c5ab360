//! `etcdctl` with API 3.

pub(crate) mod cli;
mod commands;
mod connect;
pub(crate) mod hint;
mod output;
mod progress;

use std::fmt::Display;

use commandline::go;

use crate::failure::{Exit, Failure};

/// Ends the run with `Error: …` on stderr.
fn refuse<T>(exit: Exit, why: impl Display) -> Result<T, Failure> {
    Err(Failure::v3(exit, why))
}

/// Ends the run for its arguments.
fn bad_args<T>(why: impl Display) -> Result<T, Failure> {
    refuse(Exit::BadArgs, why)
}

/// What a call's error becomes.
fn failed(exit: Exit) -> impl Fn(client::v3::Error) -> Failure {
    move |error| Failure::of_call(exit, &error.to_string(), &error)
}
