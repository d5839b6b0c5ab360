//! `set`, `mk` and `update`: the commands that write a value.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Read as _},
    os::unix::ffi::OsStringExt as _,
};

use clap::Args;
use client::Response;

use super::{required_key, time_to_live};
use crate::{cli::Globals, connect::connect, failure::Failure, number, output};

/// More than any server takes; stdin may be endless.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// The key, the value, and how long they live.
#[derive(Args, Debug)]
struct Entry {
    /// The key
    key: Option<OsString>,
    /// The value; read from stdin if it is not given
    value: Option<OsString>,
    /// Seconds to live; 0 is for ever
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = number::parse)]
    ttl: u64,
    /// The original ignores further arguments
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

/// Write a key, whether it exists or not
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl set [FLAGS] <KEY> <VALUE>\n       command | etcdctl set [FLAGS] <KEY>",
    after_help = "A value that begins with a dash stands behind --.\n\n\
        Examples:\n  \
        etcdctl set /message Hello --ttl 60\n  \
        etcdctl set /message Hi --swap-with-value Hello\n  \
        etcdctl set /offset -- -5"
)]
pub(crate) struct Set {
    #[command(flatten)]
    entry: Entry,
    /// Only if this is the key's value now
    #[arg(long, value_name = "VALUE")]
    swap_with_value: Option<OsString>,
    /// Only if this is the key's modified index now; 0 compares nothing
    #[arg(long, value_name = "INDEX", default_value = "0", value_parser = number::parse)]
    swap_with_index: u64,
}

/// Make a key that does not exist yet
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl mk [FLAGS] <KEY> <VALUE>\n       command | etcdctl mk [FLAGS] <KEY>",
    after_help = "Examples:\n  etcdctl mk /lock me --ttl 30\n  etcdctl mk --in-order /queue job"
)]
pub(crate) struct Mk {
    #[command(flatten)]
    entry: Entry,
    /// Make it below the directory `KEY`, with a name that sorts behind all made before
    #[arg(long)]
    in_order: bool,
}

/// Write a key that exists already
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl update [FLAGS] <KEY> <VALUE>\n       command | etcdctl update [FLAGS] <KEY>",
    after_help = "Without --ttl, a time to live that the key has is taken away.\n\n\
        Example:\n  etcdctl update /message Bye"
)]
pub(crate) struct Update {
    #[command(flatten)]
    entry: Entry,
}

impl Set {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let entry = self.entry.read()?;
        let how = client::Set {
            ttl: entry.ttl,
            // An empty one is the server's to refuse; the original drops it and overwrites.
            prev_value: self.swap_with_value.map(OsString::into_vec),
            prev_index: Some(self.swap_with_index).filter(|index| *index > 0),
            ..client::Set::default()
        };
        let client = connect(globals).await?;
        finish(client.set(entry.key, entry.value, &how).await, globals)
    }
}

impl Mk {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let entry = self.entry.read()?;
        let client = connect(globals).await?;
        if self.in_order {
            let made = client.create_in_order(entry.key, entry.value, entry.ttl).await;
            return finish(made, globals);
        }
        let how = client::Set { ttl: entry.ttl, prev_exist: Some(false), ..Default::default() };
        finish(client.set(entry.key, entry.value, &how).await, globals)
    }
}

impl Update {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let entry = self.entry.read()?;
        let client = connect(globals).await?;
        let how = client::Set { ttl: entry.ttl, prev_exist: Some(true), ..Default::default() };
        finish(client.set(entry.key, entry.value, &how).await, globals)
    }
}

struct Ready {
    key: Vec<u8>,
    value: Vec<u8>,
    ttl: Option<u64>,
}

impl Entry {
    fn read(self) -> Result<Ready, Failure> {
        let key = required_key(self.key)?;
        let value = match self.value {
            Some(value) => value.into_vec(),
            None => read_stdin()?,
        };
        Ok(Ready { key, value, ttl: time_to_live(self.ttl) })
    }
}

/// All of stdin, its last line end included.
fn read_stdin() -> Result<Vec<u8>, Failure> {
    let stdin = io::stdin();
    let mut value = Vec::new();
    if !stdin.is_terminal() {
        let read = stdin.lock().take(STDIN_BYTES_MAX).read_to_end(&mut value);
        read.map_err(|problem| Failure::plain(format!("Error:  read the value: {problem}")))?;
    }
    if value.is_empty() {
        return Err(Failure::bad_args("value required"));
    }
    Ok(value)
}

fn finish(outcome: Result<Response, client::Error>, globals: &Globals) -> Result<(), Failure> {
    let response = outcome.map_err(|error| Failure::server(&error))?;
    Ok(output::response(&response, &globals.output)?)
}
