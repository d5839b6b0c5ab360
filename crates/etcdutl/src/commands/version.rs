//! `version`

use clap::Args;
use commandline::{Failure, output};

/// Print the version
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdutl version",
    after_help = "That of the original whose behaviour this is; --version has our own.\n\n\
        Example:\n  etcdutl version"
)]
pub(crate) struct Version {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<std::ffi::OsString>,
}

impl Version {
    pub(crate) fn run() -> Result<(), Failure> {
        let (server, api) = (base::version::SERVER, base::version::THIS.cluster);
        let text = format!("etcdutl version: {server}\nAPI version: {api}\n");
        Ok(output::write(text.as_bytes())?)
    }
}
