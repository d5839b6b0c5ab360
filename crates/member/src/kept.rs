//! What is kept of a keyspace, looked into and left as it is: a snapshot that a client saved, or the
//! keyspace of a member that does not run.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use backend::{Backend, Sum, Unloadable};
use base::{Disk, File, Open, version::Minor};
use mvcc::{KeysHash, ReadError};
use state::Census;

use crate::{Paths, backup::CACHE_BYTES, open::reading};

/// Rows that are hashed at once.
const ROWS_PER_STEP: usize = 1_000;
/// What tells kinds of files apart is at their head.
const HEAD_BYTES: usize = 24;

/// A file that was found.
pub struct Kept {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn File>,
    kind: Kind,
    /// Keeps a member from starting there.
    _held: Option<Box<dyn Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A snapshot that a client saved.
    Snapshot,
    /// A member's keyspace.
    Keyspace,
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Over all rows, as the member's `Maintenance.Hash`.
    pub hash: u32,
    pub revision: i64,
    pub keys: usize,
    /// In bytes, without a checksum.
    pub size: u64,
    /// The cluster's version; `None` before agreement.
    pub version: Option<Minor>,
}

/// Why a file is of no use. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("{verb} {path}: {source}")]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    /// In the original's words.
    #[error("stat {path}: no such file or directory")]
    Missing { path: PathBuf },
    #[error("{path} is no snapshot, and no keyspace of a member")]
    Foreign { path: PathBuf },
    #[error(
        "{path} is of the original etcd, which has another format: etcdutl import makes a data \
         directory of it"
    )]
    Original { path: PathBuf },
    #[error("there is no keyspace in {path}: no member has run there")]
    NoMember { path: PathBuf },
    #[error("the member in {path} runs: stop it first")]
    Runs { path: PathBuf },
    #[error("snapshot file integrity check failed. {path}: {source}")]
    Damaged { path: PathBuf, source: Unloadable },
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<backend::Error> for KeptError {
    fn from(error: backend::Error) -> Self {
        Self::Read(error.into())
    }
}

