//! `member`: list, add, remove, update.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::{cli::Globals, connect::connect, failure::Failure, output};

/// Look at the cluster's members, and change them
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Member {
    List(List),
    Add(Add),
    Remove(Remove),
    Update(Update),
}

/// Print the cluster's members, one a line
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member list",
    after_help = "Example:\n  etcdctl --endpoints http://10.0.0.1:2379 member list"
)]
pub(crate) struct List {
    /// There are none; the original says so in its own words
    #[arg(hide = true)]
    extra: Vec<OsString>,
}

/// Add a member to the cluster, and print the environment that it is to be started with
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member add <name> <peerURL>",
    after_help = "Example:\n  etcdctl member add infra3 http://10.0.0.4:2380"
)]
pub(crate) struct Add {
    /// Its name, and the URL at which the other members will reach it
    arguments: Vec<OsString>,
}

/// Remove a member from the cluster, for ever
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member remove <memberID>",
    after_help = "Example:\n  etcdctl member remove 272e204152"
)]
pub(crate) struct Remove {
    /// Its id, as `member list` shows it
    arguments: Vec<OsString>,
}

/// Tell the cluster that a member has moved to other peer URLs
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl member update <memberID> <peerURLs>",
    after_help = "Example:\n  etcdctl member update 272e204152 http://10.0.0.5:2380"
)]
pub(crate) struct Update {
    /// Its id, and all its peer URLs, with commas between them
    arguments: Vec<OsString>,
}

impl Member {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(globals).await,
            Self::Add(add) => add.run(globals).await,
            Self::Remove(remove) => remove.run(globals).await,
            Self::Update(update) => update.run(globals).await,
        }
    }
}

/// The original says no more than that the cluster is unavailable; why is what counts.
fn told(error: &client::Error) -> String {
    if let client::Error::Unavailable(unavailable) = error {
        return format!("{error}\n{}", unavailable.detail().trim_end());
    }
    error.to_string()
}

pub(super) fn plain(error: &client::Error) -> Failure {
    Failure::plain(told(error))
}

pub(super) fn texts(arguments: &[OsString]) -> Vec<String> {
    arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

impl Add {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let [name, url] = &texts(&self.arguments)[..] else {
            return Err(Failure::plain("Provide a name and a single member peerURL"));
        };
        let client = connect(globals).await?;
        let added = client.add_member(&[url]).await.map_err(|error| plain(&error))?;
        output::line(format!("Added member named {name} with ID {} to cluster", added.id))?;
        let members = client.members().await.map_err(|error| plain(&error))?;
        let mut rows = Vec::new();
        for member in &members {
            let name = if member.id == added.id { name } else { &member.name };
            rows.extend(member.peer_urls.iter().map(|url| format!("{name}={url}")));
        }
        output::line("")?;
        output::line(format!("ETCD_NAME={name:?}"))?;
        output::line(format!("ETCD_INITIAL_CLUSTER={:?}", rows.join(",")))?;
        output::line("ETCD_INITIAL_CLUSTER_STATE=\"existing\"")?;
        Ok(())
    }
}

impl Remove {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let [id] = &texts(&self.arguments)[..] else {
            return Err(Failure::plain("Provide a single member ID"));
        };
        let client = connect(globals).await?;
        let members = client.members().await.map_err(|error| {
            Failure::plain(format!(
                "Error while verifying ID against known members: {}",
                told(&error)
            ))
        })?;
        for member in members.iter().filter(|member| member.name == *id) {
            output::note(format!(
                "Found a member named {id}; if this is correct, please use its ID, eg:\n\t\
                 etcdctl member remove {}",
                member.id
            ));
        }
        if !members.iter().any(|member| member.id == *id) {
            let text = format!("Couldn't find a member in the cluster with an ID of {id}.");
            return Err(Failure::plain(text));
        }
        client.remove_member(id).await.map_err(|error| {
            Failure::plain(format!(
                "Received an error trying to remove member {id}: {}",
                told(&error)
            ))
        })?;
        output::line(format!("Removed member {id} from cluster"))?;
        Ok(())
    }
}

impl Update {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        let [id, urls] = &texts(&self.arguments)[..] else {
            return Err(Failure::plain(
                "Provide an ID and a list of comma separated peerURL (0xabcd \
                 http://example.com,http://example1.com)",
            ));
        };
        let client = connect(globals).await?;
        let urls: Vec<&str> = urls.split(',').collect();
        client.update_member(id, &urls).await.map_err(|error| plain(&error))?;
        output::line(format!("Updated member with ID {id} in cluster"))?;
        Ok(())
    }
}

impl List {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        if !self.extra.is_empty() {
            return Err(Failure::plain("No arguments accepted"));
        }
        let client = connect(globals).await?;
        let members = client.members().await.map_err(|error| plain(&error))?;
        let leader = client
            .leader()
            .await
            .map_err(|error| Failure::plain(format!("Failed to get leader:  {}", told(&error))))?;
        for member in &members {
            output::line(describe(member, member.id == leader.id))?;
        }
        Ok(())
    }
}

/// A member without a name has never been started.
fn describe(member: &client::Member, is_leader: bool) -> String {
    let client::Member { id, name, peer_urls, client_urls } = member;
    let peer_urls = peer_urls.join(",");
    if name.is_empty() {
        return format!("{id}[unstarted]: peerURLs={peer_urls}");
    }
    let client_urls = client_urls.join(",");
    format!("{id}: name={name} peerURLs={peer_urls} clientURLs={client_urls} isLeader={is_leader}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_described_on_a_line() {
        let mut member = client::Member {
            id: "1f".to_owned(),
            name: "a".to_owned(),
            peer_urls: vec!["http://p:1".to_owned(), "http://q:1".to_owned()],
            client_urls: vec!["http://c:1".to_owned()],
        };
        assert_eq!(
            describe(&member, true),
            "1f: name=a peerURLs=http://p:1,http://q:1 clientURLs=http://c:1 isLeader=true"
        );
        member.name.clear();
        assert_eq!(describe(&member, false), "1f[unstarted]: peerURLs=http://p:1,http://q:1");
    }
}
