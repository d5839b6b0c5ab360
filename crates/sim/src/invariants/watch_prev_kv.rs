//! Watch, previous pair: an event says what was there before it, unless that is compacted.

use proto::mvccpb::Event;
use state::kv::watch::pair;

use crate::{Violation, clients::watches::before, history::History};

/// The pair that each event replaces is the one that was there.
pub(crate) fn holds(history: &History, compacted: i64, events: &[Event]) -> Result<(), Violation> {
    for event in events {
        let Some(kv) = &event.kv else { continue };
        let expected = before(history, &kv.key, kv.mod_revision).map(pair);
        let may_be_gone = event.prev_kv.is_none() && kv.mod_revision - 1 < compacted;
        if event.prev_kv != expected && !may_be_gone {
            let (key, at) = (&kv.key, kv.mod_revision);
            let text = format!("{key:?} at {at}: {:?}, should be {expected:?}", event.prev_kv);
            return Err(Violation::new("watch prev kv", text));
        }
    }
    Ok(())
}
