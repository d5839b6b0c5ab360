//! `defrag`

use std::path::PathBuf;

use clap::Args;
use commandline::{Exit, Failure, keyspace, output::note};

use crate::cli::Globals;

const HINT: &str = " To defrag a running etcd instance, use `etcdctl defrag` instead.";

/// Check that the data of a member can be opened; there is nothing to defragment
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdutl defrag --data-dir <DIR>",
    after_help = "The space of what is compacted is used again by itself. The member must not run.\n\n\
        Example:\n  etcdutl defrag --data-dir /var/lib/etcd"
)]
pub(crate) struct Defrag {
    /// The data directory of the member
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<std::ffi::OsString>,
}

impl Defrag {
    pub(crate) fn run(self, globals: &Globals) -> Result<(), Failure> {
        let found = keyspace::find(&self.data_dir, globals.timeout, HINT);
        let checked = found.and_then(|kept| kept.status());
        checked.map_err(|error| {
            let dir = self.data_dir.display();
            let why = format!("Failed to defragment etcd data[{dir}] ({error})");
            Failure::new(Exit::Error, why)
        })?;
        note("nothing to defragment: the space of what is compacted is used again");
        Ok(())
    }
}
