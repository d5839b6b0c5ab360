//! `downgrade validate`, `enable` and `cancel`

use std::ffi::OsString;

use clap::{Args, Subcommand};
use proto::{
    Message as _,
    etcdserverpb::{DowngradeRequest, DowngradeResponse, downgrade_request::DowngradeAction},
};

use super::text;
use crate::{
    failure::{Exit, Failure},
    v3::{
        bad_args,
        cli::Globals,
        connect::connect,
        failed,
        output::{Answer, Printer, Text},
    },
};

/// Going back to an older version
#[derive(Debug, Subcommand)]
pub(crate) enum Downgrade {
    /// Whether the cluster can go back to a version
    #[command(
        override_usage = "etcdctl downgrade validate <VERSION>",
        after_help = "Example:\n  etcdctl downgrade validate 3.5"
    )]
    Validate(Version),
    /// Begin to go back to a version: members of it may join from now on
    #[command(
        override_usage = "etcdctl downgrade enable <VERSION>",
        after_help = "Example:\n  etcdctl downgrade enable 3.5"
    )]
    Enable(Version),
    /// Go back no more
    #[command(
        override_usage = "etcdctl downgrade cancel",
        after_help = "Example:\n  etcdctl downgrade cancel"
    )]
    Cancel(Version),
}

#[derive(Args, Debug)]
pub(crate) struct Version {
    /// The version, as 3.5
    #[arg(value_name = "VERSION", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Downgrade {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (name, action, version) = match &self {
            Self::Validate(version) => ("validate", DowngradeAction::Validate, version.read()?),
            Self::Enable(version) => ("enable", DowngradeAction::Enable, version.read()?),
            Self::Cancel(_) => ("cancel", DowngradeAction::Cancel, ""),
        };
        let printer = Printer::new::<Told>(globals)?;
        let client = connect(globals).await?;
        let request = DowngradeRequest { action: action.into(), version: version.to_owned() };
        let answer = client.downgrade(request).await.map_err(failed(Exit::Error))?;
        Ok(printer.print(&Told { name, answer })?)
    }
}

/// What came of an action.
struct Told {
    name: &'static str,
    answer: DowngradeResponse,
}

impl Answer for Told {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.DowngradeResponse", self.answer.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        let Self { name, answer } = self;
        to.line(format_args!("Downgrade {name} success, cluster version {}", answer.version));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.answer.header.as_ref());
        to.quoted("Version", self.answer.version.as_bytes());
    }
}

impl Version {
    fn read(&self) -> Result<&str, Failure> {
        match &self.arguments[..] {
            [] => bad_args("TARGET_VERSION not provided"),
            [version] if version.is_empty() => bad_args("target version not provided"),
            [version] => text(version),
            _ => bad_args("too many arguments"),
        }
    }
}
