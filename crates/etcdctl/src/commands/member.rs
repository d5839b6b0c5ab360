//! `member list`

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::{cli::Globals, connect::connect, failure::Failure, output};

/// Look at the cluster's members
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum Member {
    List(List),
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

impl Member {
    pub(crate) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(globals).await,
        }
    }
}

impl List {
    async fn run(self, globals: &Globals) -> Result<(), Failure> {
        if !self.extra.is_empty() {
            return Err(Failure::plain("No arguments accepted"));
        }
        let client = connect(globals).await?;
        let members = client.members().await.map_err(|error| Failure::plain(error.to_string()))?;
        let leader = client
            .leader()
            .await
            .map_err(|error| Failure::plain(format!("Failed to get leader:  {error}")))?;
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
