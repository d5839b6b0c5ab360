//! Configuration changes: what stands in the log, and what follows from it.

use base::MemberId;
use bytes::Bytes;
use proto::{
    Message as _,
    command::{Member, MemberChange, MemberChangeKind},
};
use raft::{
    Changer, ProgressTracker,
    eraftpb::{ConfChange, ConfChangeType, ConfState, EntryType},
};
use raft_proto::{ConfChangeI as _, conf_state_eq};
use state::{apply::membership_change::Change, membership::Members};
use wal::Entry;

/// A configuration change that this build cannot carry out; the member must stop.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    #[error("entry {index}: its configuration change cannot be decoded: {text}")]
    Undecodable { index: u64, text: String },
    #[error("entry {index}: {text}")]
    Refused { index: u64, text: String },
    #[error("the stored configuration cannot be decoded: {0}")]
    State(String),
    #[error("the configuration is a joint one, which this build does not know: upgrade it")]
    Joint,
}

/// Who votes, as applied: kept beside the replicated state, which stores its encoded form.
///
/// Raft keeps its own. Both come from raft's own rules and are compared at every change.
pub(crate) struct Configuration {
    tracker: ProgressTracker,
}

impl Configuration {
    /// From what the keyspace stores; `None` is a cluster before its first change.
    pub(crate) fn decode(stored: Option<&Bytes>) -> Result<Self, ConfError> {
        let state = match stored {
            None => ConfState::default(),
            Some(bytes) => {
                ConfState::decode(&**bytes).map_err(|error| ConfError::State(error.to_string()))?
            }
        };
        if !state.voters_outgoing.is_empty() {
            return Err(ConfError::Joint);
        }
        let mut configuration = Self { tracker: ProgressTracker::new(1) };
        let voters = state.voters.iter().map(|id| (*id, ConfChangeType::AddNode));
        let learners = state.learners.iter().map(|id| (*id, ConfChangeType::AddLearnerNode));
        for (node_id, kind) in voters.chain(learners) {
            let change = ConfChange { change_type: kind.into(), node_id, ..ConfChange::default() };
            configuration.apply(0, &change)?;
        }
        Ok(configuration)
    }

    pub(crate) fn of_voters(ids: impl Iterator<Item = u64>) -> Result<Self, ConfError> {
        let state = ConfState { voters: ids.collect(), ..ConfState::default() };
        Self::decode(Some(&state.encode_to_vec().into()))
    }

    pub(crate) fn state(&self) -> ConfState {
        let mut state = self.tracker.conf().to_conf_state();
        // Raft keeps hash sets: in order, the same configuration has the same bytes everywhere.
        state.voters.sort_unstable();
        state.learners.sort_unstable();
        state
    }

    pub(crate) fn copy(&self) -> Result<Self, ConfError> {
        Self::decode(Some(&self.state().encode_to_vec().into()))
    }

    pub(crate) fn is_learner(&self, id: u64) -> bool {
        self.tracker.conf().learners().contains(&id)
    }

    /// Whether nobody is in it, as before a cluster's first change.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.tracker.conf().to_conf_state();
        state.voters.is_empty() && state.learners.is_empty()
    }

    pub(crate) fn apply(&mut self, index: u64, change: &ConfChange) -> Result<(), ConfError> {
        let (conf, changes) = Changer::new(&self.tracker)
            .simple(&change.as_v2().changes)
            .map_err(|error| ConfError::Refused { index, text: error.to_string() })?;
        self.tracker.apply_conf(conf, changes, 1);
        Ok(())
    }
}

/// A configuration change that has been applied, for raft to take over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Switched {
    pub(crate) change: ConfChange,
    pub(crate) state: ConfState,
}

impl Switched {
    /// Whether raft came to the same configuration.
    pub(crate) fn agrees(&self, raft: &ConfState) -> bool {
        conf_state_eq(&self.state, raft)
    }
}

