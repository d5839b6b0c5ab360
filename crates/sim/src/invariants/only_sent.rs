//! Nothing appears that was not sent, and nothing twice.

use std::sync::Arc;

use mvcc::Commit;

use crate::{Violation, history::History};

const NAME: &str = "only sent";

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
