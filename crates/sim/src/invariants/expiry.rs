//! Expiry: nothing expires before its time, and nothing stays long after it.

use std::sync::Arc;

use base::UnixNanos;
use member::Applier;
use mvcc::{Action, Commit, Record};

use crate::{Violation, history::History};

const NAME: &str = "expiry";

/// Nothing that expired had time left by everybody's clock.
pub(crate) fn are_due(history: &History, commits: &[Arc<Commit>]) -> Result<(), Violation> {
    for commit in commits {
        // A directory takes its subtree along; it alone is told.
        let expired = |record: &&Record| record.action == Action::Expire && record.told;
        let Some(record) = commit.records.iter().find(expired) else { continue };
        // The newest record of that name before.
        let before = history.commits.values().rev().flat_map(|commit| &commit.records);
        let mut before = before
            .filter(|one| one.kind == record.kind && one.name == record.name)
            .filter(|one| one.revision < record.revision);
        let before = before.next();
        // The end of a lease: see `leases`.
        if before.is_some_and(|one| one.lease != 0) {
            continue;
        }
        let expiry = before.and_then(|one| one.expiry);
        if expiry.is_none_or(|expiry| expiry > history.latest) {
            let text = format!("{:?} went at {:?}, due {expiry:?}", record.name, history.latest);
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}

/// Whatever is due has gone.
pub(crate) fn nothing_is_left(applier: &Applier, now: UnixNanos) -> Result<(), Violation> {
    match applier.state().reader().next_expiry() {
        Some(expiry) if expiry <= now => {
            Err(Violation::new(NAME, format!("{expiry:?} is still to come at {now:?}")))
        }
        Some(_) | None => Ok(()),
    }
}
