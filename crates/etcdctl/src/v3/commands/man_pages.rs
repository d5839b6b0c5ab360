//! `man-pages`, for those who make packages.

use std::ffi::OsString;

use crate::{failure::Failure, output, v3::cli};
use clap::Args;

/// Write the manual pages to a directory
#[derive(Args, Debug)]
#[command(
    hide = true,
    override_usage = "etcdctl man-pages <DIRECTORY>",
    after_help = "Example:\n  etcdctl man-pages /usr/share/man/man1"
)]
pub(crate) struct ManPages {
    /// Where to
    #[arg(value_name = "DIRECTORY", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl ManPages {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let pages = [("etcdctl", cli::grammar()), ("etcdctl-v2", crate::cli::grammar())];
        Ok(output::line(commandline::pages::write(&pages, &self.arguments)?)?)
    }
}
