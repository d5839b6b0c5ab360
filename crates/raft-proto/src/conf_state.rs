//! Comparing and building configurations.

use std::collections::BTreeSet;

use crate::eraftpb::ConfState;

/// Whether both describe the same configuration: the order of ids says nothing.
#[must_use]
pub fn conf_state_eq(left: &ConfState, right: &ConfState) -> bool {
    let same = |a: &[u64], b: &[u64]| {
        a == b || a.iter().collect::<BTreeSet<_>>() == b.iter().collect::<BTreeSet<_>>()
    };
    left.auto_leave == right.auto_leave
        && same(&left.voters, &right.voters)
        && same(&left.learners, &right.learners)
        && same(&left.voters_outgoing, &right.voters_outgoing)
        && same(&left.learners_next, &right.learners_next)
}

/// From voters and learners.
impl<V, L> From<(V, L)> for ConfState
where
    V: IntoIterator<Item = u64>,
    L: IntoIterator<Item = u64>,
{
    fn from((voters, learners): (V, L)) -> Self {
        Self {
            voters: voters.into_iter().collect(),
            learners: learners.into_iter().collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_says_nothing_but_every_set_counts() {
        let base = ConfState::from(([1, 2, 3], [4]));
        assert!(conf_state_eq(&base, &ConfState::from(([3, 1, 2], [4]))));
        assert!(!conf_state_eq(&base, &ConfState::from(([1, 2], [4]))));
        assert!(!conf_state_eq(&base, &ConfState::from(([1, 2, 3], [5]))));
        let joint = ConfState { voters_outgoing: vec![1], ..base.clone() };
        assert!(!conf_state_eq(&base, &joint));
        let leaving = ConfState { auto_leave: true, ..base.clone() };
        assert!(!conf_state_eq(&base, &leaving));
    }
}
