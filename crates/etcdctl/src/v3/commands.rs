//! The commands, one file for each group.

mod alarm;
mod auth;
mod check;
mod compaction;
mod completion;
mod defrag;
mod del;
mod directories;
mod downgrade;
mod elect;
mod endpoint;
mod get;
mod lease;
mod lock;
mod ls;
mod make_mirror;
mod man_pages;
mod member;
mod move_leader;
mod options;
mod put;
mod role;
mod snapshot;
mod tree;
mod txn;
mod user;
mod version;
mod watch;

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use bytes::Bytes;
use clap::Subcommand;
use client::v3::prefix_end;
use proto::etcdserverpb::ResponseHeader;

use super::{bad_args, cli::Cli, refuse};
use crate::failure::{Exit, Failure};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Get(get::Get),
    Put(put::Put),
    Del(del::Del),
    Txn(txn::Txn),
    Watch(watch::Watch),
    Ls(ls::Ls),
    Tree(tree::Tree),
    Compaction(compaction::Compaction),
    #[command(subcommand)]
    Lease(lease::Lease),
    Lock(lock::Lock),
    Elect(elect::Elect),
    #[command(subcommand)]
    Member(member::Member),
    #[command(subcommand)]
    Endpoint(endpoint::Endpoint),
    MoveLeader(move_leader::MoveLeader),
    #[command(subcommand)]
    Alarm(alarm::Alarm),
    Defrag(defrag::Defrag),
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    MakeMirror(make_mirror::MakeMirror),
    #[command(subcommand)]
    Check(check::Check),
    #[command(subcommand)]
    Downgrade(downgrade::Downgrade),
    #[command(subcommand)]
    Auth(auth::Auth),
    #[command(subcommand)]
    User(user::User),
    #[command(subcommand)]
    Role(role::Role),
    Version(version::Version),
    Options(options::Options),
    Completion(completion::Completion),
    ManPages(man_pages::ManPages),
}

impl Cli {
    /// Whether it is work for more than one core.
    pub(crate) fn makes_load(&self) -> bool {
        matches!(self.command, Command::Check(_))
    }
}

/// Carries out a command.
pub(crate) async fn run(Cli { globals, command, separated }: Cli) -> Result<(), Failure> {
    match command {
        Command::Get(get) => get.run(&globals).await,
        Command::Put(put) => put.run(&globals).await,
        Command::Del(del) => del.run(&globals).await,
        Command::Txn(txn) => txn.run(&globals).await,
        Command::Watch(watch) => watch.run(&globals, separated).await,
        Command::Ls(ls) => ls.run(&globals).await,
        Command::Tree(tree) => tree.run(&globals).await,
        Command::Compaction(compaction) => compaction.run(&globals).await,
        Command::Lease(lease) => lease.run(&globals).await,
        Command::Lock(lock) => lock.run(&globals).await,
        Command::Elect(elect) => elect.run(&globals).await,
        Command::Member(member) => member.run(&globals).await,
        Command::Endpoint(endpoint) => endpoint.run(&globals).await,
        Command::MoveLeader(move_leader) => move_leader.run(&globals).await,
        Command::Alarm(alarm) => alarm.run(&globals).await,
        Command::Defrag(defrag) => defrag.run(&globals).await,
        Command::Snapshot(snapshot) => snapshot.run(&globals).await,
        Command::MakeMirror(mirror) => mirror.run(&globals).await,
        Command::Check(check) => check.run(&globals).await,
        Command::Downgrade(downgrade) => downgrade.run(&globals).await,
        Command::Auth(auth) => auth.run(&globals).await,
        Command::User(user) => user.run(&globals).await,
        Command::Role(role) => role.run(&globals).await,
        Command::Version(_) => version::Version::run(),
        Command::Options(_) => options::Options::run(),
        Command::Completion(completion) => completion.run(),
        Command::ManPages(pages) => pages.run(),
    }
}

/// The bytes of arguments.
fn bytes(arguments: &[OsString]) -> Vec<Bytes> {
    arguments.iter().map(|argument| argument.clone().into_vec().into()).collect()
}

/// The one argument of a command; `why` says that there is none, or too many.
fn only<'a>(arguments: &'a [OsString], why: &str) -> Result<&'a str, Failure> {
    match arguments {
        [only] => text(only),
        _ => bad_args(why),
    }
}

/// An argument that is a text.
fn text(argument: &OsString) -> Result<&str, Failure> {
    match argument.to_str() {
        Some(text) => Ok(text),
        None => bad_args(format!("{} is not UTF-8", argument.display())),
    }
}

/// `--prefix` and `--from-key`, which make a range of one key.
#[derive(Clone, Copy)]
struct Reach {
    prefix: bool,
    from_key: bool,
}

impl Reach {
    fn check(self) -> Result<(), Failure> {
        if self.prefix && self.from_key {
            return bad_args(
                "`--prefix` and `--from-key` cannot be set at the same time, choose one",
            );
        }
        Ok(())
    }

    /// Refuses a second argument.
    fn check_end(self, end: Option<&Bytes>) -> Result<(), Failure> {
        if end.is_some() && (self.prefix || self.from_key) {
            return bad_args(
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is \
                 set",
            );
        }
        Ok(())
    }

    /// The range that begins with `key`: its first key and its end.
    fn range(self, key: Bytes, end: Option<Bytes>) -> (Bytes, Bytes) {
        let all = Bytes::from_static(b"\0");
        match (self.prefix, self.from_key, key.is_empty()) {
            (true, _, true) | (_, true, true) => (all.clone(), all),
            (true, _, false) => {
                let end = prefix_end(&key);
                (key, end)
            }
            (_, true, false) => (key, all),
            (false, false, _) => (key, end.unwrap_or_default()),
        }
    }
}

/// `--consistency`: whether a read may come from the member that is asked, as it is.
fn is_serializable(consistency: &str) -> Result<bool, Failure> {
    match consistency {
        "s" => Ok(true),
        "l" => Ok(false),
        other => refuse(Exit::BadFeature, format!("unknown consistency flag {other:?}")),
    }
}

fn cluster_id(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.cluster_id)
}
