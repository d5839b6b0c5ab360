//! `user`: add, get, list, remove, grant, revoke, passwd.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::member::{plain, texts};
use crate::{cli::Globals, connect::connect, failure::Failure, output, password};

/// Look at the cluster's users, and change them
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum User {
    Add(Add),
    Get(Get),
    List(List),
    Remove(Remove),
    Grant(Grant),
    Revoke(Revoke),
    Passwd(Passwd),
}

/// Add a user; asks for the password at the terminal if it is left out
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user add <user>[:<password>]",
    after_help = "Example:\n  etcdctl user add alice"
)]
pub(crate) struct Add {
    /// Its name
    arguments: Vec<OsString>,
}

/// Print a user and its roles
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user get <user>",
    after_help = "Example:\n  etcdctl user get alice"
)]
pub(crate) struct Get {
    /// Its name
    arguments: Vec<OsString>,
}

/// Print the names of all users, one a line
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user list",
    after_help = "Example:\n  etcdctl --username root user list"
)]
pub(crate) struct List {
    /// There are none; the original says so in its own words
    #[arg(hide = true)]
    extra: Vec<OsString>,
}

/// Remove a user
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user remove <user>",
    after_help = "Example:\n  etcdctl user remove alice"
)]
pub(crate) struct Remove {
    /// Its name
    arguments: Vec<OsString>,
}

/// Give a user roles
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user grant --roles <roles> <user>",
    after_help = "Example:\n  etcdctl user grant --roles reader,writer alice"
)]
pub(crate) struct Grant {
    /// Names of roles, with commas between them
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    roles: Vec<String>,
    /// The user's name
    arguments: Vec<OsString>,
}

/// Take roles from a user
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user revoke --roles <roles> <user>",
    after_help = "Example:\n  etcdctl user revoke --roles writer alice"
)]
pub(crate) struct Revoke {
    /// Names of roles, with commas between them
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    roles: Vec<String>,
    /// The user's name
    arguments: Vec<OsString>,
}

/// Give a user another password, asked for at the terminal
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl user passwd <user>",
    after_help = "Example:\n  etcdctl user passwd alice"
)]
pub(crate) struct Passwd {
    /// Its name
    arguments: Vec<OsString>,
}

impl User {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(globals).await,
            Self::Get(get) => get.run(globals).await,
            Self::List(list) => list.run(globals).await,
            Self::Remove(remove) => remove.run(globals).await,
            Self::Grant(Grant { roles, arguments }) => {
                change_roles(globals, &roles, &arguments, true).await
            }
            Self::Revoke(Revoke { roles, arguments }) => {
                change_roles(globals, &roles, &arguments, false).await
            }
            Self::Passwd(passwd) => passwd.run(globals).await,
        }
    }
}

fn name(arguments: &[OsString]) -> Result<String, Failure> {
    match &texts(arguments)[..] {
        [name] => Ok(name.clone()),
        _ => Err(Failure::plain("Please provide a username")),
    }
}

fn ask() -> Result<String, Failure> {
    let asked = password::ask("New password: ");
    asked.map_err(|problem| Failure::plain(format!("Error reading password: {problem}")))
}

impl Add {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let given = name(&self.arguments)?;
        let client = connect(globals).await?;
        let (user, password) = match given.split_once(':') {
            Some((user, password)) => (user, Some(password.to_owned())),
            None => (&given[..], None),
        };
        // The server would take it for another password.
        if client.user(user).await.is_ok() {
            return Err(Failure::plain(format!("User {user} already exists")));
        }
        let password = password.map_or_else(ask, Ok)?;
        client.add_user(user, &password).await.map_err(|error| plain(&error))?;
        Ok(output::line(format!("User {user} created"))?)
    }
}

impl Get {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = name(&self.arguments)?;
        let user = connect(globals).await?.user(&name).await.map_err(|error| plain(&error))?;
        output::line(format!("User: {}", user.name))?;
        Ok(output::line(format!("Roles: {}", user.roles.join(" ")))?)
    }
}

impl List {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        if !self.extra.is_empty() {
            return Err(Failure::plain("No arguments accepted"));
        }
        let users = connect(globals).await?.users().await.map_err(|error| plain(&error))?;
        Ok(users.into_iter().try_for_each(output::line)?)
    }
}

impl Remove {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = name(&self.arguments)?;
        connect(globals).await?.remove_user(&name).await.map_err(|error| plain(&error))?;
        Ok(output::line(format!("User {name} removed"))?)
    }
}

async fn change_roles(
    globals: &Globals,
    roles: &[String],
    arguments: &[OsString],
    grants: bool,
) -> Result<(), Failure> {
    if roles.is_empty() {
        return Err(Failure::plain("No roles specified; please use `-roles`"));
    }
    let name = name(arguments)?;
    let client = connect(globals).await?;
    let changed = if grants {
        client.grant_roles(&name, roles).await
    } else {
        client.revoke_roles(&name, roles).await
    };
    changed.map_err(|error| plain(&error))?;
    Ok(output::line(format!("User {name} updated"))?)
}

impl Passwd {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = name(&self.arguments)?;
        let client = connect(globals).await?;
        client.user(&name).await.map_err(|error| plain(&error))?;
        let password = ask()?;
        client.change_password(&name, &password).await.map_err(|error| plain(&error))?;
        Ok(output::line("Password updated")?)
    }
}
