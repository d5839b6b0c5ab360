//! The first entries of a new cluster's log.
//!
//! As in etcd, the initial members enter by configuration changes at index 1 to n, in order of
//! their ids, all of term 1 and committed from the start. Every initial member computes the same
//! entries from the same flags, so their logs agree before any of them has spoken; and what is
//! replayed after a crash at any step is an ordinary log.

use base::{Index, MemberId, Term};
use bytes::Bytes;
use proto::command::Member;
use raft::eraftpb::EntryType;
use state::{
    apply::membership_change::Change,
    membership::{bootstrap_cluster_id, bootstrap_member_id},
};
use wal::{Entry, HardState, Identity, Recovered};

use crate::{conf, initial::Row};

/// The beginning of a member.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub identity: Identity,
    /// All initial members of a cluster to be founded, this one among them; client URLs are not
    /// known yet. Empty for a member that joins a cluster: its log comes from the others.
    pub members: Vec<Member>,
}

impl Bootstrap {
    /// The founding of a cluster of all these members, by one of them. Every one of them computes the
    /// same ids from the same rows and the same token.
    pub fn of_all(initial_cluster: &[Row], own: &Row, token: &str) -> Self {
        let member = |(name, urls): &Row| {
            let mut urls = urls.clone();
            urls.sort_unstable();
            let id = bootstrap_member_id(&urls, token);
            Member { id: id.0, name: name.clone(), peer_urls: urls, ..Member::default() }
        };
        let members: Vec<Member> = initial_cluster.iter().map(member).collect();
        let mut ids: Vec<MemberId> = members.iter().map(|member| MemberId(member.id)).collect();
        ids.sort_unstable();
        let cluster = bootstrap_cluster_id(&ids);
        Self { identity: Identity { cluster, member: MemberId(member(own).id) }, members }
    }

    /// What goes into a new log, in one batch.
    pub(crate) fn log(&self) -> (HardState, Vec<Entry>) {
        let mut members: Vec<&Member> = self.members.iter().collect();
        members.sort_unstable_by_key(|member| member.id);
        let entries: Vec<Entry> = members
            .iter()
            .zip(1..)
            .map(|(member, index)| Entry {
                index: Index(index),
                term: Term(1),
                kind: EntryType::EntryConfChange as u8,
                data: conf::encode(0, &Change::Add(Member::clone(member))),
                context: Bytes::new(),
            })
            .collect();
        let commit = Index(entries.len() as u64);
        (HardState { term: Term(1), vote: MemberId(0), commit }, entries)
    }
}

/// Whether the making of this log never finished, so that nobody was promised anything: the
/// first batch is of term 1 and holds all that it commits.
pub(crate) fn is_unfinished(log: &Recovered) -> bool {
    let last = log.before.0.0 + log.entries.len() as u64;
    log.before.0 == Index(0) && (log.hard_state.term == Term(0) || last < log.hard_state.commit.0)
}
