//! Configuration changes: what stands in the log, and what follows from it.

use base::MemberId;
use bytes::Bytes;
use proto::{Message as _, command::Member};
use raft::{
    Changer, ProgressTracker,
    eraftpb::{ConfChange, ConfChangeType, ConfState, EntryType},
};
use raft_proto::{ConfChangeI as _, conf_state_eq};
use state::apply::membership_change::Change;
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

    pub(crate) fn state(&self) -> ConfState {
        let mut state = self.tracker.conf().to_conf_state();
        // Raft keeps hash sets: in order, the same configuration has the same bytes everywhere.
        state.voters.sort_unstable();
        state.learners.sort_unstable();
        state
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.tracker.get(id).is_some()
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

/// What a change means for the members table. Adding one that is there already updates it.
pub(crate) fn membership(
    index: u64,
    change: &ConfChange,
    known: &Configuration,
) -> Result<Change, ConfError> {
    if change.change_type() == ConfChangeType::RemoveNode {
        return Ok(Change::Remove(MemberId(change.node_id)));
    }
    let member = Member::decode(&*change.context)
        .map_err(|error| ConfError::Undecodable { index, text: error.to_string() })?;
    if known.contains(change.node_id) {
        Ok(Change::Update(member))
    } else {
        Ok(Change::Add(member))
    }
}

/// The data of an entry that proposes a change; `id` is whom to answer.
pub(crate) fn encode(id: u64, change: &Change) -> Bytes {
    let (change_type, node_id, context) = match change {
        Change::Remove(member) => (ConfChangeType::RemoveNode, member.0, Bytes::new()),
        Change::Add(member) | Change::Update(member) => {
            let kind = if member.learner {
                ConfChangeType::AddLearnerNode
            } else {
                ConfChangeType::AddNode
            };
            (kind, member.id, member.encode_to_vec().into())
        }
    };
    ConfChange { change_type: change_type.into(), node_id, context, id }.encode_to_vec().into()
}

/// The data of an entry that adds a voter.
pub(crate) fn add_voter(member: &Member) -> Bytes {
    ConfChange {
        change_type: ConfChangeType::AddNode.into(),
        node_id: member.id,
        context: member.encode_to_vec().into(),
        ..ConfChange::default()
    }
    .encode_to_vec()
    .into()
}

/// The data of an entry that removes a member.
pub(crate) fn remove(id: u64) -> Bytes {
    ConfChange {
        change_type: ConfChangeType::RemoveNode.into(),
        node_id: id,
        ..ConfChange::default()
    }
    .encode_to_vec()
    .into()
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
        assert!(configuration.contains(9) && !configuration.contains(3));
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
