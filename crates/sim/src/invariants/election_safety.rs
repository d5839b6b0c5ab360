//! Election safety: a term has one leader at most.

use base::{MemberId, Term};

use crate::{Violation, history::History};

/// Nobody else has led in this term.
pub(crate) fn is_only_leader(
    history: &mut History,
    member: MemberId,
    term: Term,
) -> Result<(), Violation> {
    let leader = *history.leaders.entry(term).or_insert(member);
    if leader == member {
        return Ok(());
    }
    Err(Violation::new("election safety", format!("{leader} and {member} lead in term {term}")))
}
