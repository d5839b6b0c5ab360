//! `mkdir`, `setdir` and `updatedir`: the commands that write a directory.

use std::ffi::OsString;

use clap::Args;

use super::{required_key, time_to_live};
use crate::{cli::Globals, connect::connect, failure::Failure, number};

/// The directory, and how long it lives.
#[derive(Args, Debug)]
struct Directory {
    /// The directory
    key: Option<OsString>,
    /// Seconds to live, with all that is in it; 0 is for ever
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = number::parse)]
    ttl: u64,
    /// The original ignores further arguments
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

/// Make a directory that does not exist yet
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl mkdir [FLAGS] <KEY>",
    after_help = "Example:\n  etcdctl mkdir /services --ttl 3600"
)]
pub(crate) struct Mkdir {
    #[command(flatten)]
    directory: Directory,
}

/// Make a directory, or turn a key into one
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl setdir [FLAGS] <KEY>",
    after_help = "A directory that exists is refused: updatedir changes its time to live.\n\n\
        Example:\n  etcdctl setdir /services --ttl 3600"
)]
pub(crate) struct Setdir {
    #[command(flatten)]
    directory: Directory,
}

/// Change the time to live of a directory
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl updatedir [FLAGS] <KEY>",
    after_help = "Without --ttl, the directory's time to live is taken away.\n\n\
        Example:\n  etcdctl updatedir /services --ttl 3600"
)]
pub(crate) struct Updatedir {
    #[command(flatten)]
    directory: Directory,
}

impl Mkdir {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        self.directory.write(Some(false), globals).await
    }
}

impl Setdir {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        self.directory.write(None, globals).await
    }
}

impl Updatedir {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        self.directory.write(Some(true), globals).await
    }
}

impl Directory {
    async fn write(self, prev_exist: Option<bool>, globals: &Globals) -> Result<(), Failure> {
        let key = required_key(self.key)?;
        let client = connect(globals).await?;
        let how = client::Set {
            ttl: time_to_live(self.ttl),
            prev_exist,
            dir: true,
            ..client::Set::default()
        };
        match client.set(key, "", &how).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::server(&error)),
        }
    }
}
