//! `role`: add, get, list, remove, grant, revoke.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use client::Access;

use super::member::{plain, texts};
use crate::{cli::Globals, connect::connect, failure::Failure, output};

/// Look at the cluster's roles, and change them
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Role {
    Add(Add),
    Get(Get),
    List(List),
    Remove(Remove),
    Grant(Grant),
    Revoke(Revoke),
}

/// Add a role that permits nothing
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role add <role>",
    after_help = "Example:\n  etcdctl role add reader"
)]
pub(crate) struct Add {
    /// Its name
    arguments: Vec<OsString>,
}

/// Print a role and what it permits
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role get <role>",
    after_help = "Example:\n  etcdctl role get reader"
)]
pub(crate) struct Get {
    /// Its name
    arguments: Vec<OsString>,
}

/// Print the names of all roles, one a line
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role list",
    after_help = "Example:\n  etcdctl --username root role list"
)]
pub(crate) struct List {
    /// There are none; the original says so in its own words
    #[arg(hide = true)]
    extra: Vec<OsString>,
}

/// Remove a role
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role remove <role>",
    after_help = "Example:\n  etcdctl role remove reader"
)]
pub(crate) struct Remove {
    /// Its name
    arguments: Vec<OsString>,
}

/// Let a role read or write a path, or all that begin with one
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role grant --path <path> --read|--write|--readwrite <role>",
    after_help = "Example:\n  etcdctl role grant --path '/services/*' --read reader"
)]
pub(crate) struct Grant {
    #[command(flatten)]
    on: On,
    /// The role's name
    arguments: Vec<OsString>,
}

/// Take that back
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl role revoke --path <path> --read|--write|--readwrite <role>",
    after_help = "Example:\n  etcdctl role revoke --path '/services/*' --read reader"
)]
pub(crate) struct Revoke {
    #[command(flatten)]
    on: On,
    /// The role's name
    arguments: Vec<OsString>,
}

/// What is granted or revoked.
#[derive(Args, Debug)]
struct On {
    /// The path, or what paths begin with and a *
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    path: String,
    /// To read it
    #[arg(long)]
    read: bool,
    /// To write it
    #[arg(long)]
    write: bool,
    /// To read and to write it
    #[arg(long)]
    readwrite: bool,
}

impl Role {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(globals).await,
            Self::Get(get) => get.run(globals).await,
            Self::List(list) => list.run(globals).await,
            Self::Remove(remove) => remove.run(globals).await,
            Self::Grant(Grant { on, arguments }) => change(globals, &on, &arguments, true).await,
            Self::Revoke(Revoke { on, arguments }) => change(globals, &on, &arguments, false).await,
        }
    }
}

fn name(arguments: &[OsString]) -> Result<String, Failure> {
    match &texts(arguments)[..] {
        [name] => Ok(name.clone()),
        _ => Err(Failure::plain("Please provide a role name")),
    }
}

impl Add {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = name(&self.arguments)?;
        let client = connect(globals).await?;
        if client.role(&name).await.is_ok() {
            return Err(Failure::plain(format!("Role {name} already exists")));
        }
        client.add_role(&name).await.map_err(|error| plain(&error))?;
        Ok(output::line(format!("Role {name} created"))?)
    }
}

impl Get {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = name(&self.arguments)?;
        let role = connect(globals).await?.role(&name).await.map_err(|error| plain(&error))?;
        output::line(format!("Role: {}", role.name))?;
        output::line("KV Read:")?;
        role.read.iter().try_for_each(|path| output::line(format!("\t{path}")))?;
        output::line("KV Write:")?;
        Ok(role.write.iter().try_for_each(|path| output::line(format!("\t{path}")))?)
    }
}

impl List {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        if !self.extra.is_empty() {
            return Err(Failure::plain("No arguments accepted"));
        }
        let roles = connect(globals).await?.roles().await.map_err(|error| plain(&error))?;
        Ok(roles.into_iter().try_for_each(output::line)?)
    }
}

impl Remove {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let name = name(&self.arguments)?;
        connect(globals).await?.remove_role(&name).await.map_err(|error| plain(&error))?;
        Ok(output::line(format!("Role {name} removed"))?)
    }
}

async fn change(
    globals: &Globals,
    on: &On,
    arguments: &[OsString],
    grants: bool,
) -> Result<(), Failure> {
    let path = &on.path;
    if path.is_empty() {
        return Err(Failure::plain("No path specified; please use `-path`"));
    }
    let clean = canonical(path);
    if clean != *path {
        let text = format!("Not canonical path; please use `-path={clean}`");
        return Err(Failure::plain(text));
    }
    let access = match (on.read, on.write, on.readwrite) {
        (true, false, false) => Access { read: true, write: false },
        (false, true, false) => Access { read: false, write: true },
        (false, false, true) => Access { read: true, write: true },
        _ => {
            let text = "Please specify exactly one of -read, -write or -readwrite";
            return Err(Failure::plain(text));
        }
    };
    let name = name(arguments)?;
    let client = connect(globals).await?;
    let changed = if grants {
        client.grant_access(&name, path, access).await
    } else {
        client.revoke_access(&name, path, access).await
    };
    changed.map_err(|error| plain(&error))?;
    Ok(output::line(format!("Role {name} updated"))?)
}

/// A path as the server has it: rooted, without empty, `.` and `..` segments; a slash at its end stays.
fn canonical(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_servers_have() {
        for (path, expected) in [
            ("/a/*", "/a/*"),
            ("a", "/a"),
            ("/", "/"),
            ("//", "/"),
            ("/a/", "/a/"),
            ("/a//b/../c", "/a/c"),
            ("*", "/*"),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
    }
}
