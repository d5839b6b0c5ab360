//! The v2 view of the keyspace: files, directories, time to live, events (etcd 2.3.8).
//!
//! Rules, not wire format: the API layer turns [`Event`] and [`Failure`] into JSON.
//!
//! - `path`: how names of requests become paths; `lookup`: what v2 sees at a path
//! - `node`: records as v2 shows them; `tell`: changes as v2 tells them
//! - `write`, `expire`: what commands do; `get`, `listing`, `watch`: what readers ask

mod expire;
mod get;
mod listing;
mod lookup;
mod node;
mod path;
mod stats;
mod tell;
mod watch;
mod write;

use base::{Code, UnixNanos};
use bytes::Bytes;
pub use mvcc::Action;
use mvcc::ReadError;

#[cfg(test)]
pub(crate) use self::get::get_while;
pub(crate) use self::{expire::expire, get::get_up_to, write::write};
pub use self::{
    get::{Found, get},
    listing::{Listing, Step},
    path::clean,
    stats::Stats,
    watch::{Watcher, watch},
};

/// A node as v2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Full path; `/` for the root (whose key and indexes are not shown).
    pub key: Bytes,
    /// Absent for directories, and in `node` of a delete.
    pub value: Option<Bytes>,
    pub dir: bool,
    pub expiry: Option<UnixNanos>,
    /// 0: not shown (the root, an implied directory).
    pub modified_index: u64,
    /// 0: not shown.
    pub created_index: u64,
}

/// `{"action","node","prevNode"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// [`Action::None`] never stands here: v3 writes are told as set, delete or expire.
    pub action: Action,
    pub node: Node,
    pub prev_node: Option<Node>,
    /// The store's index after this (a write), or the event's own (a watch).
    pub index: u64,
    /// HTTP 201 instead of 200: something new came into being.
    pub created: bool,
}

/// A refused request, as v2 words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub cause: String,
    pub index: u64,
}

/// A read's errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", .0.cause)]
    Refused(Failure),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Error {
    pub(crate) fn refused(code: Code, cause: impl Into<String>, revision: i64) -> Self {
        Self::Refused(Failure { code, cause: cause.into(), index: index(revision) })
    }
}

/// A revision as a v2 index. Revisions are never negative.
pub(crate) fn index(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}
