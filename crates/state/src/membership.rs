//! The members of the cluster, as agreed.

mod ids;
mod row;

use std::collections::{BTreeMap, BTreeSet};

use base::{MemberId, version::Minor};
use proto::command::{self, Publish};

pub use self::ids::{
    bootstrap_cluster_id, bootstrap_member_id, new_member_id, restored_cluster_id,
};
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
    #[error("membership: can only promote a learner member")]
    NotLearner,
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
}

impl Refusal {
    pub const ALL: [Self; 6] = [
        Self::IdRemoved,
        Self::IdExists,
        Self::IdNotFound,
        Self::PeerUrlExists,
        Self::NotLearner,
        Self::TooManyLearners,
    ];
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
        let (id, urls) = match change {
            Change::Add(member) | Change::AddLearner(member, _) | Change::Update(member) => {
                (MemberId(member.id), &member.peer_urls[..])
            }
            Change::Promote(id) | Change::Remove(id) => (*id, &[][..]),
        };
        if self.removed.contains(&id) {
            return Err(Refusal::IdRemoved);
        }
        let known = self.members.get(&id);
        match (change, known) {
            (Change::Add(_) | Change::AddLearner(..), Some(_)) => return Err(Refusal::IdExists),
            (Change::Update(_) | Change::Promote(_) | Change::Remove(_), None) => {
                return Err(Refusal::IdNotFound);
            }
            (Change::Promote(_), Some(member)) if !member.learner => {
                return Err(Refusal::NotLearner);
            }
            _ => {}
        }
        let others = self.members.values().filter(|other| other.id != id);
        if others.flat_map(|other| &other.peer_urls).any(|url| urls.contains(url)) {
            return Err(Refusal::PeerUrlExists);
        }
        if let Change::AddLearner(_, most) = change
            && self.members.values().filter(|member| member.learner).count() >= *most as usize
        {
            return Err(Refusal::TooManyLearners);
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
            Change::Update(_) | Change::AddLearner(..) => true,
            Change::Add(_) => {
                let (count, started) = (voters().count() + 1, voters().filter(started).count());
                // The second member of a cluster can only be added like this.
                (count == 2 && started == 1) || started > count / 2
            }
            // A learner that is in sync with the leader runs.
            Change::Promote(_) => {
                let (count, started) = (voters().count() + 1, voters().filter(started).count() + 1);
                started > count / 2
            }
            Change::Remove(id) if self.members.get(id).is_some_and(|member| member.learner) => true,
            Change::Remove(id) => {
                let rest = || voters().filter(|member| member.id != *id);
                let (count, started) = (rest().count(), rest().filter(started).count());
                started > count / 2
            }
        }
    }

    /// Whether enough voters are in touch, for all that somebody knows, to go on while the change is
    /// made (etcd 3.1 and later): all of them to add one, a majority of the rest to remove one. Who is
    /// not in touch itself can be removed.
    pub fn stays_healthy(&self, change: &Change, active: impl Fn(MemberId) -> bool) -> bool {
        let voters = || self.members.values().filter(|member| !member.learner);
        match change {
            Change::Update(_) | Change::Promote(_) => true,
            Change::Add(_) | Change::AddLearner(..) => voters().all(|member| active(member.id)),
            Change::Remove(id) if !voters().any(|member| member.id == *id) || !active(*id) => true,
            Change::Remove(_) => {
                let (count, active) = (voters().count(), voters().filter(|one| active(one.id)));
                active.count() - 1 > (count - 1) / 2
            }
        }
    }

    /// Carries out a change that [`Members::check`] allows.
    ///
    /// An update changes where a member is; name and client URLs are the member's own to tell: see
    /// [`Members::publish`].
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Add(member) => self.add(Member { learner: false, ..Member::from(member) }),
            Change::AddLearner(member, _) => {
                self.add(Member { learner: true, ..Member::from(member) });
            }
            Change::Update(update) => {
                if let Some(member) = self.members.get_mut(&MemberId(update.id)) {
                    member.peer_urls = update.peer_urls;
                }
            }
            Change::Promote(id) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.learner = false;
                }
            }
            Change::Remove(id) => {
                self.members.remove(&id);
                self.removed.insert(id);
            }
        }
    }

    fn add(&mut self, member: Member) {
        self.members.insert(member.id, member);
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
