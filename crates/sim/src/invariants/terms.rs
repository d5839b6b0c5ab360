//! A term has one leader, and a member leads in it once, if anybody could know that it did.

use base::Term;

use crate::{Violation, history::History};

/// The member begins to lead in a term in which it has not synced anything before it was
/// opened.
pub(crate) fn is_new(history: &History, term: Term) -> Result<(), Violation> {
    if term > history.led {
        return Ok(());
    }
    let text = format!("began to lead in term {term}, and has led in {}", history.led);
    Err(Violation::new("terms", text))
}
