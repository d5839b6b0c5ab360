//! The raft log on disk: what a member has promised.
//!
//! See the design, "On disk": a batch names the offset that was synced before it; below the highest
//! such offset a bad record is rot and the member stops; above it the log is cut at the first bad
//! record. CRCs chain and are seeded with the segment's id. A failed sync is final.
//!
//! CONTRACT (author: fill in; keep the signatures unless there is a strong reason).

use std::{path::{Path, PathBuf}, sync::Arc};

use base::{ClusterId, Disk, Index, MemberId, Term};
use bytes::Bytes;

/// Whose log this is; written into every segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub member: MemberId,
}

/// What Raft must not forget besides entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: Term,
    /// 0: nobody.
    pub vote: MemberId,
    pub commit: Index,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub index: Index,
    pub term: Term,
    /// Raft's kind of entry: 0 normal, 1 and 2 configuration changes. Opaque here.
    pub kind: u8,
    pub data: Bytes,
    pub context: Bytes,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A new segment is begun once the current one is longer. Default 64 MiB; small in tests.
    pub segment_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{verb} {path}: {source}")]
    Io { verb: &'static str, path: PathBuf, source: std::io::Error },
    /// A record that was promised is bad: restore the member from the others or from a backup.
    #[error("{path}: the log is damaged at byte {offset}, in a part that had been synced: {what}. Restore this member from a backup, or remove it and add it again")]
    Rot { path: PathBuf, offset: u64, what: String },
    /// Not a log of ours, or of a newer format.
    #[error("{path}: {what}")]
    Foreign { path: PathBuf, what: String },
}

/// What opening found: everything from the first kept entry on.
#[derive(Debug, Default)]
pub struct Recovered {
    pub hard_state: HardState,
    /// Index and term before the first of `entries`.
    pub before: (Index, Term),
    pub entries: Vec<Entry>,
}

/// The log, open for appending. One thread's (the log writer's).
#[derive(Debug)]
pub struct Wal {}

#[allow(unused_variables, reason = "contract")]
impl Wal {
    /// Makes a new log in a directory that must be empty or missing; synced, with its directory,
    /// before this returns.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Opens a log and mends what a crash may have left (a torn tail, a half-made or half-removed
    /// segment). `None` if the directory holds no log (or only one whose making never finished).
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> Result<Option<(Self, Recovered)>, Error> {
        unimplemented!()
    }

    pub fn identity(&self) -> Identity {
        unimplemented!()
    }

    /// Adds a batch, in order. An entry at an index that the log has already replaces it and all
    /// after it. Nothing is promised until [`Wal::sync`].
    pub fn append(&mut self, hard_state: Option<HardState>, entries: &[Entry]) -> Result<(), Error> {
        unimplemented!()
    }

    /// Returns once everything appended so far survives a loss of power. After an error the log
    /// refuses all further use.
    pub fn sync(&mut self) -> Result<(), Error> {
        unimplemented!()
    }

    /// Forgets entries up to and including `index`, as far as whole segments allow, in an order
    /// that a crash cannot harm. `index` must be durable in the keyspace.
    pub fn cut(&mut self, index: Index) -> Result<(), Error> {
        unimplemented!()
    }

    /// Bytes of all segments on disk.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }
}
