//! Leader completeness: whoever leads holds everything that was ever committed.

use base::{Index, MemberId};
use member::Core;

use crate::{Violation, history::History};

/// What anybody has applied was committed. Entries that the core does not hold in memory any more
/// it has applied itself, which others check.
pub(crate) fn holds_all(history: &History, member: MemberId, core: &Core) -> Result<(), Violation> {
    for (index, entry) in &history.entries {
        let held = core.term_of(Index(*index));
        let forgotten = held.is_none() && Index(*index) <= core.last_index();
        if held != Some(entry.term) && !forgotten {
            let text = format!("{member} leads, and holds {held:?} as entry {index}: {entry:?}");
            return Err(Violation::new("leader completeness", text));
        }
    }
    Ok(())
}
