//! The v3 view of the keyspace: ranges, puts, deletions, transactions (etcd 3.6).
//!
//! Requests and answers are those of the wire. Of an answer's header only the revision is set.
//!
//! - `check`: the form of requests, before they are proposed
//! - `range`: what a range asks for and gives; `chosen`: which keys of very many; `scan`: the same, in
//!   pieces
//! - `size`: how large an answer becomes, before there is one; `effort`: whether a command is done in a
//!   moment
//! - `write`, `txn`, `compare`: what commands do
//! - `watch`: a watch, and what it has to tell
//! - `answer`: how answers are put together, within their bounds

mod answer;
pub mod check;
mod chosen;
mod compare;
mod effort;
mod range;
mod scan;
mod size;
mod txn;
pub mod watch;
mod write;

use base::Refused;
use mvcc::ReadError;

pub(crate) use self::{
    answer::header,
    effort::is_brief,
    range::range,
    size::of_answer,
    txn::{read, txn},
    write::{delete_range, put},
};
pub use self::{
    range::{Most, has_filters},
    scan::{Scan, Sizes},
    txn::{is_read_only, is_serializable},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The member must stop.
    #[error(transparent)]
    Failed(backend::Error),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Compacted => Self::Refused(Refused::Compacted),
            ReadError::Future => Self::Refused(Refused::FutureRevision),
            ReadError::Backend(error) => Self::Failed(error),
        }
    }
}

/// The end of a range as the keyspace knows it; `None`: there is none. `range_end` is not empty.
fn end(range_end: &[u8]) -> Option<&[u8]> {
    (range_end != b"\0").then_some(range_end)
}
