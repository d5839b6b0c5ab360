//! `defrag`

use std::ffi::OsString;

use clap::Args;
use proto::etcdserverpb::DefragmentRequest;
use tokio::time::Instant;

use super::endpoint::Which;
use crate::{
    failure::{Exit, Failure},
    output::{line, note},
    v3::{cli::Globals, connect::connect_to, go},
};

/// Give space that is free within the files back to the system
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl defrag [FLAGS]",
    after_help = "One member after the other.\n\n\
        Example:\n  etcdctl defrag --cluster --command-timeout 60s"
)]
pub(crate) struct Defrag {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<OsString>,
    #[command(flatten)]
    which: Which,
}

impl Defrag {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let mut all_done = true;
        for endpoint in self.which.endpoints(globals).await? {
            let client = connect_to(globals, &endpoint).await?;
            let began = Instant::now();
            let outcome = client.defragment(DefragmentRequest {}).await;
            let took = go::duration(began.elapsed());
            match outcome {
                Ok(_) => line(format_args!(
                    "Finished defragmenting etcd member[{endpoint}]. took {took}"
                ))?,
                Err(error) => {
                    note(format_args!(
                        "Failed to defragment etcd member[{endpoint}]. took {took}. ({error})"
                    ));
                    all_done = false;
                }
            }
        }
        if all_done { Ok(()) } else { Err(Failure::silent(Exit::Error as u8)) }
    }
}
