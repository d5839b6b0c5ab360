//! Log matching: where two logs hold an entry of one index and term, all before it is the same.

use base::Term;
use wal::Entry;

use crate::{Violation, history::History};

/// An entry of this index and term was always this one, and stood behind one of the same term. By
/// induction all before it is the same too.
pub(crate) fn matches(
    history: &mut History,
    entry: &Entry,
    before: Option<Term>,
) -> Result<(), Violation> {
    let key = (entry.index.0, entry.term);
    let Some((known, known_before)) = history.logged.get(&key) else {
        history.logged.insert(key, (entry.clone(), before));
        return Ok(());
    };
    // What stands before may have been applied so long ago that nobody knows its term.
    let same_before = known_before.is_none() || before.is_none() || *known_before == before;
    if known == entry && same_before {
        return Ok(());
    }
    let text = format!("{known:?} behind {known_before:?}, and {entry:?} behind {before:?}");
    Err(Violation::new("log matching", text))
}
