//! `--force-new-cluster`: going on alone.

use base::{Index, MemberId};
use bytes::Bytes;
use proto::command::Member;
use raft::eraftpb::EntryType;
use state::{apply::membership_change::Change, membership::Members};
use wal::{Entry, Identity, Recovered};

use super::{OpenError, Options};
use crate::{
    applier::{Applier, ApplyError},
    conf::{self, Configuration},
};

/// What the log is to end with, so that this member is the only one of its cluster, if that is
/// wanted. All of the log then counts as committed: what it holds may have been acknowledged,
/// whether or not it says so.
///
/// So the cluster that follows has an ordinary log, which replays to the same members wherever the
/// member crashes.
pub(super) fn additions(
    log: &Recovered,
    applier: &Applier,
    identity: Identity,
    options: &Options,
) -> Result<Vec<Entry>, OpenError> {
    let (members, configuration) = at_the_end(applier, log)?;
    let has_begun = applier.state().applied().index > Index(0);
    let own = identity.member;
    let changes = if configuration.is_empty() && has_begun {
        if !options.force_new_cluster {
            return Err(OpenError::Backup);
        }
        let mut peer_urls = options.peer_urls.clone();
        peer_urls.sort_unstable();
        vec![Change::Add(Member { id: own.0, peer_urls, ..Member::default() })]
    } else if options.force_new_cluster {
        go_on_alone(&members, &configuration, own)?
    } else {
        Vec::new()
    };
    let after = log.before.0.0 + log.entries.len() as u64 + 1;
    let entries = changes.iter().zip(after..).map(|(change, index)| Entry {
        index: Index(index),
        term: log.hard_state.term,
        kind: EntryType::EntryConfChange as u8,
        data: conf::encode(0, change),
        context: Bytes::new(),
    });
    Ok(entries.collect())
}

/// The changes after which only this member is left.
fn go_on_alone(
    members: &Members,
    configuration: &Configuration,
    own: MemberId,
) -> Result<Vec<Change>, OpenError> {
    if members.removed.contains(&own) {
        return Err(OpenError::Alone(
            "this member was removed from its cluster, and its id never comes back: make a backup \
             of its data (etcdctl backup), which gets an id of its own, and start that",
        ));
    }
    if !members.members.contains_key(&own) {
        return Err(OpenError::Alone(
            "this member was only about to join its cluster, and may not have all of its data: go \
             on with another one; or make a backup of what it has (etcdctl backup), and start that",
        ));
    }
    let state = configuration.state();
    let learns = configuration.is_learner(own.0).then_some(Change::Promote(own));
    let others = state.voters.into_iter().chain(state.learners).filter(|id| *id != own.0);
    Ok(learns.into_iter().chain(others.map(|id| Change::Remove(MemberId(id)))).collect())
}

/// The members and who votes, once all of the log is applied.
pub(super) fn at_the_end(
    applier: &Applier,
    log: &Recovered,
) -> Result<(Members, Configuration), OpenError> {
    let mut members = (*applier.state().reader().members()).clone();
    let mut configuration = applier.configuration().copy().map_err(ApplyError::from)?;
    let applied = applier.state().applied().index;
    for entry in log.entries.iter().filter(|entry| entry.index > applied && entry.kind != 0) {
        let change = conf::decode(entry).map_err(ApplyError::from)?;
        let decided = conf::decide(entry.index.0, change, &members, &mut configuration);
        if let Ok((meant, _)) = decided.map_err(ApplyError::from)? {
            members.change(meant);
        }
    }
    Ok((members, configuration))
}