impl Kept {
    /// Finds what is at a path: a file, or the keyspace in a data directory, also by the name that
    /// the original has for it.
    pub fn find(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, KeptError> {
        let io = |verb| io_at(verb, path);
        let found = keyspace_for(disk.as_ref(), path);
        if found.is_none() && disk.list(path).is_ok() {
            return Err(KeptError::NoMember { path: path.to_path_buf() });
        }
        let path = found.as_deref().unwrap_or(path);
        if !disk.exists(path).map_err(io("look for"))? {
            return Err(KeptError::Missing { path: path.to_path_buf() });
        }
        let held = hold(disk.as_ref(), path)?;
        let file = disk.open(path, Open::Read).map_err(io("open"))?;
        let mut head = [0; HEAD_BYTES];
        let count = file.read_at(&mut head, 0).map_err(io("read"))?;
        let head = head.get(..count).unwrap_or_default();
        let path = path.to_path_buf();
        let kind = match head {
            [b'r', b'e', b't', b'c', b'd', b's', b'n', b'p', ..] => Kind::Snapshot,
            [b'r', b'e', b'd', b'b', ..] => Kind::Keyspace,
            head if is_bbolt(head) => return Err(KeptError::Original { path }),
            _ => return Err(KeptError::Foreign { path }),
        };
        Ok(Self { disk: Arc::clone(disk), path, file, kind, _held: held })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How long the file is.
    pub(crate) fn bytes(&self) -> Result<u64, KeptError> {
        self.file.len().map_err(io_at("look at", &self.path))
    }

    /// The file, from front to back.
    pub(crate) fn reader(&self) -> impl io::Read {
        Reading { file: Arc::clone(&self.file), at: 0 }
    }

    /// Reads all of it.
    pub fn status(&self) -> Result<Status, KeptError> {
        let (mut census, mut hash) = (Census::default(), 0);
        let mut each = |rows: bytes::Bytes| -> Result<(), KeptError> {
            hash = crc32c::crc32c_append(hash, &rows);
            for row in backend::rows(rows)? {
                census.add(&row)?;
            }
            Ok(())
        };
        let len = self.bytes()?;
        let size = match self.kind {
            Kind::Keyspace => {
                self.reading(|| {
                    Backend::read_all(self.disk.as_ref(), &self.path, &options(), &mut each)
                })?;
                len
            }
            Kind::Snapshot => {
                let mut failed = None;
                let mut each = |rows| {
                    each(rows).map_err(|error| {
                        failed = Some(error);
                        Unloadable::Damaged
                    })
                };
                let read = backend::read(&mut self.reader(), Sum::Matching, &mut each);
                match (read, failed) {
                    (_, Some(error)) => return Err(error),
                    (Err(error), None) => return Err(self.damaged(error)),
                    (Ok(_), None) => backend::without_sum(len),
                }
            }
        };
        let Census { keys, version } = census;
        Ok(Status { hash, revision: keys.revision(), keys: keys.keys(), size, version })
    }

    /// The hash of the history up to a revision (0: the current one), as the member has it. A snapshot
    /// is loaded into a directory for that, which must be there.
    pub fn hash(&self, revision: i64, scratch: &Path) -> Result<KeysHash, KeptError> {
        let look =
            |path: &Path| self.reading(|| Backend::look(Arc::clone(&self.disk), path, options()));
        let backend = match self.kind {
            Kind::Keyspace => {
                // The storage engine panics at some damages that it has not looked for.
                self.reading(|| Backend::verify(self.disk.as_ref(), &self.path, &options()))?;
                look(&self.path)?
            }
            Kind::Snapshot => {
                let path = scratch.join("keyspace");
                let (disk, mut from) = (self.disk.as_ref(), self.reader());
                let loaded = backend::load(&mut from, Sum::Matching, disk, &path, &options());
                loaded.map_err(|error| self.damaged(error))?;
                look(&path)?
            }
        };
        let writer = mvcc::Writer::open(Arc::new(backend))?;
        let mut hashing = writer.store().hash(revision)?;
        loop {
            if let Some(hash) = hashing.step(ROWS_PER_STEP)? {
                return Ok(hash);
            }
        }
    }

    fn reading<T>(&self, read: impl FnOnce() -> T) -> T {
        reading(&self.path, read)
    }

    fn damaged(&self, source: Unloadable) -> KeptError {
        KeptError::Damaged { path: self.path.clone(), source }
    }
}

fn options() -> backend::Options {
    backend::Options { cache_bytes: CACHE_BYTES }
}

fn io_at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeptError {
    let path = path.to_path_buf();
    move |source| KeptError::Io { verb, path, source }
}

/// The keyspace, where a data directory is named, or what the original would have in one.
fn keyspace_for(disk: &dyn Disk, path: &Path) -> Option<PathBuf> {
    let as_original = path.ends_with("member/snap/db").then(|| path.ancestors().nth(3)).flatten();
    if let Some(data_dir) = as_original.filter(|_| matches!(disk.exists(path), Ok(false))) {
        return Some(Paths::of(data_dir, None).keyspace);
    }
    let names = ["member/keyspace", "member/snap/db", "keyspace", "snap/db"];
    names.iter().map(|name| path.join(name)).find(|found| matches!(disk.exists(found), Ok(true)))
}

/// Holds the lock of a member whose file this would be.
fn hold(disk: &dyn Disk, path: &Path) -> Result<Option<Box<dyn Send + Sync>>, KeptError> {
    let Some(home) = path.parent().filter(|_| path.ends_with("keyspace")) else { return Ok(None) };
    let lock = home.join("lock");
    if !matches!(disk.exists(&lock), Ok(true)) {
        return Ok(None);
    }
    match disk.share(&lock) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(KeptError::Runs { path: home.to_path_buf() })
        }
        Err(error) => Err(io_at("lock", &lock)(error)),
    }
}

/// The magic of bbolt's first page.
fn is_bbolt(head: &[u8]) -> bool {
    head.get(16..20) == Some(&0xed0c_daed_u32.to_le_bytes()[..])
}

/// A file, read from front to back.
struct Reading {
    file: Arc<dyn File>,
    at: u64,
}

impl io::Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
