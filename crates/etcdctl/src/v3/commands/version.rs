//! `version`

use clap::Args;

use crate::failure::Failure;

/// Print the version
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl version",
    after_help = "That of the original whose behaviour this is; --version has our own.\n\n\
        Example:\n  etcdctl version"
)]
pub(crate) struct Version {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<std::ffi::OsString>,
}

impl Version {
    pub(crate) fn run() -> Result<(), Failure> {
        let api = base::version::THIS.cluster;
        Ok(crate::v3::output::write(
            format!("etcdctl version: {}\nAPI version: {api}\n", base::version::SERVER).as_bytes(),
        )?)
    }
}
