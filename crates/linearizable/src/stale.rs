//! The commonest violation, found without a search: a value is seen that was overwritten before.

use std::collections::BTreeMap;

use crate::{
    Action, Operation, Outcome, Violation,
    explain::Reason,
    hindsight::{self, sights, written},
};

/// Looks, among operations on one key, for a value that only one of them can have written and that
/// is seen by an operation which was called after another change was answered that was itself
/// called after that write was answered.
pub(crate) fn read(operations: &[Operation]) -> Option<Violation> {
    let mut told = operations.to_vec();
    hindsight::tell(&mut told);
    let writers = writers(&told);
    let mut changes: Vec<_> = told.iter().filter(|one| is_done(one)).collect();
    changes.sort_by_key(|one| one.returned);
    let mut readers: Vec<_> = told.iter().filter(|one| !one.is_unknown()).collect();
    readers.sort_by_key(|one| one.invoked);
    let mut changes = changes.into_iter().peekable();
    let mut last: Option<&Operation> = None;
    for reader in readers {
        while let Some(change) = changes.next_if(|one| one.returned < reader.invoked) {
            if last.is_none_or(|last| last.invoked < change.invoked) {
                last = Some(change);
            }
        }
        for (value, _) in sights(reader).into_iter().flatten() {
            if let (Some(Some(write)), Some(last)) = (writers.get(value), last)
                && write.returned < last.invoked
            {
                // As they were, and not as they came to be known.
                let named = |one: &Operation| [*write, last, reader].iter().any(|it| it.is(one));
                let operations = operations.iter().filter(|one| named(one)).cloned().collect();
                let reason = Reason::NoOrder { unknown: 0, from_start: false };
                return Some(Violation { reason, operations });
            }
        }
    }
    None
}

/// Who has written a value; `None` in it if several may have.
fn writers(operations: &[Operation]) -> BTreeMap<&str, Option<&Operation>> {
    let mut writers: BTreeMap<&str, Option<&Operation>> = BTreeMap::new();
    for operation in operations {
        if let Some(value) = written(operation) {
            let first = is_done(operation).then_some(operation);
            writers.entry(value).and_modify(|writer| *writer = None).or_insert(first);
        }
    }
    writers
}

fn is_done(operation: &Operation) -> bool {
    matches!(operation.action, Action::Change(_, Outcome::Done { .. }))
}
