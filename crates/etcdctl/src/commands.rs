//! The commands, one file for each group.

mod auth;
mod backup;
mod dir;
mod exec_watch;
mod get;
mod health;
mod ls;
mod member;
mod rm;
mod role;
mod set;
mod user;
mod watch;

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use clap::Subcommand;

use crate::{cli::Cli, failure::Failure};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Get(get::Get),
    Set(set::Set),
    Mk(set::Mk),
    Update(set::Update),
    Rm(rm::Rm),
    Ls(ls::Ls),
    Mkdir(dir::Mkdir),
    Setdir(dir::Setdir),
    Updatedir(dir::Updatedir),
    Rmdir(rm::Rmdir),
    Watch(watch::Watch),
    ExecWatch(exec_watch::ExecWatch),
    #[command(subcommand)]
    Member(member::Member),
    #[command(subcommand)]
    User(user::User),
    #[command(subcommand)]
    Role(role::Role),
    #[command(subcommand)]
    Auth(auth::Auth),
    ClusterHealth(health::ClusterHealth),
    Backup(backup::Backup),
}

/// Carries out a command.
pub(crate) async fn run(Cli { globals, command }: Cli) -> Result<(), Failure> {
    match command {
        Command::Get(get) => get.run(&globals).await,
        Command::Set(set) => set.run(&globals).await,
        Command::Mk(mk) => mk.run(&globals).await,
        Command::Update(update) => update.run(&globals).await,
        Command::Rm(rm) => rm.run(&globals).await,
        Command::Ls(ls) => ls.run(&globals).await,
        Command::Mkdir(mkdir) => mkdir.run(&globals).await,
        Command::Setdir(setdir) => setdir.run(&globals).await,
        Command::Updatedir(updatedir) => updatedir.run(&globals).await,
        Command::Rmdir(rmdir) => rmdir.run(&globals).await,
        Command::Watch(watch) => watch.run(&globals).await,
        Command::ExecWatch(exec_watch) => exec_watch.run(&globals).await,
        Command::Member(member) => member.run(&globals).await,
        Command::User(user) => user.run(&globals).await,
        Command::Role(role) => role.run(&globals).await,
        Command::Auth(auth) => auth.run(&globals).await,
        Command::ClusterHealth(health) => health.run(&globals).await,
        Command::Backup(backup) => backup.run(),
    }
}

/// The key's bytes. It is optional in the grammar so that its absence is told in the original's
/// words.
fn required_key(key: Option<OsString>) -> Result<Vec<u8>, Failure> {
    key.map(OsString::into_vec).ok_or_else(|| Failure::bad_args("key required"))
}

/// A time to live for a key: zero is none.
fn time_to_live(seconds: u64) -> Option<u64> {
    (seconds > 0).then_some(seconds)
}