/// The configuration change in an entry.
pub(crate) fn decode(entry: &Entry) -> Result<ConfChange, ConfError> {
    let index = entry.index.0;
    if i32::from(entry.kind) != EntryType::EntryConfChange as i32 {
        let text = format!("entries of kind {} are not known to this build", entry.kind);
        return Err(ConfError::Undecodable { index, text });
    }
    ConfChange::decode(&*entry.data)
        .map_err(|error| ConfError::Undecodable { index, text: error.to_string() })
}

/// What becomes of a change in the log, on all members alike: it is carried out, in the configuration
/// it has been already; or the cluster's rules or raft's refuse it, and it changes nothing.
pub(crate) type Decided = Result<(Change, Switched), String>;

/// Decides over a change whose turn has come, with the members as they are then.
pub(crate) fn decide(
    index: u64,
    change: ConfChange,
    members: &Members,
    configuration: &mut Configuration,
) -> Result<Decided, ConfError> {
    let meant = meaning(index, &change)?;
    if let Err(refusal) = members.check(&meant) {
        return Ok(Err(refusal.to_string()));
    }
    let mut change = change;
    if let Change::Update(member) = &meant {
        // Whether it votes was perhaps otherwise when this was proposed.
        change.set_change_type(vote(configuration.is_learner(member.id)));
    }
    let applied = configuration.apply(index, &change).map_err(|error| error.to_string());
    Ok(applied.map(|()| (meant, Switched { change, state: configuration.state() })))
}

fn vote(learner: bool) -> ConfChangeType {
    if learner { ConfChangeType::AddLearnerNode } else { ConfChangeType::AddNode }
}

/// What a change means for the members table.
pub(crate) fn meaning(index: u64, change: &ConfChange) -> Result<Change, ConfError> {
    let undecodable = |text: String| ConfError::Undecodable { index, text };
    let id = MemberId(change.node_id);
    if change.change_type() == ConfChangeType::RemoveNode {
        return Ok(Change::Remove(id));
    }
    let context = MemberChange::decode(&*change.context);
    let context = context.map_err(|error| undecodable(error.to_string()))?;
    let member = context.member.unwrap_or_default();
    if member.id != id.0 {
        return Err(undecodable(format!("it is of member {id}, and tells of {}", member.id)));
    }
    let learner = change.change_type() == ConfChangeType::AddLearnerNode;
    match MemberChangeKind::try_from(context.kind) {
        Ok(MemberChangeKind::Add) if learner => {
            Ok(Change::AddLearner(member, context.learners_max))
        }
        Ok(MemberChangeKind::Add) => Ok(Change::Add(member)),
        Ok(MemberChangeKind::Update) => Ok(Change::Update(member)),
        Ok(MemberChangeKind::Promote) => Ok(Change::Promote(id)),
        Err(error) => Err(undecodable(error.to_string())),
    }
}

/// The data of an entry that proposes a change; `id` is whom to answer.
pub(crate) fn encode(id: u64, change: &Change) -> Bytes {
    let (change_type, node_id) = match change {
        Change::Remove(member) => (ConfChangeType::RemoveNode, member.0),
        Change::Promote(member) => (ConfChangeType::AddNode, member.0),
        Change::AddLearner(member, _) => (ConfChangeType::AddLearnerNode, member.id),
        Change::Add(member) | Change::Update(member) => (ConfChangeType::AddNode, member.id),
    };
    debug_assert!(!matches!(change, Change::Add(member) if member.learner), "that is AddLearner");
    let context = context(change).map(|context| context.encode_to_vec().into());
    let context = context.unwrap_or_default();
    ConfChange { change_type: change_type.into(), node_id, context, id }.encode_to_vec().into()
}

