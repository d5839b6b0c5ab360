//! Watch, reliable: nothing is left out, unless the client is told that history is gone.

use member::Applier;
use proto::mvccpb::Event;

use crate::{
    Violation,
    clients::watches::{Client, pairs},
    history::History,
};

const NAME: &str = "watch reliable";

/// Between where the client stood and the last event there is no revision that it is not told of.
pub(crate) fn holds(history: &History, client: &Client, events: &[Event]) -> Result<(), Violation> {
    let mut position = client.position;
    for (kv, _) in pairs(events) {
        if kv.mod_revision < position {
            continue;
        }
        let next = client.next_after(history, position).map(|commit| commit.main);
        if next != Some(kv.mod_revision) {
            let text = format!("from {position} on {}, should be {next:?}", kv.mod_revision);
            return Err(Violation::new(NAME, text));
        }
        position = kv.mod_revision + 1;
    }
    Ok(())
}

/// Whoever is told that history is gone wants some that is.
pub(crate) fn is_gone(client: &Client, compacted: i64) -> Result<(), Violation> {
    if client.position < compacted {
        return Ok(());
    }
    let text = format!("a watch from {} on is told that {compacted} is compacted", client.position);
    Err(Violation::new(NAME, text))
}

/// Nothing is left to be told to anybody.
pub(crate) fn is_all(
    history: &History,
    clients: &[Client],
    applier: &Applier,
) -> Result<(), Violation> {
    let compacted = applier.state().reader().store().compacted();
    for client in clients {
        if let Some(commit) = client.next_after(history, client.position.max(compacted)) {
            let text =
                format!("revision {} was never told, after {}", commit.main, client.position);
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}
