//! Cuts a history that cannot be ordered down to the few operations that show it.

use std::fmt;

use crate::{
    Action, Before, Found, Operation, Outcome,
    register::State,
    search::{Answer, order},
};

/// Why a history cannot have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub(crate) reason: Reason,
    /// In the order of their calls.
    pub(crate) operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No order of these operations on one key gives these answers. So many further changes of
    /// unknown outcome do not help.
    NoOrder { unknown: usize, from_start: bool },
    /// The second was called after the first was answered, and has an index that is not higher.
    IndexWentBack,
}

impl Violation {
    /// The key; of two, that of the later operation.
    pub fn key(&self) -> &str {
        self.operations.last().map_or("", |last| &last.key)
    }

    /// The operations that cannot be ordered.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::NoOrder { unknown, from_start } => {
                let held = if from_start { "nothing" } else { "whatever it held" };
                write!(f, "not linearizable: {}, from {held} on, cannot have done", self.key())?;
                self.list(f, false)?;
                match unknown {
                    0 => Ok(()),
                    _ => write!(f, "\n  nor do {unknown} changes of unknown outcome explain it"),
                }
            }
            Reason::IndexWentBack => {
                write!(f, "not linearizable: the later write has no higher index")?;
                self.list(f, true)
            }
        }
    }
}

impl Violation {
    fn list(&self, f: &mut fmt::Formatter<'_>, with_key: bool) -> fmt::Result {
        for operation in &self.operations {
            write!(f, "\n  {operation}")?;
            if with_key {
                write!(f, " (key {})", operation.key)?;
            }
        }
        Ok(())
    }
}

/// The highest index that an answer told.
pub(crate) fn told(operation: &Operation) -> Option<u64> {
    match &operation.action {
        Action::Read(found) => found.as_ref()?.index,
        Action::Change(_, Outcome::Done { index, before }) => match before {
            Before::Present(Found { index: before, .. }) => (*index).max(*before),
            Before::Untold | Before::Absent => *index,
        },
        Action::Change(_, Outcome::Refused(_) | Outcome::Unknown) => None,
    }
}

/// A part of the history of one key, and what the key may hold when it begins.
struct Part {
    operations: Vec<Operation>,
    start: State,
}

impl Part {
    /// Whether it cannot be ordered. Where the bound is reached the answer is no: then the
    /// explanation is longer than it could be, and still true.
    fn fails(&self) -> bool {
        order(&self.operations, self.start, STEPS_MAX) == Answer::Impossible
    }

    /// What happened up to a moment: what was not answered by then may or may not have happened.
    fn until(&self, end: u64) -> Self {
        let called = self.operations.iter().filter(|one| one.invoked <= end);
        let heard = |one: &Operation| one.if_heard(one.returned <= end);
        Self { operations: called.filter_map(heard).collect(), start: self.start }
    }

    /// What happened from a moment on: what was called before may or may not have happened before.
    fn since(&self, start: u64) -> Self {
        let lasted = self.operations.iter();
        let lasted = lasted.filter(|one| start <= one.returned || one.is_unknown());
        let heard = |one: &Operation| one.if_heard(start <= one.invoked);
        Self { operations: lasted.filter_map(heard).collect(), start: State::ANYTHING }
    }
}

/// Steps of each of the many searches that an explanation takes.
const STEPS_MAX: u64 = 50_000;

/// How many operations a window holds, and how many of them the next one holds too.
const WINDOW: (usize, usize) = (64, 32);

/// Explains why `operations`, all on one key that held nothing, cannot be ordered.
pub(crate) fn shortest(operations: &[Operation]) -> Violation {
    explain(Part { operations: operations.to_vec(), start: State::ABSENT })
}

/// Looks for a few operations, one soon after the other, that cannot be ordered.
///
/// A search through all operations goes back from such a place to the very beginning to try everything
/// there is, and may run into its bound.
pub(crate) fn nearby(operations: &[Operation]) -> Option<Violation> {
    let whole = Part { operations: operations.to_vec(), start: State::ABSENT };
    let mut times: Vec<_> = operations.iter().filter(|one| !one.is_unknown()).collect();
    times.sort_by_key(|one| one.invoked);
    let windows = (0..times.len()).step_by(WINDOW.1).filter_map(|first| {
        let some = times.get(first..(first + WINDOW.0).min(times.len()))?;
        let end = some.iter().map(|one| one.returned).max()?;
        Some(whole.until(end).since(some.first()?.invoked))
    });
    let mut failing = windows.filter(Part::fails);
    failing.next().map(explain)
}

/// Cuts a part that fails at its end, at its front, then everywhere else.
fn explain(mut part: Part) -> Violation {
    let ends = moments(&part.operations, |one| one.returned);
    let end = ends.partition_point(|end| !part.until(*end).fails());
    if let Some(end) = ends.get(end) {
        part = part.until(*end);
    }
    let starts = moments(&part.operations, |one| one.invoked);
    let start = starts.partition_point(|start| part.since(*start).fails());
    // If none does, it matters that the key held nothing at first.
    if let Some(start) = start.checked_sub(1).and_then(|start| starts.get(start)) {
        part = part.since(*start);
    }
    thin_out(&mut part);
    let from_start = part.start == State::ABSENT;
    let (unknown, mut known): (Vec<_>, Vec<_>) =
        part.operations.into_iter().partition(Operation::is_unknown);
    known.sort_by_key(|one| one.invoked);
    Violation { reason: Reason::NoOrder { unknown: unknown.len(), from_start }, operations: known }
}

/// Forgets the answer of every operation that the failure does not need.
fn thin_out(part: &mut Part) {
    let mut at = 0;
    while let Some(one) = part.operations.get(at).cloned() {
        if one.is_unknown() {
            at += 1;
            continue;
        }
        let mut operations = part.operations.clone();
        operations.splice(at..=at, one.if_heard(false));
        let less = Part { operations, start: part.start };
        if less.fails() {
            // What stands at `at` now is unknown, or the next one.
            *part = less;
        } else {
            at += 1;
        }
    }
}

fn moments(operations: &[Operation], of: impl Fn(&Operation) -> u64) -> Vec<u64> {
    let known = operations.iter().filter(|one| !one.is_unknown());
    let mut moments: Vec<_> = known.map(of).collect();
    moments.sort_unstable();
    moments
}
