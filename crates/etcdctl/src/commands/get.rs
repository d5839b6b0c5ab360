//! `get`

use std::ffi::OsString;

use clap::Args;

use super::required_key;
use crate::{cli::Globals, connect::connect, failure::Failure, output};

/// Print the value of a key
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl get [--quorum] <KEY>",
    after_help = "Example:\n  etcdctl get /message\n  etcdctl -o extended get /message"
)]
pub(crate) struct Get {
    /// The key; a directory is an error (see ls)
    key: Option<OsString>,
    /// See every write that was acknowledged before, whichever member answers
    #[arg(long)]
    quorum: bool,
    /// Without meaning for a key; accepted as etcdctl always has
    #[arg(long, hide = true)]
    sort: bool,
    /// The original ignores further arguments
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

impl Get {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let key = required_key(self.key)?;
        let client = connect(globals).await?;
        let how = client::Get { sorted: self.sort, quorum: self.quorum, recursive: false };
        let response = client.get(key, &how).await.map_err(|error| Failure::server(&error))?;
        if response.node.dir {
            return Err(Failure::plain(format!("{}: is a directory", response.node.key)));
        }
        Ok(output::response(&response, &globals.output)?)
    }
}
