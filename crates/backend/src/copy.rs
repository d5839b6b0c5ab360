//! Copying the file byte by byte, while the process that it belongs to may go on writing to it.
//!
//! A commit never touches the pages of the one before it, but the ones after it use again what has
//! become free. So a copy that begins with the file's head, which names a commit, is that commit
//! unless some of its pages were used again before they were read. Two things guard against that:
//! whoever copies shares the file's lock, and a process that sees this keeps what its last commit
//! holds ([`Backend::heed_copies`]); and the checksums of all pages of the copy are verified before
//! anybody relies on it ([`Backend::open_copy`]).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{Disk, File, Open};
use bytes::Bytes;

use crate::{
    Applied, Backend, Error, Export, Options, Table,
    engine::{self, Engine},
};

/// The head, with the two places where a commit is named.
const HEAD_BYTES: usize = 4096;
/// What is read and written at once.
const PIECE_BYTES: usize = 1 << 20;
/// Attempts at what another process may just be in the middle of: each takes it microseconds.
const ATTEMPTS: usize = 1000;
/// What is read at once when all is verified.
const CHUNK_BYTES: usize = 1 << 20;

/// A file to be copied. As long as this lives, a process that writes to it takes care.
pub struct Source {
    file: Arc<dyn File>,
    path: PathBuf,
    /// Missing where the file system knows no locks: then there is only the verification.
    _share: Option<Box<dyn Send + Sync>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a file that must be there, and writes nothing to it.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, Error> {
        let io = |verb| move |error: io::Error| engine::failed(verb, &shown(path), error);
        let share = share(disk, path);
        let file = disk.open(path, Open::Read).map_err(io("open"))?;
        engine::check_is_database(file.as_ref(), path)?;
        Ok(Self { file, path: path.to_path_buf(), _share: share })
    }

    /// Copies it into a new file, and syncs that. Returns whether nothing was committed meanwhile:
    /// then a copy that is damaged tells that this is.
    pub fn copy_to(&self, disk: &dyn Disk, to: &Path) -> Result<bool, Error> {
        let read = |error: io::Error| engine::failed("read", &shown(&self.path), error);
        let write = |error: io::Error| engine::failed("write", &shown(to), error);
        let head = self.head().map_err(read)?;
        // The file grows before a commit names what is there.
        let len = self.file.len().map_err(read)?;
        let copy = disk.open(to, Open::Create).map_err(write)?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = 0;
        while at < len {
            let left = usize::try_from(len - at).unwrap_or(usize::MAX);
            let wanted = piece.len().min(left);
            let piece = piece.get_mut(..wanted).unwrap_or_default();
            let count = self.file.read_at(piece, at).map_err(read)?;
            if count == 0 {
                break; // It was cut meanwhile.
            }
            copy.write_at(piece.get(..count).unwrap_or_default(), at).map_err(write)?;
            at += count as u64;
        }
        copy.write_at(&head, 0).map_err(write)?;
        copy.sync().map_err(|error| engine::failed("sync", &shown(to), error))?;
        Ok(at == len && self.head().map_err(read)? == head)
    }

    /// The head as it is between two writes to it.
    fn head(&self) -> io::Result<Vec<u8>> {
        let read = || {
            let mut head = vec![0; HEAD_BYTES];
            let count = self.file.read_at(&mut head, 0)?;
            head.truncate(count);
            Ok::<_, io::Error>(head)
        };
        let mut head = read()?;
        for _ in 0..ATTEMPTS {
            let again = read()?;
            if again == head {
                break;
            }
            head = again;
        }
        Ok(head)
    }
}

fn share(disk: &dyn Disk, path: &Path) -> Option<Box<dyn Send + Sync>> {
    for _ in 0..ATTEMPTS {
        match disk.share(path) {
            // Its process is just looking whether somebody shares it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            result => return result.ok(),
        }
    }
    None
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl Backend {
    /// Opens a copy for writing, if every page of it is what was written.
    pub fn open_copy(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Self, Error> {
        let engine = Engine::open_verified(disk.as_ref(), path, &options)?;
        Self::with(engine, crate::Access::Writing, (disk, path, options))
    }

    /// Reads all that there is in a file, every page and every row, and leaves it as it is.
    pub fn verify(disk: &dyn Disk, path: &Path, options: &Options) -> Result<Applied, Error> {
        Self::read_all(disk, path, options, &mut |_| Ok(()))
    }

    /// The same, and gives away the rows, some at a time: see [`rows`](crate::rows).
    pub fn read_all<E: From<Error>>(
        disk: &dyn Disk,
        path: &Path,
        options: &Options,
        each: &mut dyn FnMut(Bytes) -> Result<(), E>,
    ) -> Result<Applied, E> {
        let engine = Engine::look_verified(disk, path, options)?;
        let file = Arc::new(engine.snapshot()?);
        let applied = file.applied()?;
        let mut rows = Export { file, applied, tables: &Table::ALL, from: Vec::new() };
        while let Some(chunk) = rows.next_chunk(CHUNK_BYTES)? {
            each(chunk)?;
        }
        drop(rows);
        engine.close()?;
        Ok(applied)
    }

    /// Whether somebody copies the file. As long as that is so, what the last commit holds (or that
    /// before which it began) is not used again, so the file grows; the flusher asks before each
    /// commit.
    pub fn heed_copies(&self) -> bool {
        let locked = self.disk.lock(&self.path);
        let is_copied = locked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if is_copied {
            self.heeded.lock().get_or_insert_with(|| Arc::clone(&self.state.read().file));
        } else {
            self.ignore_copies();
        }
        is_copied
    }

    /// Takes no care of those who copy any more.
    pub fn ignore_copies(&self) {
        drop(self.heeded.lock().take());
    }
}
