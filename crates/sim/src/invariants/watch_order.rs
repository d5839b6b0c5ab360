//! Watch order: watchers at all members hear of everything, in order, once; and the same before a
//! crash and after.

use std::sync::Arc;

use member::Applier;
use mvcc::{Commit, Interest};

use crate::{Violation, history::History, watcher::Watcher};

const NAME: &str = "watch order";

/// The commit is the first one, from where the watcher stands, that concerns it.
pub(crate) fn is_next(
    history: &History,
    watcher: &Watcher,
    commit: &Arc<Commit>,
) -> Result<(), Violation> {
    match next(history, &watcher.interest, watcher.position) {
        Some(expected) if expected == commit => Ok(()),
        expected => {
            let text = format!("from {} on: {commit:?}, should be {expected:?}", watcher.position);
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
        if let Some(commit) = next(history, &watcher.interest, from) {
            let text = format!("{:?} never heard of revision {}", watcher.interest, commit.main);
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}

fn next<'h>(history: &'h History, interest: &Interest, from: i64) -> Option<&'h Arc<Commit>> {
    let concerns =
        |commit: &&Arc<Commit>| commit.records.iter().any(|record| interest.concerns(record));
    history.commits.range(from..).map(|(_, commit)| commit).find(concerns)
}
