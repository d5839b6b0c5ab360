//! Watch, atomic: all of a revision comes at once, in one answer.

use std::collections::BTreeMap;

use proto::mvccpb::Event;

use crate::{
    Violation,
    clients::watches::{Client, pairs},
    history::History,
};

/// Of each revision in the answer all is there that concerns the watch.
pub(crate) fn holds(history: &History, client: &Client, events: &[Event]) -> Result<(), Violation> {
    let mut told: BTreeMap<i64, usize> = BTreeMap::new();
    for (kv, _) in pairs(events) {
        *told.entry(kv.mod_revision).or_default() += 1;
    }
    for (revision, count) in told {
        let commit = history.commits.get(&revision);
        let expected = commit.map_or(0, |commit| client.of(commit).count());
        if count != expected {
            let text = format!("{count} of the {expected} events of revision {revision}");
            return Err(Violation::new("watch atomic", text));
        }
    }
    Ok(())
}
