//! Nothing appears that was not sent, and nothing twice.

use std::sync::Arc;

use mvcc::Commit;
use proto::command::Command;
use wal::Entry;

use crate::{Violation, history::History};

const NAME: &str = "only sent";

/// No proposal stands in the log twice, however often it was proposed again.
pub(crate) fn stands_once(history: &mut History, entry: &Entry) -> Result<(), Violation> {
    let id = if entry.kind == 0 { Command::id_in(&entry.data) } else { 0 };
    if id == 0 {
        return Ok(());
    }
    if let Some(before) = history.places.insert(id, entry.index) {
        let text = format!("write {id} is entry {before}, and entry {} as well", entry.index);
        return Err(Violation::new(NAME, text));
    }
    Ok(())
}

/// Every value that v2 tells of was sent by somebody, and stood nowhere before. `commits` are not
/// in the history yet.
pub(crate) fn were_asked_for(history: &History, commits: &[Arc<Commit>]) -> Result<(), Violation> {
    for commit in commits {
        for record in commit.records.iter().filter(|record| !record.value.is_empty()) {
            let Some(id) = history.values.get(&record.value) else {
                return Err(Violation::new(NAME, format!("nobody sent {:?}", record.value)));
            };
            // A refresh keeps the value, and tells nobody.
            let told = |commit: &Arc<Commit>| {
                commit.records.iter().any(|one| one.told && one.value == record.value)
            };
            if record.told && history.commits.values().any(told) {
                let text = format!("write {id} was applied again at revision {}", commit.main);
                return Err(Violation::new(NAME, text));
            }
        }
    }
    Ok(())
}
