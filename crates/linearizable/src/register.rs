//! The register itself: what it may hold, and what an operation says of it and does to it.

use std::collections::BTreeMap;

use crate::{Action, Before, Change, Expected, Found, Operation, Outcome, Refusal};

/// What the register may hold at some point of an order.
///
/// Invariant: `highest` never falls along an order, and the index of the next write lies above it.
/// Writes of unknown index are not counted: an order with one more of them must come to the same
/// states, or the search would go through all of them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    content: Content,
    /// The highest index known so far.
    highest: u64,
    /// Whether the last write had just this one; or else a higher one.
    known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    /// Nobody has looked yet: this is where a window of a longer history begins.
    Anything,
    Absent,
    Present(Value),
}

/// A value's number: values are only ever compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Value(usize);

/// An operation in the terms of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    seen: Seen,
    made: Option<Made>,
}

/// What an operation says of what was there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Anything,
    Absent,
    Present(Sight),
    /// Something, but not this.
    Other {
        expected: Sight,
        found: Option<Value>,
    },
    /// Its answer contradicts itself.
    Nonsense,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Sight {
    value: Option<Value>,
    index: Option<u64>,
}

/// What is there after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Made {
    value: Option<Value>,
    index: Option<u64>,
}

impl State {
    pub(crate) const ABSENT: Self = Self { content: Content::Absent, highest: 0, known: false };
    pub(crate) const ANYTHING: Self = Self { content: Content::Anything, highest: 0, known: false };

    /// The state after `step`; `None` if it cannot have happened here.
    pub(crate) fn after(self, step: &Step) -> Option<Self> {
        let seen = self.see(step.seen)?;
        step.made.map_or(Some(seen), |made| seen.make(made))
    }

    fn see(self, seen: Seen) -> Option<Self> {
        match (seen, self.content) {
            (Seen::Anything, _) | (Seen::Absent, Content::Absent) => Some(self),
            (Seen::Absent, Content::Anything) => Some(Self { content: Content::Absent, ..self }),
            (Seen::Present(sight), Content::Anything | Content::Present(_)) => self.sight(sight),
            (Seen::Other { expected, found }, Content::Anything | Content::Present(_)) => {
                let here = self.sight(Sight { value: found, index: None })?;
                here.may_differ(expected).then_some(here)
            }
            (Seen::Absent, Content::Present(_))
            | (Seen::Present(_) | Seen::Other { .. }, Content::Absent)
            | (Seen::Nonsense, _) => None,
        }
    }

    fn sight(mut self, sight: Sight) -> Option<Self> {
        match (self.content, sight.value) {
            (Content::Present(held), Some(value)) if held != value => return None,
            (_, Some(value)) => self.content = Content::Present(value),
            (_, None) => {}
        }
        if let Some(index) = sight.index {
            let fits = if self.known { index == self.highest } else { self.highest < index };
            if !fits {
                return None;
            }
            (self.highest, self.known) = (index, true);
        }
        Some(self)
    }

    /// Whether what is here can be something else than `expected`.
    fn may_differ(self, expected: Sight) -> bool {
        let Content::Present(held) = self.content else { return true };
        let differs = |index| !self.known || index != self.highest;
        expected.value.is_some_and(|value| value != held) || expected.index.is_some_and(differs)
    }

    fn make(self, made: Made) -> Option<Self> {
        let content = made.value.map_or(Content::Absent, Content::Present);
        match made.index {
            Some(index) if index <= self.highest => None,
            Some(index) => Some(Self { content, highest: index, known: true }),
            None => Some(Self { content, known: false, highest: self.highest }),
        }
    }
}

impl Step {
    /// Whether it leaves the register as it is.
    pub(crate) fn only_looks(&self) -> bool {
        self.made.is_none()
    }

    /// The index of the write that it made or, if it made none, that it found.
    pub(crate) fn index(&self) -> Option<u64> {
        match (&self.made, &self.seen) {
            (Some(made), _) => made.index,
            (None, Seen::Present(sight)) => sight.index,
            (None, Seen::Anything | Seen::Absent | Seen::Other { .. } | Seen::Nonsense) => None,
        }
    }
}

/// Turns operations into steps, and values into numbers.
///
/// Values that stand in one operation only share a number if its outcome is unknown: whatever anybody
/// saw, it was none of them, and one does as well as another.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    values: BTreeMap<&'a str, usize>,
}

