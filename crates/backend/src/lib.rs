//! Ordered tables on disk, with the newest changes in memory.
//!
//! Sole owner of the storage engine. The apply thread writes raft entry by raft entry into the
//! *tail*; the flusher thread writes a prefix of whole entries in one durable transaction. Reads
//! look into the tail first. After a crash the file holds the tables as they were after some
//! entry, and says after which.
//!
//! - `tail`: what is not flushed yet, in generations; the newest grows, the oldest is written
//! - `engine`: the file, through `redb`, and snapshots of it
//! - `look`: a file that is only looked into stays as it is
//! - `row`: the checksum behind each row
//! - `transfer`: the tables on their way to another member; `saved`: into a file, and out of it
//! - `copy`: the file on its way to a backup
//! - `scan`: merging the two in order of keys

mod copy;
mod engine;
mod look;
mod row;
mod saved;
mod scan;
mod tail;
mod transfer;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use base::{Disk, Index, Term, disk};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

pub use crate::{
    copy::Source,
    saved::{Blob, Head, SHA256_BYTES, Saving, Sum, Unloadable, load, read, without_sum},
    transfer::{Export, Incoming, discard, put_in_place, rows},
};
use crate::{
    engine::{Engine, Snapshot},
    tail::{Found, Generation, Tail},
};

/// The tables. Keys of a table are ordered by their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Revision (12 bytes) to what happened there: name and numbers.
    Records,
    /// Revision (12 bytes, and for a later piece of a large value its number) to the value written
    /// there.
    Values,
    /// Small replicated state by name: applied index, conf state, members, cluster version,
    /// compacted revision. Names that begin with a zero byte are the backend's own.
    Meta,
}

impl Table {
    pub(crate) const ALL: [Self; 3] = [Self::Records, Self::Values, Self::Meta];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Values => "values",
            Self::Meta => "meta",
        }
    }

    /// Whether a key of this table is put at most once, ever (and then perhaps deleted). So a row
    /// that is put and deleted again before it is flushed needs no trace in the file.
    pub(crate) const fn puts_once(self) -> bool {
        match self {
            Self::Records | Self::Values => true,
            Self::Meta => false,
        }
    }
}

/// The last raft entry whose changes are included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    pub index: Index,
    pub term: Term,
}

/// One change of one table; `None` deletes.
///
/// The bytes are kept until they are flushed: a small slice of a large buffer keeps all of it.
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

/// All of these are final: the member must stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{verb} {path}: {text}{advice}", advice = advice(*.kind))]
    Engine {
        verb: &'static str,
        path: String,
        text: String,
        /// If it was the operating system that said so.
        kind: Option<io::ErrorKind>,
    },
    /// A newer build has written the file.
    #[error(
        "{path} has format {found}, newer than this build knows ({known}): upgrade this member"
    )]
    Format { path: String, found: u32, known: u32 },
    /// A row that cannot be what was written: rot, or a bug.
    #[error(
        "{table:?} row {key} cannot be read ({text}): the file is damaged; restore this member"
    )]
    Damaged { table: Table, key: String, text: String },
}

impl Error {
    /// For the layers above, which know what a row should look like.
    pub fn damaged(table: Table, key: &[u8], text: impl Into<String>) -> Self {
        Self::Damaged { table, key: Hex(key).to_string(), text: text.into() }
    }

    /// Whether the disk has no room left.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Engine { kind: Some(StorageFull | QuotaExceeded), .. })
    }
}

