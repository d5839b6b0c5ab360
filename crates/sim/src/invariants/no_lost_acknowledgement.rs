//! No lost acknowledgement: every acknowledged write is there.

use bytes::Bytes;
use member::Applier;
use proto::{Message as _, command::Command};

use crate::{
    Violation,
    history::{Acknowledged, History},
};

const NAME: &str = "no lost acknowledgement";

/// Every write that a client was told of is the entry that it was said to be, is applied, and
/// stands at its revision, as far as history goes back.
pub(crate) fn all_are_there(history: &History, applier: &Applier) -> Result<(), Violation> {
    let applied = applier.state().applied().index;
    for (id, told) in &history.acknowledged {
        if told.index > applied {
            let text = format!("write {id} is entry {}, applied is {applied}", told.index);
            return Err(Violation::new(NAME, text));
        }
        is_entry(history, *id, told)?;
        stands(history, *id, told, applier)?;
    }
    Ok(())
}

fn is_entry(history: &History, id: u64, told: &Acknowledged) -> Result<(), Violation> {
    let entry = history.entries.get(&told.index.0);
    let command = entry.and_then(|entry| Command::decode(&*entry.data).ok());
    if command.is_some_and(|command| command.id == id) {
        return Ok(());
    }
    Err(Violation::new(NAME, format!("write {id} was entry {}, which is {entry:?}", told.index)))
}

fn stands(
    history: &History,
    id: u64,
    told: &Acknowledged,
    applier: &Applier,
) -> Result<(), Violation> {
    let reader = applier.state().reader();
    let store = reader.store();
    let Some(revision) = told.revision.filter(|revision| *revision > store.compacted()) else {
        return Ok(());
    };
    let commit = store
        .commit_at(revision)
        .map_err(|error| Violation::new(NAME, format!("write {id}: {error}")))?;
    if !history.sent.contains_key(&id) && !history.sent_v3.contains_key(&id) {
        return Err(Violation::new(NAME, format!("write {id} was never sent")));
    }
    let has = |value: &Bytes| commit.records.iter().any(|record| record.value == *value);
    if !told.values.iter().all(has) {
        let text = format!("write {id} is not what stands at revision {revision}");
        return Err(Violation::new(NAME, text));
    }
    Ok(())
}
