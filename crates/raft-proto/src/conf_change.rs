//! Configuration changes of the older and the newer form, seen as one.

use std::borrow::Cow;

use crate::eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2,
};

/// One step of a [`ConfChangeV2`].
pub fn new_conf_change_single(node_id: u64, change: ConfChangeType) -> ConfChangeSingle {
    ConfChangeSingle { change_type: change.into(), node_id }
}

/// A configuration change of either form.
pub trait ConfChangeI {
    fn into_v2(self) -> ConfChangeV2;

    fn as_v2(&self) -> Cow<'_, ConfChangeV2>;

    /// The older form, if it is one: the newer cannot be turned back.
    fn as_v1(&self) -> Option<&ConfChange>;
}

impl ConfChangeI for ConfChange {
    fn into_v2(self) -> ConfChangeV2 {
        let single = new_conf_change_single(self.node_id, self.change_type());
        ConfChangeV2 { changes: vec![single], context: self.context, ..ConfChangeV2::default() }
    }

    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Owned(self.clone().into_v2())
    }

    fn as_v1(&self) -> Option<&ConfChange> {
        Some(self)
    }
}

impl ConfChangeI for ConfChangeV2 {
    fn into_v2(self) -> ConfChangeV2 {
        self
    }

    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Borrowed(self)
    }

    fn as_v1(&self) -> Option<&ConfChange> {
        None
    }
}

impl ConfChangeV2 {
    /// Whether this change goes through joint consensus, and if so whether raft leaves the joint
    /// configuration by itself.
    ///
    /// One change alone needs no joint configuration; several at once, or a transition asked for
    /// by name, do.
    pub fn enter_joint(&self) -> Option<bool> {
        match self.transition() {
            ConfChangeTransition::Auto if self.changes.len() <= 1 => None,
            ConfChangeTransition::Auto | ConfChangeTransition::Implicit => Some(true),
            ConfChangeTransition::Explicit => Some(false),
        }
    }

    /// Whether this change leaves a joint configuration: it says nothing, its context aside.
    pub fn leave_joint(&self) -> bool {
        self.transition() == ConfChangeTransition::Auto && self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joint_consensus_is_for_several_changes_or_by_request() {
        let add = new_conf_change_single(2, ConfChangeType::AddNode);
        let remove = new_conf_change_single(1, ConfChangeType::RemoveNode);
        let change =
            |changes: &[ConfChangeSingle], transition: ConfChangeTransition| ConfChangeV2 {
                transition: transition.into(),
                changes: changes.to_vec(),
                ..ConfChangeV2::default()
            };
        assert_eq!(change(&[add], ConfChangeTransition::Auto).enter_joint(), None);
        assert_eq!(change(&[add, remove], ConfChangeTransition::Auto).enter_joint(), Some(true));
        assert_eq!(change(&[add], ConfChangeTransition::Implicit).enter_joint(), Some(true));
        assert_eq!(change(&[add], ConfChangeTransition::Explicit).enter_joint(), Some(false));
        assert!(change(&[], ConfChangeTransition::Auto).leave_joint());
        assert!(!change(&[add], ConfChangeTransition::Auto).leave_joint());
    }

    #[test]
    fn the_older_form_becomes_one_step_of_the_newer() {
        let old = ConfChange {
            change_type: ConfChangeType::AddLearnerNode.into(),
            node_id: 7,
            context: "who".into(),
            ..ConfChange::default()
        };
        let new = old.as_v2().into_owned();
        assert_eq!(new.changes, [new_conf_change_single(7, ConfChangeType::AddLearnerNode)]);
        assert_eq!(new.context, "who");
        assert_eq!(new.enter_joint(), None);
    }
}
