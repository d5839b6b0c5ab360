//! Watch, filter: a watch is told of its own keys, and of no kind of change that it does not want.

use proto::mvccpb::Event;

use crate::{
    Violation,
    clients::watches::{Client, pairs},
};

/// Each event is one that the client has asked for.
pub(crate) fn holds(client: &Client, events: &[Event]) -> Result<(), Violation> {
    match pairs(events).find(|(kv, is_delete)| !client.may_be(kv, *is_delete)) {
        None => Ok(()),
        Some((kv, is_delete)) => {
            let text = format!("{:?} was not asked for (deleted: {is_delete})", kv.key);
            Err(Violation::new("watch filter", text))
        }
    }
}
