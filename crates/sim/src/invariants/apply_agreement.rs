//! Apply agreement: a position of the log has one entry for ever, on all members, once it was handed
//! out to be applied.

use wal::Entry;

use crate::{Violation, history::History};

/// The entry is what was handed out at its index before, or the first one there.
pub(crate) fn is_as_before(history: &mut History, entry: &Entry) -> Result<(), Violation> {
    let index = entry.index.0;
    let first = history.entries.entry(index).or_insert_with(|| entry.clone());
    if first == entry {
        return Ok(());
    }
    let text = format!("entry {index} was {first:?} and is now {entry:?}");
    Err(Violation::new("apply agreement", text))
}
