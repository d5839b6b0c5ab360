//! Leader completeness: whoever leads holds everything that was committed in earlier terms.

use base::{Index, MemberId, Term};
use member::Core;

use crate::{Violation, history::History};

/// What anybody has applied was committed, in the term that it was in then or before. Who leads in
/// an earlier one need not have heard of it. And entries that the core does not hold in memory any
/// more it has applied itself, which others check.
pub(crate) fn holds_all(
    history: &History,
    member: MemberId,
    term: Term,
    core: &Core,
) -> Result<(), Violation> {
    for (index, entry) in &history.entries {
        let is_later = history.applied_in.get(index).is_some_and(|applied| *applied > term);
        let held = core.term_of(Index(*index));
        let forgotten = held.is_none() && Index(*index) <= core.last_index();
        if held != Some(entry.term) && !forgotten && !is_later {
            let text = format!(
                "{member} leads in term {term}, and holds {held:?} as entry {index}: {entry:?}"
            );
            return Err(Violation::new("leader completeness", text));
        }
    }
    Ok(())
}
