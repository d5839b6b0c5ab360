//! Watchers hear of everything, in order, once; and the same before a crash and after.

use std::sync::Arc;

use member::Applier;
use mvcc::Commit;

use crate::{Violation, history::History, watcher::Watcher};

const NAME: &str = "watchers";

/// The commit is the first one from `position` on that there is anything to tell of.
pub(crate) fn is_next(
    history: &History,
    position: i64,
    commit: &Arc<Commit>,
) -> Result<(), Violation> {
    match next_told(history, position) {
        Some(expected) if expected == commit => Ok(()),
        expected => {
            let text = format!("from {position} on: {commit:?}, should be {expected:?}");
            Err(Violation::new(NAME, text))
        }
    }
}

/// Nothing is left to be told to anybody.
pub(crate) fn saw_everything(
    history: &History,
    watchers: &[Watcher],
    applier: &Applier,
) -> Result<(), Violation> {
    let compacted = applier.state().reader().store().compacted();
    for watcher in watchers {
        let from = watcher.position.max(compacted + 1);
        if let Some(commit) = next_told(history, from) {
            let text = format!("never heard of revision {}", commit.main);
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}

fn next_told(history: &History, position: i64) -> Option<&Arc<Commit>> {
    let tells = |commit: &&Arc<Commit>| commit.records.iter().any(|record| record.told);
    history.commits.range(position..).map(|(_, commit)| commit).find(tells)
}
