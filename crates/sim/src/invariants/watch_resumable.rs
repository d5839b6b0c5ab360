//! Watch, resumable: whoever comes back to where he was is told what follows.

use proto::mvccpb::Event;

use crate::{
    Violation,
    clients::watches::{Client, pairs},
    history::History,
};

/// The first event after a client has come back is the one that follows what it was told.
pub(crate) fn holds(history: &History, client: &Client, events: &[Event]) -> Result<(), Violation> {
    let Some((first, _)) = pairs(events).next().filter(|_| client.is_back) else { return Ok(()) };
    let next = client.next_after(history, client.position).map(|commit| commit.main);
    if next == Some(first.mod_revision) {
        return Ok(());
    }
    let text = format!("back at {}: {}, should be {next:?}", client.position, first.mod_revision);
    Err(Violation::new("watch resumable", text))
}