/// The storage engine says what is wrong, but not what to do.
fn advice(kind: Option<io::ErrorKind>) -> &'static str {
    match kind {
        // Cut off in the middle.
        None | Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => {
            ". The file is damaged or no keyspace: restore this member from a backup, or choose \
             another data directory"
        }
        Some(kind) => disk::advice(kind),
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Ordered tables on disk with a tail in memory. Shared by all threads; one of them writes, one
/// flushes.
#[derive(Debug)]
pub struct Backend {
    /// Held for a lookup, a write of one entry, or the exchange of pointers after a commit; never
    /// while the disk works.
    state: RwLock<State>,
    /// Locked for the length of a commit. Readers and the apply thread do not need it.
    engine: Mutex<Access>,
    /// Files that were replaced, as long as somebody reads them.
    retired: Mutex<Vec<(Access, Weak<Snapshot>)>>,
    /// What somebody copies: see [`Backend::heed_copies`].
    heeded: Mutex<Option<Arc<Snapshot>>>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    options: Options,
}

/// How far the file may be used.
#[derive(Debug)]
enum Access {
    /// Nothing reaches the file. The engine lives for the sake of the snapshot.
    Looking(#[allow(dead_code, reason = "it is only kept")] Engine),
    Writing(Engine),
    Closed,
}

/// Tail and file, in step.
///
/// Invariant: every change is in `tail`, in `file`, or in both. A flush exchanges the snapshot in
/// the same step in which the generation leaves the tail.
#[derive(Debug)]
struct State {
    tail: Tail,
    file: Arc<Snapshot>,
    durable: Applied,
}

impl Backend {
    /// Opens the file, making it if it does not exist.
    ///
    /// A file that is being made has another name until it is whole, so a crash leaves either no
    /// file or a good one.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Self, Error> {
        let engine = Engine::open(disk.as_ref(), path, &options)?;
        Self::with(engine, Access::Writing, (disk, path, options))
    }

    /// Opens a file that is there for reading, and leaves it as it is, down to the last byte.
    /// [`Self::flush`] fails until [`Self::begin_writing`].
    pub fn look(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Self, Error> {
        let engine = Engine::look(disk.as_ref(), path, &options)?;
        Self::with(engine, Access::Looking, (disk, path, options))
    }

    fn with(
        engine: Engine,
        access: fn(Engine) -> Access,
        (disk, path, options): (Arc<dyn Disk>, &Path, Options),
    ) -> Result<Self, Error> {
        let file = Arc::new(engine.snapshot()?);
        let durable = file.applied()?;
        Ok(Self {
            state: RwLock::new(State { tail: Tail::new(durable), file, durable }),
            engine: Mutex::new(access(engine)),
            retired: Mutex::default(),
            heeded: Mutex::default(),
            disk,
            path: path.to_path_buf(),
            options,
        })
    }

    /// From here on the file may be written to, if it was only looked into so far.
    pub fn begin_writing(&self) -> Result<(), Error> {
        let mut access = self.engine.lock();
        if !matches!(*access, Access::Looking(_)) {
            return Ok(());
        }
        let engine = Engine::open(self.disk.as_ref(), &self.path, &self.options)?;
        self.state.write().file = Arc::new(engine.snapshot()?);
        *access = Access::Writing(engine);
        Ok(())
    }

    /// The newest value, from the tail or the file.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let file = {
            let state = self.state.read();
            match state.tail.get(table, key) {
                Found::Put(value) => return Ok(Some(value)),
                Found::Deleted => return Ok(None),
                Found::Nothing => {}
            }
            Arc::clone(&state.file)
        };
        file.get(table, key)
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
        let mut rows = Vec::new();
        let mut from = from.to_vec();
        // Once, unless a piece of the tail was all deletions.
        while rows.len() < limit {
            let wanted = limit - rows.len();
            let (overlay, file) = {
                let state = self.state.read();
                (state.tail.overlay(table, &from, to, wanted), Arc::clone(&state.file))
            };
            let end = overlay.complete_to.as_deref().or(to);
            rows.extend(file.merge(table, (&from, end), &overlay.rows, wanted)?);
            match overlay.complete_to {
                Some(next) if rows.len() < limit => from = next,
                _ => break,
            }
        }
        Ok(rows)
    }

    /// Adds the changes of one raft entry to the tail, all or none; the apply thread only. Without
    /// `applied` they belong to no entry (a step of compaction) and are written with the next
    /// flush.
    pub fn write(&self, applied: Option<Applied>, changes: Vec<Change>) {
        self.state.write().tail.write(applied, changes);
    }

    /// Bytes in the tail. Apply waits above [`base::limits::TAIL_BYTES_MAX`].
    pub fn tail_bytes(&self) -> usize {
        self.state.read().tail.bytes()
    }

    /// What has been written to the tail.
    pub fn applied(&self) -> Applied {
        self.state.read().tail.applied()
    }

    /// What would survive a crash.
    pub fn durable(&self) -> Applied {
        self.state.read().durable
    }

    /// Writes a prefix of the tail (whole entries, at most some megabytes) in one durable
    /// transaction; the flusher thread only. An error is final: the member must stop.
    ///
    /// Returns what is durable now.
    pub fn flush(&self) -> Result<Applied, Error> {
        let access = self.engine.lock();
        let Access::Writing(engine) = &*access else {
            return Err(engine::not_open(&self.path.display().to_string()));
        };
        let Some(generation) = self.state.write().oldest() else {
            return Ok(self.durable());
        };
        engine.commit(&generation)?;
        let file = Arc::new(engine.snapshot()?);
        let retired = self.state.write().retire(file, generation.applied());
        // Freeing some ten thousand rows takes milliseconds: not under the lock.
        drop((retired, generation));
        Ok(self.durable())
    }

    /// Lets go of the file, whoever still holds this: nothing is written to it any more, and what is
    /// not in memory cannot be read. Then another process may have it.
    pub fn close(&self) -> Result<(), Error> {
        self.ignore_copies();
        self.retired.lock().clear();
        match std::mem::replace(&mut *self.engine.lock(), Access::Closed) {
            Access::Looking(engine) | Access::Writing(engine) => engine.close(),
            Access::Closed => Ok(()),
        }
    }

    /// The file's length on disk, and the bytes in use inside it (keys and values of all rows).
    pub fn size(&self) -> (u64, u64) {
        let file = Arc::clone(&self.state.read().file);
        (file.len(), file.used())
    }
}

impl State {
    fn oldest(&mut self) -> Option<Arc<Generation>> {
        self.tail.oldest(self.durable)
    }

    fn retire(
        &mut self,
        file: Arc<Snapshot>,
        durable: Applied,
    ) -> (Arc<Snapshot>, Option<Arc<Generation>>) {
        self.durable = durable;
        (std::mem::replace(&mut self.file, file), self.tail.retire())
    }
}

#[cfg(test)]
mod tests;
