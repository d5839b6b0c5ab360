//! `auth enable`, `disable` and `status`

use std::ffi::OsString;

use base::Refused;
use clap::{Args, Subcommand};
use client::v3::{Client, Error};
use proto::{
    Message as _,
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthStatusRequest,
        AuthStatusResponse, AuthUserGrantRoleRequest,
    },
};

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

const ROOT: &str = "root";

/// Whether users have to say who they are
#[derive(Debug, Subcommand)]
pub(crate) enum Auth {
    /// From now on users have to say who they are; a user root is needed
    #[command(
        override_usage = "etcdctl auth enable",
        after_help = "Example:\n  etcdctl user add root && etcdctl auth enable"
    )]
    Enable(Nothing),
    /// From now on everybody may do everything
    #[command(
        override_usage = "etcdctl auth disable",
        after_help = "Example:\n  etcdctl --user root auth disable"
    )]
    Disable(Nothing),
    /// Whether users have to say who they are
    #[command(
        override_usage = "etcdctl auth status",
        after_help = "Example:\n  etcdctl auth status"
    )]
    Status(Nothing),
}

#[derive(Args, Debug)]
pub(crate) struct Nothing {
    #[arg(hide = true, num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Auth {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let (nothing, name) = match &self {
            Self::Enable(nothing) => (nothing, "enable"),
            Self::Disable(nothing) => (nothing, "disable"),
            Self::Status(nothing) => (nothing, "status"),
        };
        if !nothing.arguments.is_empty() {
            return bad_args(format!("auth {name} command does not accept any arguments"));
        }
        let printer = Printer::new::<Status>(globals)?;
        let client = connect(globals).await?;
        match self {
            Self::Enable(_) => {
                enable(&client).await.map_err(failed(Exit::Error))?;
                Ok(crate::output::line("Authentication Enabled")?)
            }
            Self::Disable(_) => {
                client.auth_disable(AuthDisableRequest {}).await.map_err(failed(Exit::Error))?;
                Ok(crate::output::line("Authentication Disabled")?)
            }
            Self::Status(_) => {
                let status = client.auth_status(AuthStatusRequest {}).await;
                Ok(printer.print(&Status(status.map_err(failed(Exit::Error))?))?)
            }
        }
    }
}

/// Makes the role root and gives it to the user root, if that is all that is missing.
async fn enable(client: &Client) -> Result<(), Error> {
    match client.auth_enable(AuthEnableRequest {}).await {
        Err(error) if error.is(Refused::RootRoleNotExist) => {}
        outcome => return outcome.map(drop),
    }
    match client.role_add(AuthRoleAddRequest { name: ROOT.to_owned() }).await {
        Err(error) if !error.is(Refused::RoleAlreadyExist) => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let grant = AuthUserGrantRoleRequest { user: ROOT.to_owned(), role: ROOT.to_owned() };
    client.user_grant_role(grant).await?;
    client.auth_enable(AuthEnableRequest {}).await.map(drop)
}

struct Status(AuthStatusResponse);

impl Answer for Status {
    fn message(&self) -> (&'static str, Vec<u8>) {
        ("etcdserverpb.AuthStatusResponse", self.0.encode_to_vec())
    }

    fn simple(&self, to: &mut Text) {
        to.line(format_args!("Authentication Status: {}", self.0.enabled));
        to.line(format_args!("AuthRevision: {}", self.0.auth_revision));
    }

    fn fields(&self, to: &mut Text) {
        to.header(self.0.header.as_ref());
        to.field("Enabled", self.0.enabled);
        to.field("AuthRevision", self.0.auth_revision);
    }
}
