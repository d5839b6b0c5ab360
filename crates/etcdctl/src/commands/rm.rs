//! `rm` and `rmdir`

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use clap::Args;

use super::required_key;
use crate::{cli::Globals, connect::connect, failure::Failure, number, output};

/// Remove a key or a directory
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl rm [FLAGS] <KEY>",
    after_help = "Examples:\n  \
        etcdctl rm /message\n  \
        etcdctl rm --recursive /services\n  \
        etcdctl rm /lock --with-value me"
)]
pub(crate) struct Rm {
    /// The key or directory
    key: Option<OsString>,
    /// Remove an empty directory too
    #[arg(long)]
    dir: bool,
    /// Remove a directory with all that is in it
    #[arg(long)]
    recursive: bool,
    /// Only if this is the key's value now
    #[arg(long, value_name = "VALUE")]
    with_value: Option<OsString>,
    /// Only if this is the key's modified index now; 0 compares nothing
    #[arg(long, value_name = "INDEX", default_value = "0", value_parser = number::parse)]
    with_index: u64,
    /// The original ignores further arguments
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

/// Remove a key or an empty directory
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl rmdir <KEY>",
    after_help = "Example:\n  etcdctl rmdir /services"
)]
pub(crate) struct Rmdir {
    /// The key or directory
    key: Option<OsString>,
    /// The original ignores further arguments
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

impl Rm {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let how = client::Delete {
            dir: self.dir,
            recursive: self.recursive,
            // An empty one is the server's to refuse; the original drops it and deletes.
            prev_value: self.with_value.map(OsString::into_vec),
            prev_index: Some(self.with_index).filter(|index| *index > 0),
        };
        remove(self.key, &how, globals).await
    }
}

impl Rmdir {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        remove(self.key, &client::Delete { dir: true, ..Default::default() }, globals).await
    }
}

async fn remove(
    key: Option<OsString>,
    how: &client::Delete,
    globals: &Globals,
) -> Result<(), Failure> {
    let key = required_key(key)?;
    let client = connect(globals).await?;
    let response = client.delete(key, how).await.map_err(|error| Failure::server(&error))?;
    if response.node.dir {
        return Ok(());
    }
    Ok(output::response(&response, &globals.output)?)
}
