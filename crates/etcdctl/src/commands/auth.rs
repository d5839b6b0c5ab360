//! `auth`: enable, disable.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::member::plain;
use crate::{cli::Globals, connect::connect, failure::Failure, output};

/// Say whether users are asked who they are
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Auth {
    Enable(Enable),
    Disable(Disable),
}

/// Ask everybody; needs a user root. Who has no name has the role guest
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl auth enable",
    after_help = "Example:\n  etcdctl user add root && etcdctl auth enable"
)]
pub(crate) struct Enable {
    /// There are none; the original says so in its own words
    #[arg(hide = true)]
    extra: Vec<OsString>,
}

/// Ask nobody
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl auth disable",
    after_help = "Example:\n  etcdctl --username root auth disable"
)]
pub(crate) struct Disable {
    /// There are none; the original says so in its own words
    #[arg(hide = true)]
    extra: Vec<OsString>,
}

impl Auth {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (Self::Enable(Enable { extra }) | Self::Disable(Disable { extra })) = &self;
        if !extra.is_empty() {
            return Err(Failure::plain("No arguments accepted"));
        }
        let client = connect(globals).await?;
        match self {
            Self::Enable(_) => {
                client.enable_auth().await.map_err(|error| plain(&error))?;
                Ok(output::line("Authentication Enabled")?)
            }
            Self::Disable(_) => {
                client.disable_auth().await.map_err(|error| plain(&error))?;
                Ok(output::line("Authentication Disabled")?)
            }
        }
    }
}
