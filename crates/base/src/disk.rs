//! The disk comes from outside: files in a server, a forgetful disk in simulation.

mod mem;
mod os;
mod unsynced;

use std::{fmt, io, path::Path, sync::Arc};

pub use mem::{Damage, MemDisk};
pub use os::OsDisk;
pub use unsynced::UnsyncedDisk;

/// What to do about an error of the operating system, to be put behind its text; empty where the
/// text says it all.
#[allow(clippy::wildcard_enum_match_arm, reason = "of most there is nothing to say")]
pub fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free space on this disk, then start the member again"
        }
        io::ErrorKind::PermissionDenied => ": let the user who runs the member read and write it",
        io::ErrorKind::ReadOnlyFilesystem => ": mount this file system for writing",
        io::ErrorKind::NotADirectory => ": part of this path is a file: choose another directory",
        _ => "",
    }
}

/// How [`Disk::open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing; the file must exist.
    Write,
    /// For reading and writing; the file must not exist.
    Create,
}

/// A file system with the promises that a disk makes, and no more: bytes last once the file is
/// synced, names last once their directory is.
///
/// Errors are the operating system's, with its kinds (`NotFound`, `AlreadyExists`,
/// `StorageFull` …).
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory (mode 0700) and its missing parents, and syncs the parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    fn exists(&self, path: &Path) -> io::Result<bool>;

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Replaces `to` if it exists. Lasts after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Lasts after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory. May come back after a loss of power.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that can still be written below a directory that is there.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Takes the file for this process alone, making it if needed, until the guard is dropped.
    /// `WouldBlock` if another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// Lets nobody [`Disk::lock`] the file, which must be there, until the guard is dropped; others
    /// may share it too. `WouldBlock` if somebody has it alone.
    fn share(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file. Reads and writes name their offset, so threads can share it.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes from `at`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `data`, growing the file if needed.
    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or grows (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space up to `len` and grows the file to it, so that later writes inside need
    /// neither space nor a change of metadata. Unwritten bytes read as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Returns once all bytes written so far, and the length, will survive a loss of power.
    fn sync(&self) -> io::Result<()>;

    /// Fills `buffer` from `at`; `UnexpectedEof` if the file ends first.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let wanted = buffer.len();
        if self.read_at(buffer, at)? < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
