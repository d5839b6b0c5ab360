//! What later answers tell of changes whose own answers were lost.

use std::collections::BTreeMap;

use crate::{Action, Before, Change, Operation, Outcome, Refusal};

/// How a value was seen.
#[derive(Clone, Copy)]
struct Seen {
    /// When the first who saw it was answered.
    returned: u64,
    index: Option<u64>,
}

/// Gives a change of unknown outcome its answer, if its value was seen and only it can have written
/// that: it took effect before whoever saw it was answered, and its index is the one that was seen.
///
/// Without this a search takes such a write too early, to explain some refusal, and notices only
/// thousands of operations later.
pub(crate) fn tell(operations: &mut [Operation]) {
    // What is found out about one change may be what another was seen by.
    while tell_once(operations) {}
}

fn tell_once(operations: &mut [Operation]) -> bool {
    let seen = seen(operations);
    let mut writers: BTreeMap<String, usize> = BTreeMap::new();
    for value in operations.iter().filter_map(written) {
        *writers.entry(value.to_owned()).or_default() += 1;
    }
    let mut has_news = false;
    for operation in operations.iter_mut().filter(|one| one.is_unknown()) {
        let alone = written(operation).filter(|value| writers.get(*value) == Some(&1));
        let Some(seen) = alone.and_then(|value| seen.get(value)) else { continue };
        if let Action::Change(_, outcome) = &mut operation.action {
            *outcome = Outcome::Done { index: seen.index, before: Before::Untold };
            operation.returned = seen.returned.max(operation.invoked);
            has_news = true;
        }
    }
    has_news
}

/// The value that an operation has written or may have.
pub(crate) fn written(operation: &Operation) -> Option<&str> {
    match &operation.action {
        Action::Change(_, Outcome::Refused(_)) | Action::Read(_) => None,
        Action::Change(change, Outcome::Done { .. } | Outcome::Unknown) => match change {
            Change::Write(value) | Change::Create(value) | Change::Swap(_, value) => Some(value),
            Change::Delete | Change::DeleteIf(_) => None,
        },
    }
}

fn seen(operations: &[Operation]) -> BTreeMap<String, Seen> {
    let mut all: BTreeMap<String, Seen> = BTreeMap::new();
    for operation in operations {
        for (value, index) in sights(operation).into_iter().flatten() {
            let first = Seen { returned: operation.returned, index };
            let seen = all.entry(value.to_owned()).or_insert(first);
            seen.returned = seen.returned.min(operation.returned);
            seen.index = seen.index.or(index);
        }
    }
    all
}

/// The values that were certainly there before an operation, by its condition and by its answer.
pub(crate) fn sights(operation: &Operation) -> [Option<(&str, Option<u64>)>; 2] {
    match &operation.action {
        Action::Read(found) => {
            [found.as_ref().map(|found| (found.value.as_str(), found.index)), None]
        }
        Action::Change(change, Outcome::Done { before, .. }) => {
            let expected = match change {
                Change::Swap(expected, _) | Change::DeleteIf(expected) => {
                    expected.value.as_deref().map(|value| (value, expected.index))
                }
                Change::Write(_) | Change::Create(_) | Change::Delete => None,
            };
            let before = match before {
                Before::Present(found) => Some((found.value.as_str(), found.index)),
                Before::Untold | Before::Absent => None,
            };
            [expected, before]
        }
        Action::Change(_, Outcome::Refused(Refusal::Compare { found: Some(found) })) => {
            [Some((found, None)), None]
        }
        Action::Change(_, Outcome::Refused(_) | Outcome::Unknown) => [None, None],
    }
}
