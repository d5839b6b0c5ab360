//! `get`

use std::ffi::OsString;

use clap::Args;

use super::required_key;
use crate::{
    cli::Globals,
    connect::{connect, v3_config},
    failure::Failure,
    output,
    v3::hint,
};

/// The code of "Key not found".
const NOT_FOUND: u16 = 100;

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

/// Nobody who asked for API 2 by name wants to hear of API 3.
async fn hint_at_v3(client: &client::Client, globals: &Globals, key: Vec<u8>) -> Option<String> {
    if std::env::var_os("ETCDCTL_API").is_some_and(|api| !api.is_empty()) {
        return None;
    }
    let endpoints: Vec<_> = client.endpoints().iter().map(ToString::to_string).collect();
    hint::at_key(&endpoints, v3_config(globals), key).await
}

impl Get {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let key = required_key(self.key)?;
        let client = connect(globals).await?;
        let how = client::Get { sorted: self.sort, quorum: self.quorum, recursive: false };
        let response = match client.get(&key, &how).await {
            Ok(response) => response,
            Err(error) => {
                let is_absent = error.etcd().is_some_and(|refusal| refusal.code == NOT_FOUND);
                let hint = if is_absent { hint_at_v3(&client, globals, key).await } else { None };
                return Err(Failure::server(&error).with(hint));
            }
        };
        if response.node.dir {
            return Err(Failure::plain(format!("{}: is a directory", response.node.key)));
        }
        Ok(output::response(&response, &globals.output)?)
    }
}
