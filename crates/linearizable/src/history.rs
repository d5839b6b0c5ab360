//! What clients did and what they were told.

use std::fmt;

/// One operation of one client on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub client: u32,
    pub key: String,
    /// When it was called.
    pub invoked: u64,
    /// When its answer came; says nothing if there was none.
    pub returned: u64,
    pub action: Action,
}

/// What was asked and what was answered.
///
/// A read without an answer says nothing, and neither does a change that was certainly not carried
/// out: leave them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A read that must not be stale (v2: `quorum=true`), and what it found.
    Read(Option<Found>),
    Change(Change, Outcome),
}

/// A value, and the index of the write that made it, if that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub value: String,
    pub index: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Write(String),
    /// Only if there is nothing.
    Create(String),
    /// Only if what is there is as expected.
    Swap(Expected, String),
    /// Only if there is something.
    Delete,
    DeleteIf(Expected),
}

/// What a compare-and-swap compares with; both must fit if both are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub value: Option<String>,
    pub index: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out as the write of this index, if that was told.
    Done { index: Option<u64>, before: Before },
    /// It was refused for what was there: a read of a kind.
    Refused(Refusal),
    /// It may take effect at any time after its call, or never.
    Unknown,
}

/// What an answer said to have been there before the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    Untold,
    Absent,
    Present(Found),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Something else was there than expected; the value, if the answer named it.
    Compare {
        found: Option<String>,
    },
    NotFound,
    Exists,
}

impl Operation {
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.action, Action::Change(_, Outcome::Unknown))
    }

    /// Whether it is the same operation, whatever is known of its outcome.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.client, self.invoked) == (other.client, other.invoked)
    }

    /// All values that it speaks of.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        let (change, outcome) = match &self.action {
            Action::Read(found) => (None, found.as_ref().map(|found| &found.value)),
            Action::Change(change, outcome) => (Some(change), outcome.value()),
        };
        let change = change.map_or([None, None], Change::values);
        change.into_iter().flatten().chain(outcome).map(String::as_str)
    }

    /// The same operation, with an answer that was heard or was not; `None` if it then says nothing.
    pub(crate) fn if_heard(&self, is_heard: bool) -> Option<Self> {
        match &self.action {
            _ if is_heard => Some(self.clone()),
            Action::Change(change, Outcome::Done { .. } | Outcome::Unknown) => {
                let action = Action::Change(change.clone(), Outcome::Unknown);
                Some(Self { action, ..self.clone() })
            }
            // What was refused has changed nothing, whether anybody heard of it or not.
            Action::Read(_) | Action::Change(_, Outcome::Refused(_)) => None,
        }
    }
}

impl Change {
    fn values(&self) -> [Option<&String>; 2] {
        match self {
            Self::Write(value) | Self::Create(value) => [Some(value), None],
            Self::Swap(expected, value) => [expected.value.as_ref(), Some(value)],
            Self::Delete => [None, None],
            Self::DeleteIf(expected) => [expected.value.as_ref(), None],
        }
    }
}

impl Outcome {
    fn value(&self) -> Option<&String> {
        match self {
            Self::Done { before: Before::Present(found), .. } => Some(&found.value),
            Self::Refused(Refusal::Compare { found }) => found.as_ref(),
            Self::Done { before: Before::Untold | Before::Absent, .. }
            | Self::Refused(Refusal::NotFound | Refusal::Exists)
            | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, invoked, returned, action, .. } = self;
        match action {
            Action::Change(change, Outcome::Unknown) => {
                write!(f, "[{invoked}..     ] client {client}: {change} -> unknown")
            }
            Action::Change(change, outcome) => {
                write!(f, "[{invoked}..{returned}] client {client}: {change} -> {outcome}")
            }
            Action::Read(found) => {
                write!(f, "[{invoked}..{returned}] client {client}: read -> ")?;
                match found {
                    Some(found) => found.fmt(f),
                    None => f.write_str("nothing"),
                }
            }
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.value)?;
        self.index.map_or(Ok(()), |index| write!(f, " of index {index}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(value) => write!(f, "write {value:?}"),
            Self::Create(value) => write!(f, "create {value:?}"),
            Self::Swap(expected, value) => write!(f, "swap {expected} for {value:?}"),
            Self::Delete => f.write_str("delete"),
            Self::DeleteIf(expected) => write!(f, "delete {expected}"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.index) {
            (Some(value), Some(index)) => write!(f, "{value:?} of index {index}"),
            (Some(value), None) => write!(f, "{value:?}"),
            (None, Some(index)) => write!(f, "index {index}"),
            (None, None) => f.write_str("whatever is there"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { index, before } => {
                f.write_str("done")?;
                if let Some(index) = index {
                    write!(f, " as index {index}")?;
                }
                match before {
                    Before::Untold => Ok(()),
                    Before::Absent => f.write_str(", nothing before"),
                    Before::Present(found) => write!(f, ", before {found}"),
                }
            }
            Self::Refused(Refusal::Compare { found: Some(found) }) => {
                write!(f, "refused, {found:?} is there")
            }
            Self::Refused(Refusal::Compare { found: None }) => {
                f.write_str("refused, not as expected")
            }
            Self::Refused(Refusal::NotFound) => f.write_str("refused, nothing is there"),
            Self::Refused(Refusal::Exists) => f.write_str("refused, something is there"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
