//! Watchers: history first, then live, with no gap.
//!
//! A commit that concerns a watcher is put into its bounded mailbox; when that is full the watcher
//! falls back to reading history from where it stands. So a slow watcher costs nobody anything, and
//! live and history tell the same.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::{record::Commit, store::ReadError};

/// What a watcher wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// v3: keys with `from <= key < to`; no `to`: all from there on. Directories never count.
    Keys { from: Bytes, to: Option<Bytes> },
    /// v2: what is told about `path` itself; with `recursive` about everything visible below it;
    /// and, always, deletions of a directory above or at it. A change is hidden from a recursive
    /// watcher if a segment below `path` begins with `_`.
    Path { path: Bytes, recursive: bool },
}

/// A running watch. Dropping it unregisters it.
#[derive(Debug)]
pub struct Watcher {}

#[allow(unused_variables, reason = "contract")]
impl Watcher {
    /// The next commit that concerns this watcher, in order of revision, none left out. An error
    /// (`Compacted`) ends the watch.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Commit>, ReadError>> {
        unimplemented!()
    }

    /// The revision from which the next commit will come.
    pub fn position(&self) -> i64 {
        unimplemented!()
    }
}
