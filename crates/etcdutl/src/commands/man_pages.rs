//! `man-pages`, for those who make packages.

use std::ffi::OsString;

use clap::Args;
use commandline::{Failure, output, pages};

use crate::cli;

/// Write the manual pages to a directory
#[derive(Args, Debug)]
#[command(
    hide = true,
    override_usage = "etcdutl man-pages <DIRECTORY>",
    after_help = "Example:\n  etcdutl man-pages /usr/share/man/man1"
)]
pub(crate) struct ManPages {
    /// Where to
    #[arg(value_name = "DIRECTORY", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl ManPages {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let said = pages::write(&[("etcdutl", cli::grammar())], &self.arguments)?;
        Ok(output::write(format!("{said}\n").as_bytes())?)
    }
}
