//! Watch, ordered: events come in order of revision.

use proto::mvccpb::Event;

use crate::{
    Violation,
    clients::watches::{Client, pairs},
};

/// No event is of an earlier revision than one before it.
pub(crate) fn holds(client: &Client, events: &[Event]) -> Result<(), Violation> {
    let mut last = client.last;
    for (kv, _) in pairs(events) {
        if kv.mod_revision < last {
            let text = format!("{:?} at {} behind {last}", kv.key, kv.mod_revision);
            return Err(Violation::new("watch ordered", text));
        }
        last = kv.mod_revision;
    }
    Ok(())
}
