//! Ordered tables on disk, with the newest changes in memory.
//!
//! Sole owner of the storage engine. The apply thread writes raft entry by raft entry into the
//! *tail*; the flusher thread writes a prefix of whole entries in one durable transaction. Reads
//! look into the tail first. After a crash the file holds the tables as they were after some
//! entry, and says after which.
//!
//! CONTRACT (author: fill in; keep the signatures unless there is a strong reason).

use std::{path::Path, sync::Arc};

use base::{Disk, Index, Term};
use bytes::Bytes;

/// The tables. Keys of a table are ordered by their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Revision (12 bytes) to what happened there: name and numbers.
    Records,
    /// Revision (12 bytes) to the value written there.
    Values,
    /// Small replicated state by name: applied index, conf state, members, cluster version,
    /// compacted revision.
    Meta,
}

/// The last raft entry whose changes are included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    pub index: Index,
    pub term: Term,
}

/// One change of one table; `None` deletes.
#[derive(Clone, Debug)]
pub struct Change {
    pub table: Table,
    pub key: Bytes,
    pub value: Option<Bytes>,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// The storage engine's page cache.
    pub cache_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{verb} {path}: {text}")]
    Engine { verb: &'static str, path: String, text: String },
}

/// Ordered tables on disk with a tail in memory. Shared by all threads; one of them writes, one
/// flushes.
#[derive(Debug)]
pub struct Backend {}

#[allow(unused_variables, reason = "contract")]
impl Backend {
    /// Opens the file, making it if it does not exist.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Self, Error> {
        unimplemented!()
    }

    /// The newest value, from the tail or the file.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        unimplemented!()
    }

    /// At most `limit` rows with `from <= key < to` (no `to`: to the end), merged from tail and
    /// file.
    pub fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        unimplemented!()
    }

    /// Adds the changes of one raft entry to the tail, all or none; the apply thread only. Without
    /// `applied` they belong to no entry (a step of compaction) and are written with the next
    /// flush.
    pub fn write(&self, applied: Option<Applied>, changes: Vec<Change>) {
        unimplemented!()
    }

    /// Bytes in the tail. Apply waits above [`base::limits::TAIL_BYTES_MAX`].
    pub fn tail_bytes(&self) -> usize {
        unimplemented!()
    }

    /// What has been written to the tail.
    pub fn applied(&self) -> Applied {
        unimplemented!()
    }

    /// What would survive a crash.
    pub fn durable(&self) -> Applied {
        unimplemented!()
    }

    /// Writes a prefix of the tail (whole entries, at most some megabytes) in one durable
    /// transaction; the flusher thread only. An error is final: the member must stop.
    ///
    /// Returns what is durable now.
    pub fn flush(&self) -> Result<Applied, Error> {
        unimplemented!()
    }

    /// The file's length on disk, and the bytes in use inside it.
    pub fn size(&self) -> (u64, u64) {
        unimplemented!()
    }
}
