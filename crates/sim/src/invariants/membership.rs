//! Membership: whoever was removed leaves, and never comes back under its id.

use base::MemberId;
use state::membership::Members;

use crate::{Violation, history::History};

/// The members after an entry, with what they were before it.
pub(crate) fn goes_on(
    history: &mut History,
    before: &Members,
    after: &Members,
) -> Result<(), Violation> {
    let gone = before.members.keys().filter(|id| !after.members.contains_key(id));
    history.removed.extend(gone);
    match after.members.keys().find(|id| history.removed.contains(id)) {
        None => Ok(()),
        Some(id) => Err(Violation::new("membership", format!("{id} was removed, and is back"))),
    }
}

/// Nobody has applied that it was removed, and goes on as if nothing had happened.
pub(crate) fn leaves(member: MemberId, lingers: bool) -> Result<(), Violation> {
    if !lingers {
        return Ok(());
    }
    Err(Violation::new("membership", format!("{member} was removed, and does not leave")))
}

#[cfg(test)]
mod tests {
    use state::membership::Member;

    use super::*;

    #[test]
    fn an_id_that_comes_back_is_found() {
        let mut history = History::new();
        let member = Member { id: MemberId(1), ..Member::default() };
        let with = Members { members: [(member.id, member)].into(), ..Members::default() };
        let without = Members::default();
        assert_eq!(goes_on(&mut history, &without, &with), Ok(()));
        assert_eq!(goes_on(&mut history, &with, &without), Ok(()));
        let back = goes_on(&mut history, &without, &with).unwrap_err();
        assert_eq!(back.invariant, "membership");
    }
}
