//! The members of the cluster, as agreed.

mod ids;
mod row;

use std::collections::{BTreeMap, BTreeSet};

use base::MemberId;
use proto::command::{self, Publish};

pub use self::ids::{bootstrap_cluster_id, bootstrap_member_id};
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

impl From<command::Member> for Member {
    fn from(member: command::Member) -> Self {
        let command::Member { id, name, peer_urls, client_urls, learner } = member;
        Self { id: MemberId(id), name, peer_urls, client_urls, learner }
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
        let Publish { member, name, client_urls } = publish;
        let Some(member) = self.members.get_mut(&MemberId(member)) else { return false };
        if member.name == name && member.client_urls == client_urls {
            return false;
        }
        member.name = name;
        member.client_urls = client_urls;
        true
    }
}

#[cfg(test)]
mod tests;
