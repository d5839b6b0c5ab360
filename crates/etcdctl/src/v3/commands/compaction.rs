//! `compaction`

use std::ffi::OsString;

use clap::Args;
use proto::etcdserverpb::CompactionRequest;

use super::only;
use crate::{
    failure::{Exit, Failure},
    v3::{cli::Globals, connect::connect, failed, go, refuse},
};

/// Forget what was before a revision
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl compaction [FLAGS] <REVISION>",
    after_help = "Every key that is there at the revision stays.\n\n\
        Example:\n  etcdctl compaction 1234"
)]
pub(crate) struct Compaction {
    /// The oldest revision that can be read afterwards
    #[arg(value_name = "REVISION", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Wait until it is done on disk
    #[arg(long)]
    physical: bool,
}

impl Compaction {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let revision = only(&self.arguments, "compaction command needs 1 argument")?;
        let revision = match go::parse_int(revision, 10) {
            Ok(revision) => revision,
            Err(why) => return refuse(Exit::Error, why),
        };
        let client = connect(globals).await?;
        let request = CompactionRequest { revision, physical: self.physical };
        client.compact(request).await.map_err(failed(Exit::Error))?;
        Ok(crate::output::line(format_args!("compacted revision {revision}"))?)
    }
}
