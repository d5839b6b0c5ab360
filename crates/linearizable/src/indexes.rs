//! Indexes order the writes to all keys, and time must agree with them.

use crate::{
    Action, Operation, Outcome, Violation,
    explain::{Reason, told},
};

/// Finds a write whose index is not above one that was told before the write was even called.
pub(crate) fn backwards(history: &[Operation]) -> Option<Violation> {
    let mut by_call: Vec<_> = history.iter().filter_map(|one| Some((written(one)?, one))).collect();
    by_call.sort_by_key(|(_, one)| one.invoked);
    let mut by_answer: Vec<_> = history.iter().filter_map(|one| Some((told(one)?, one))).collect();
    by_answer.sort_by_key(|(_, one)| one.returned);
    let mut answers = by_answer.into_iter().peekable();
    let mut highest: Option<(u64, &Operation)> = None;
    for (index, write) in by_call {
        while let Some((told, one)) = answers.next_if(|(_, one)| one.returned < write.invoked) {
            if highest.is_none_or(|(highest, _)| highest < told) {
                highest = Some((told, one));
            }
        }
        if let Some((_, before)) = highest.filter(|(told, _)| index <= *told) {
            let operations = vec![before.clone(), write.clone()];
            return Some(Violation { reason: Reason::IndexWentBack, operations });
        }
    }
    None
}

fn written(operation: &Operation) -> Option<u64> {
    match &operation.action {
        Action::Change(_, Outcome::Done { index, .. }) => *index,
        Action::Change(_, Outcome::Refused(_) | Outcome::Unknown) | Action::Read(_) => None,
    }
}
