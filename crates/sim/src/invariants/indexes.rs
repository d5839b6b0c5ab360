//! Indexes go on where they were: an entry gives the same revisions whenever it is applied.

use std::sync::Arc;

use mvcc::Commit;
use wal::Entry;

use crate::{Violation, history::History};

/// These entries gave what they gave the first time.
pub(crate) fn go_on(
    history: &History,
    entries: &[Entry],
    commits: &[Arc<Commit>],
) -> Result<(), Violation> {
    let expected =
        entries.iter().filter_map(|entry| history.outcomes.get(&entry.index.0)).flatten();
    if expected.eq(commits) {
        return Ok(());
    }
    let indexes: Vec<u64> = entries.iter().map(|entry| entry.index.0).collect();
    Err(Violation::new("indexes", format!("entries {indexes:?} gave {commits:?} now")))
}
