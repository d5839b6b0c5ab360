//! The definition, tried out: every order of every choice of changes that had an effect.

use linearizable::{Action, Before, Change, Expected, Operation, Outcome, Refusal};

type Held = Option<String>;

/// Whether a history on one key, of answers without indexes, can have happened.
pub(crate) fn is_linearizable(history: &[Operation]) -> bool {
    let mut left: Vec<_> = history.iter().collect();
    go_on(&None, &mut left)
}

fn go_on(held: &Held, left: &mut Vec<&Operation>) -> bool {
    if left.iter().all(|one| is_unknown(one)) {
        return true;
    }
    (0..left.len()).any(|at| {
        let next = left.remove(at);
        let is_late = left.iter().any(|one| !is_unknown(one) && one.returned < next.invoked);
        let found = !is_late && after(held, &next.action).is_some_and(|held| go_on(&held, left));
        left.insert(at, next);
        found
    })
}

fn is_unknown(one: &Operation) -> bool {
    matches!(one.action, Action::Change(_, Outcome::Unknown))
}

fn after(held: &Held, action: &Action) -> Option<Held> {
    let (change, outcome) = match action {
        Action::Read(found) => {
            let same = found.as_ref().map(|found| &found.value) == held.as_ref();
            return same.then(|| held.clone());
        }
        Action::Change(change, outcome) => (change, outcome),
    };
    let result = carry_out(held, change);
    match (outcome, result) {
        (Outcome::Unknown, Ok(after)) => Some(after),
        (Outcome::Done { before, .. }, Ok(after)) => {
            let fits = match before {
                Before::Untold => true,
                Before::Absent => held.is_none(),
                Before::Present(found) => held.as_ref() == Some(&found.value),
            };
            fits.then_some(after)
        }
        (Outcome::Refused(told), Err(actual)) => {
            let untold = Refusal::Compare { found: None };
            let fits =
                *told == actual || *told == untold && matches!(actual, Refusal::Compare { .. });
            fits.then(|| held.clone())
        }
        (Outcome::Unknown | Outcome::Done { .. }, Err(_)) | (Outcome::Refused(_), Ok(_)) => None,
    }
}

fn carry_out(held: &Held, change: &Change) -> Result<Held, Refusal> {
    match (change, held) {
        (Change::Write(value), _) | (Change::Create(value), None) => Ok(Some(value.clone())),
        (Change::Create(_), Some(_)) => Err(Refusal::Exists),
        (_, None) => Err(Refusal::NotFound),
        (Change::Delete, Some(_)) => Ok(None),
        (Change::Swap(expected, value), Some(held)) => {
            compare(held, expected).map(|()| Some(value.clone()))
        }
        (Change::DeleteIf(expected), Some(held)) => compare(held, expected).map(|()| None),
    }
}

fn compare(held: &str, expected: &Expected) -> Result<(), Refusal> {
    let fits = expected.value.as_ref().is_none_or(|expected| expected == held);
    if fits { Ok(()) } else { Err(Refusal::Compare { found: Some(held.to_owned()) }) }
}
