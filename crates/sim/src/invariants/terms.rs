//! A member begins to lead in a term once, if anybody could know that it did.

use base::{MemberId, Term};

use crate::{Violation, history::History};

/// The member begins to lead in a term in which it has not synced anything before it was
/// opened.
pub(crate) fn is_new(history: &History, member: MemberId, term: Term) -> Result<(), Violation> {
    let synced = history.synced.get(&member).copied().unwrap_or_default();
    if term > synced {
        return Ok(());
    }
    let text = format!("{member} began to lead in term {term}, and had been in {synced}");
    Err(Violation::new("terms", text))
}
