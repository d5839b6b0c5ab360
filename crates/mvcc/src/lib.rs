//! The keyspace: every revision of every key and directory, in one order of revisions.
//!
//! One [`Writer`] (the apply thread's) changes it; any thread reads through [`Store`]. Values and
//! numbers lie in the backend in order of revision; ordered indexes in memory lead from names to
//! revisions. v3 keys and v2 directories are records of two kinds with an index each: a v3 range
//! never meets a directory.
//!
//! CONTRACT (authors: fill in; keep the signatures unless there is a strong reason).

pub mod path;
pub mod record;
pub mod store;
pub mod watch;

pub use record::{Action, Commit, Kind, Record};
pub use store::{Child, ReadError, Store, Txn, Usage, View, Writer};
pub use watch::{Interest, Watcher};