fn context(change: &Change) -> Option<MemberChange> {
    let (kind, member, learners_max) = match change {
        Change::Remove(_) => return None,
        Change::Add(member) => (MemberChangeKind::Add, member.clone(), 0),
        Change::AddLearner(member, most) => (MemberChangeKind::Add, member.clone(), *most),
        Change::Update(member) => (MemberChangeKind::Update, member.clone(), 0),
        Change::Promote(id) => {
            (MemberChangeKind::Promote, Member { id: id.0, ..Member::default() }, 0)
        }
    };
    Some(MemberChange { kind: kind.into(), member: Some(member), learners_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ConfChangeType, node_id: u64) -> ConfChange {
        ConfChange { change_type: kind.into(), node_id, ..ConfChange::default() }
    }

    #[test]
    fn a_configuration_survives_its_encoding() {
        let mut configuration = Configuration::decode(None).unwrap();
        for id in [3, 1, 2] {
            configuration.apply(id, &change(ConfChangeType::AddNode, id)).unwrap();
        }
        configuration.apply(4, &change(ConfChangeType::AddLearnerNode, 9)).unwrap();
        configuration.apply(5, &change(ConfChangeType::RemoveNode, 3)).unwrap();
        let state = configuration.state();
        assert_eq!(state, ConfState::from(([1, 2], [9])));
        let stored = state.encode_to_vec().into();
        assert_eq!(Configuration::decode(Some(&stored)).unwrap().state(), state);
        assert!(configuration.is_learner(9) && !configuration.is_learner(1));
        assert!(!configuration.is_empty() && Configuration::decode(None).unwrap().is_empty());
    }

    #[test]
    fn a_change_means_what_was_proposed() {
        let member = Member { id: 7, peer_urls: vec!["http://7".to_owned()], ..Member::default() };
        for meant in [
            Change::Add(member.clone()),
            Change::AddLearner(member.clone(), 3),
            Change::Update(member),
            Change::Promote(MemberId(7)),
            Change::Remove(MemberId(7)),
        ] {
            let data = encode(1, &meant);
            let change = ConfChange::decode(&*data).unwrap();
            assert_eq!((change.id, change.node_id), (1, 7));
            assert_eq!(meaning(1, &change).unwrap(), meant);
        }
    }

    /// A learner that is promoted while somebody moves it stays a voter.
    #[test]
    fn an_update_makes_nobody_a_learner_or_a_voter() {
        for (kind, learns) in
            [(ConfChangeType::AddNode, false), (ConfChangeType::AddLearnerNode, true)]
        {
            let mut configuration = Configuration::decode(None).unwrap();
            configuration.apply(1, &change(ConfChangeType::AddNode, 1)).unwrap();
            configuration.apply(2, &change(kind, 7)).unwrap();
            let mut members = Members::default();
            let member = Member { id: 7, ..Member::default() };
            members.change(Change::Add(member.clone()));
            for was_learner in [true, false] {
                let mut update =
                    ConfChange::decode(&*encode(1, &Change::Update(member.clone()))).unwrap();
                update.set_change_type(vote(was_learner));
                let decided = decide(3, update, &members, &mut configuration).unwrap();
                assert!(matches!(decided, Ok((Change::Update(_), _))));
                assert_eq!(configuration.is_learner(7), learns);
            }
        }
    }

    #[test]
    fn removing_the_last_voter_is_refused() {
        let mut configuration = Configuration::decode(None).unwrap();
        configuration.apply(1, &change(ConfChangeType::AddNode, 1)).unwrap();
        let refused = configuration.apply(2, &change(ConfChangeType::RemoveNode, 1));
        assert!(matches!(refused, Err(ConfError::Refused { index: 2, .. })));
    }

    #[test]
    fn a_joint_configuration_is_refused() {
        let joint = ConfState { voters_outgoing: vec![1], ..ConfState::from(([2], [])) };
        let stored = joint.encode_to_vec().into();
        assert!(matches!(Configuration::decode(Some(&stored)), Err(ConfError::Joint)));
    }
}
