//! Watch, unique: nothing is told twice.

use std::collections::BTreeSet;

use proto::mvccpb::Event;

use crate::{
    Violation,
    clients::watches::{Client, pairs},
};

/// No event is one of those before it. A transaction may put a key and delete it.
pub(crate) fn holds(client: &Client, events: &[Event]) -> Result<(), Violation> {
    let mut now = BTreeSet::new();
    for (kv, is_delete) in pairs(events) {
        let event = (kv.mod_revision, kv.key.clone(), is_delete);
        if client.told.contains(&event) || !now.insert(event) {
            let text = format!("{:?} at {} for the second time", kv.key, kv.mod_revision);
            return Err(Violation::new("watch unique", text));
        }
    }
    Ok(())
}
