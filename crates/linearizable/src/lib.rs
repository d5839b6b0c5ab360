//! Whether what many clients saw of a key can have happened one operation after the other.
//!
//! A history is a list of [`Operation`]s, each with the times at which it was called and answered,
//! on whatever clock all its clients share. It is *linearizable* if every operation can be given
//! one moment between the two so that the answers are those of a register that does one thing at a
//! time. Keys are checked each by itself: a history is linearizable if that of every key is.
//!
//! The search is Wing and Gong's with Lowe's memory of where it has been. What makes it fast here:
//! - an answer tells the index (v3: the revision) of its write, and indexes order all writes;
//! - a read that fits and changes nothing is never wrong to take at once;
//! - a write of unknown outcome whose value was seen is known after all;
//! - any other is tried only where the next operation is impossible without it, and of several that
//!   do the same only one.

mod bits;
mod explain;
mod hindsight;
mod history;
mod indexes;
mod register;
mod search;
mod stale;

use std::{collections::BTreeMap, fmt};

pub use explain::Violation;
pub use history::{Action, Before, Change, Expected, Found, Operation, Outcome, Refusal};
use search::Answer;

/// Steps of the search on one key before it gives up; some seconds in a debug build.
pub const STEPS_MAX: u64 = 5_000_000;

/// What became of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// It cannot have happened.
    Violated(Violation),
    /// Neither was shown within the bound. Whoever asked must not take this for a yes.
    Undecided {
        key: String,
        operations: usize,
        steps: u64,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::Violated(violation) => violation.fmt(f),
            Self::Undecided { key, operations, steps } => write!(
                f,
                "undecided: no order of the {operations} operations on {key} was found within \
                 {steps} steps, nor shown to be impossible"
            ),
        }
    }
}

/// Checks a history, in any order, of keys that did not exist when it began.
pub fn check(history: &[Operation]) -> Verdict {
    check_within(history, STEPS_MAX)
}

/// The same with a bound of the caller's on the steps for one key.
pub fn check_within(history: &[Operation], steps_max: u64) -> Verdict {
    let mut undecided = None;
    for (key, operations) in by_key(history) {
        let stale = stale::read(&operations);
        let answer = match stale {
            Some(_) => Answer::Impossible,
            None => search::order(&operations, register::State::ABSENT, steps_max),
        };
        if answer == Answer::Possible {
            continue;
        }
        let found = [explain::nearby(&operations), stale].into_iter().flatten();
        let violation = found.min_by_key(|violation| violation.operations().len());
        if violation.is_some() || answer == Answer::Impossible {
            let violation = violation.unwrap_or_else(|| explain::shortest(&operations));
            return Verdict::Violated(violation);
        }
        let (key, operations) = (key.to_owned(), operations.len());
        undecided = Some(Verdict::Undecided { key, operations, steps: steps_max });
    }
    // Last, since what is wrong with one key is the better explanation.
    match indexes::backwards(history) {
        Some(violation) => Verdict::Violated(violation),
        None => undecided.unwrap_or(Verdict::Linearizable),
    }
}

fn by_key(history: &[Operation]) -> BTreeMap<&str, Vec<Operation>> {
    let mut keys: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation.clone());
    }
    keys
}
