//! The keyspace: every revision of every key and directory, in one order of revisions.
//!
//! One [`Writer`] (the apply thread's) changes it; any thread reads through [`Store`]. Values and
//! numbers lie in the backend in order of revision; ordered indexes in memory lead from names to
//! revisions. v3 keys and v2 directories are records of two kinds with an index each: a v3 range
//! never meets a directory.
//!
//! - `record`: what happened to one name at one revision, and how it lies in the tables
//! - `index`: from names to revisions, in memory
//! - `store`: reading; `writer`: transactions, entries and compaction
//! - `census`: counting keys in rows, without an index
//! - `digest`: what all changes come to, so that members can be compared
//! - `watch`: who waits for what, and telling them

mod census;
mod digest;
mod index;
pub mod path;
pub mod record;
pub mod store;
pub mod watch;
mod writer;

pub use census::Census;
pub use digest::{Digest, DigestAt};
pub use record::{Action, Commit, Kind, Record};
pub use store::{
    Child, Hashing, KeysHash, LoadError, Pin, ReadError, Search, Store, Txn, Usage, View, Writer,
};
pub use watch::{Interest, Watcher};

#[cfg(test)]
mod tests;
