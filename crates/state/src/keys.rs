//! The v2 view of the keyspace: files, directories, time to live, events (etcd 2.3.8).
//!
//! Rules, not wire format: the API layer turns [`Event`] and [`Failure`] into JSON.

use std::{
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll},
};

use base::{Code, UnixNanos};
use bytes::Bytes;
pub use mvcc::Action;
use mvcc::{ReadError, Store};

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

/// What GET finds.
#[derive(Debug)]
pub struct Found {
    /// The node itself. For a directory, walk `listing`.
    pub node: Node,
    /// The store's index at which all of this was read.
    pub index: u64,
    /// Only for a directory.
    pub listing: Option<Listing>,
}

/// Walks a directory depth first, children in order of their names, all at one revision, reading
/// a page at a time: the memory it takes does not grow with the directory. (So `sorted` needs
/// nothing more.)
#[derive(Debug)]
pub struct Listing {}

/// A step of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file, or a directory whose children are not asked for.
    Leaf(Node),
    /// A directory whose children follow; ended by `Leave`. (Only with `recursive`.)
    Enter(Node),
    Leave,
}

#[allow(unused_variables, clippy::unused_self, reason = "contract")]
impl Listing {
    /// The next step; `None` at the end. An error if the revision was compacted meanwhile.
    pub fn next_step(&mut self) -> Result<Option<Step>, ReadError> {
        unimplemented!()
    }
}

/// GET: 100 or 104 as in 2.3.8 if it is not there.
pub fn get(store: &Arc<Store>, path: &Bytes, recursive: bool) -> Result<Found, Error> {
    unimplemented!("{store:?} {path:?} {recursive}")
}

/// GET with `wait=true`.
///
/// `since`: the first index of interest; 0 is "from now on". Below what compaction has left: 401,
/// cause `the requested history has been cleared [oldest/asked]`.
pub fn watch(
    store: &Arc<Store>,
    path: &Bytes,
    recursive: bool,
    since: u64,
) -> Result<Watcher, Error> {
    unimplemented!("{store:?} {path:?} {recursive} {since}")
}

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub struct Watcher {}

#[allow(unused_variables, clippy::unused_self, reason = "contract")]
impl Watcher {
    /// The store's index when the watch began: its `X-Etcd-Index`.
    pub fn index(&self) -> u64 {
        unimplemented!()
    }

    /// The next event, in order, none left out. With `prev_node` where history still has it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        unimplemented!()
    }
}

/// Cleans the path part of a request as Go's `path.Clean("/" + p)` does: `//`, `.`, `..` and a
/// trailing slash go. The input is already percent-decoded.
pub fn clean(path: &[u8]) -> Bytes {
    unimplemented!("{path:?}")
}

/// Counters of `/v2/stats/store`. Writes count where they are applied, reads where they are served.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named as on the wire")]
pub struct Stats {
    pub gets_success: AtomicU64,
    pub gets_fail: AtomicU64,
    pub sets_success: AtomicU64,
    pub sets_fail: AtomicU64,
    pub delete_success: AtomicU64,
    pub delete_fail: AtomicU64,
    pub update_success: AtomicU64,
    pub update_fail: AtomicU64,
    pub create_success: AtomicU64,
    pub create_fail: AtomicU64,
    pub compare_and_swap_success: AtomicU64,
    pub compare_and_swap_fail: AtomicU64,
    pub compare_and_delete_success: AtomicU64,
    pub compare_and_delete_fail: AtomicU64,
    pub expire_count: AtomicU64,
}
