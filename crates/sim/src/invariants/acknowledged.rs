//! Every acknowledged write is there.

use bytes::Bytes;
use member::Applier;

use crate::{Violation, history::History};

const NAME: &str = "acknowledged";

/// Every write that a client was told of stands at its revision, as far as history goes back.
pub(crate) fn all_are_there(history: &History, applier: &Applier) -> Result<(), Violation> {
    let applied = applier.state().applied().index;
    let reader = applier.state().reader();
    let store = reader.store();
    for (id, told) in &history.acknowledged {
        if told.index > applied {
            let text = format!("write {id} is entry {}, applied is {applied}", told.index);
            return Err(Violation::new(NAME, text));
        }
        let Some(revision) = told.revision.filter(|revision| *revision > store.compacted()) else {
            continue;
        };
        let commit = store
            .commit_at(revision)
            .map_err(|error| Violation::new(NAME, format!("write {id}: {error}")))?;
        if !history.sent.contains_key(id) && !history.sent_v3.contains_key(id) {
            return Err(Violation::new(NAME, format!("write {id} was never sent")));
        }
        let has = |value: &Bytes| commit.records.iter().any(|record| record.value == *value);
        if !told.values.iter().all(has) {
            let text = format!("write {id} is not what stands at revision {revision}");
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}
