//! The members of the cluster, as agreed.

mod ids;
mod row;

use std::collections::{BTreeMap, BTreeSet};

use base::{MemberId, version::Minor};
use proto::command::{self, Publish};

pub use self::ids::{bootstrap_cluster_id, bootstrap_member_id, new_member_id};
pub(crate) use self::row::{decode, encode};
use crate::apply::membership_change::Change;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub id: MemberId,
    /// Empty until it has started once.
    pub name: String,
    pub peer_urls: Vec<String>,
    /// Empty until it has started once.
    pub client_urls: Vec<String>,
    pub learner: bool,
    /// Of its build, as `major.minor.patch`; empty until it has started once.
    pub version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub members: BTreeMap<MemberId, Member>,
    /// Everyone who was ever removed: such an id never comes back.
    pub removed: BTreeSet<MemberId>,
}

/// Why a configuration change cannot be. Texts are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("membership: ID removed")]
    IdRemoved,
    #[error("membership: ID exists")]
    IdExists,
    #[error("membership: ID not found")]
    IdNotFound,
    #[error("membership: peerURL exists")]
    PeerUrlExists,
}

impl Refusal {
    pub const ALL: [Self; 4] =
        [Self::IdRemoved, Self::IdExists, Self::IdNotFound, Self::PeerUrlExists];
}

impl From<command::Member> for Member {
    fn from(member: command::Member) -> Self {
        let command::Member { id, name, peer_urls, client_urls, learner, version } = member;
        Self { id: MemberId(id), name, peer_urls, client_urls, learner, version }
    }
}

impl Members {
    /// Whether a change can be carried out, by the rules of etcd.
    ///
    /// Asked when it is applied; whoever proposes one asks before, for a better answer.
    pub fn check(&self, change: &Change) -> Result<(), Refusal> {
        let (id, member) = match change {
            Change::Add(member) | Change::Update(member) => (MemberId(member.id), Some(member)),
            Change::Remove(id) => (*id, None),
        };
        if self.removed.contains(&id) {
            return Err(Refusal::IdRemoved);
        }
        match (change, self.members.contains_key(&id)) {
            (Change::Add(_), true) => return Err(Refusal::IdExists),
            (Change::Update(_) | Change::Remove(_), false) => return Err(Refusal::IdNotFound),
            _ => {}
        }
        let urls = member.map_or(&[][..], |member| &member.peer_urls);
        let others = self.members.values().filter(|other| other.id != id);
        if others.flat_map(|other| &other.peer_urls).any(|url| urls.contains(url)) {
            return Err(Refusal::PeerUrlExists);
        }
        Ok(())
    }

    /// Whether the change would leave nobody to vote: raft refuses that.
    pub fn is_last_voter(&self, change: &Change) -> bool {
        let Change::Remove(id) = change else { return false };
        let mut voters = self.members.values().filter(|member| !member.learner);
        voters.all(|member| member.id == *id)
    }

    /// Whether enough members would have started for the quorum of the cluster that the change
    /// leads to (etcd's strict check). One that has not told its name has not started.
    pub fn leaves_quorum(&self, change: &Change) -> bool {
        let voters = || self.members.values().filter(|member| !member.learner);
        let started = |member: &&Member| !member.name.is_empty();
        match change {
            Change::Update(_) => true,
            Change::Add(member) if member.learner => true,
            Change::Add(_) => {
                let (count, started) = (voters().count() + 1, voters().filter(started).count());
                // The second member of a cluster can only be added like this.
                (count == 2 && started == 1) || started > count / 2
            }
            Change::Remove(id) => {
                let rest = || voters().filter(|member| member.id != *id);
                let (count, started) = (rest().count(), rest().filter(started).count());
                started > count / 2
            }
        }
    }

    /// Carries out a change that [`Members::check`] allows.
    ///
    /// An update changes what Raft needs to know (peer URLs, whether it is a learner); name and
    /// client URLs are the member's own to tell: see [`Members::publish`].
    pub(crate) fn change(&mut self, change: Change) {
        match change {
            Change::Add(member) => {
                let member = Member::from(member);
                self.members.insert(member.id, member);
            }
            Change::Update(update) => {
                if let Some(member) = self.members.get_mut(&MemberId(update.id)) {
                    member.peer_urls = update.peer_urls;
                    member.learner = update.learner;
                }
            }
            Change::Remove(id) => {
                self.members.remove(&id);
                self.removed.insert(id);
            }
        }
    }

    /// Takes over what a member tells of itself; false if nothing changes, as when nobody (or
    /// nobody any more) has that id.
    pub(crate) fn publish(&mut self, publish: Publish) -> bool {
        let Publish { member, name, client_urls, version } = publish;
        let Some(member) = self.members.get_mut(&MemberId(member)) else { return false };
        if member.name == name && member.client_urls == client_urls && member.version == version {
            return false;
        }
        member.name = name;
        member.client_urls = client_urls;
        member.version = version;
        true
    }

    /// The lowest and the highest version that members have told, learners among them, since they
    /// apply as well. `None` as long as one has told none.
    pub fn versions(&self) -> Option<(Minor, Minor)> {
        let told = self.members.values().map(|member| Minor::parse(&member.version));
        let told = told.collect::<Option<Vec<_>>>()?;
        Some((*told.iter().min()?, *told.iter().max()?))
    }
}

#[cfg(test)]
mod tests;