/// The number of all values that nobody but a change of unknown outcome speaks of.
const UNSEEN: usize = 0;

impl<'a> Steps<'a> {
    pub(crate) fn of(operations: &'a [Operation]) -> Self {
        let mut mentions: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
        for operation in operations {
            for value in operation.values() {
                let (count, is_unknown) = mentions.entry(value).or_default();
                (*count, *is_unknown) = (*count + 1, operation.is_unknown());
            }
        }
        let unseen = mentions.into_iter().filter(|(_, mentions)| *mentions == (1, true));
        Self { values: unseen.map(|(value, _)| (value, UNSEEN)).collect() }
    }

    pub(crate) fn step(&mut self, operation: &'a Operation) -> Step {
        let (change, outcome) = match &operation.action {
            Action::Read(None) => return Step { seen: Seen::Absent, made: None },
            Action::Read(Some(found)) => {
                return Step { seen: Seen::Present(self.found(found)), made: None };
            }
            Action::Change(change, outcome) => (change, outcome),
        };
        match outcome {
            Outcome::Refused(refusal) => Step { seen: self.refused(change, refusal), made: None },
            Outcome::Done { index, before } => {
                let seen = both(self.condition(change), self.before(before));
                Step { seen, made: Some(Made { value: self.result(change), index: *index }) }
            }
            Outcome::Unknown => {
                let made = Made { value: self.result(change), index: None };
                Step { seen: self.condition(change), made: Some(made) }
            }
        }
    }

    /// What must be there for the change to be carried out.
    fn condition(&mut self, change: &'a Change) -> Seen {
        match change {
            Change::Write(_) => Seen::Anything,
            Change::Create(_) => Seen::Absent,
            Change::Delete => Seen::Present(Sight::default()),
            Change::Swap(expected, _) | Change::DeleteIf(expected) => {
                Seen::Present(self.expected(expected))
            }
        }
    }

    fn result(&mut self, change: &'a Change) -> Option<Value> {
        match change {
            Change::Write(value) | Change::Create(value) | Change::Swap(_, value) => {
                Some(self.number(value))
            }
            Change::Delete | Change::DeleteIf(_) => None,
        }
    }

    fn before(&mut self, before: &'a Before) -> Seen {
        match before {
            Before::Untold => Seen::Anything,
            Before::Absent => Seen::Absent,
            Before::Present(found) => Seen::Present(self.found(found)),
        }
    }

    fn refused(&mut self, change: &'a Change, refusal: &'a Refusal) -> Seen {
        match (refusal, change) {
            (Refusal::NotFound, Change::Delete | Change::Swap(..) | Change::DeleteIf(_)) => {
                Seen::Absent
            }
            (Refusal::Exists, Change::Create(_)) => Seen::Present(Sight::default()),
            (
                Refusal::Compare { found },
                Change::Swap(expected, _) | Change::DeleteIf(expected),
            ) => {
                let found = found.as_ref().map(|found| self.number(found));
                Seen::Other { expected: self.expected(expected), found }
            }
            // No state of the register gives such an answer to such a question.
            (Refusal::NotFound | Refusal::Exists | Refusal::Compare { .. }, _) => Seen::Nonsense,
        }
    }

    fn found(&mut self, found: &'a Found) -> Sight {
        Sight { value: Some(self.number(&found.value)), index: found.index }
    }

    fn expected(&mut self, expected: &'a Expected) -> Sight {
        let value = expected.value.as_ref().map(|value| self.number(value));
        Sight { value, index: expected.index }
    }

    fn number(&mut self, value: &'a str) -> Value {
        let next = self.values.len() + 1;
        Value(*self.values.entry(value).or_insert(next))
    }
}

/// What both say, of the same moment.
fn both(condition: Seen, before: Seen) -> Seen {
    match (condition, before) {
        (Seen::Anything, seen) | (seen, Seen::Anything) => seen,
        (Seen::Absent, Seen::Absent) => Seen::Absent,
        (Seen::Present(one), Seen::Present(other))
            if !differ(one.value, other.value) && !differ(one.index, other.index) =>
        {
            let (value, index) = (one.value.or(other.value), one.index.or(other.index));
            Seen::Present(Sight { value, index })
        }
        (
            Seen::Absent | Seen::Present(_) | Seen::Other { .. } | Seen::Nonsense,
            Seen::Absent | Seen::Present(_) | Seen::Other { .. } | Seen::Nonsense,
        ) => Seen::Nonsense,
    }
}

fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}
