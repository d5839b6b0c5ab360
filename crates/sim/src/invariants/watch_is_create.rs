//! Watch, is-create: an event says whether the key was new, by its numbers.

use proto::mvccpb::Event;

use crate::{
    Violation,
    clients::watches::{before, pairs},
    history::History,
};

/// What is put where nothing was is created then, in its first version; and what was there is not.
pub(crate) fn holds(history: &History, events: &[Event]) -> Result<(), Violation> {
    for (kv, _) in pairs(events).filter(|(_, is_delete)| !is_delete) {
        let is_new = before(history, &kv.key, kv.mod_revision).is_none();
        let is_created = kv.create_revision == kv.mod_revision;
        if is_new != is_created || is_new != (kv.version == 1) {
            let text = format!("{kv:?} is new: {is_new}");
            return Err(Violation::new("watch is create", text));
        }
    }
    Ok(())
}
