//! `--unsafe-no-fsync`: a disk that is not asked to keep anything.

use std::{io, path::Path, sync::Arc};

use super::{Disk, File, Open};

/// Another disk, without its promises: what was written may be gone, or half there, after a loss of
/// power. A process that is killed loses nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnsyncedDisk<D>(pub D);

impl<D: Disk> Disk for UnsyncedDisk<D> {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(UnsyncedFile(self.0.open(path, how)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.remove_dir(dir)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.0.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.0.lock(path)
    }

    fn share(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.0.share(path)
    }
}

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn File>);

impl File for UnsyncedFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buffer, at)
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.0.write_at(data, at)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    #[test]
    fn what_was_written_is_there_and_nothing_is_synced() {
        let disk = MemDisk::new(7);
        disk.create_dir_all(Path::new("/d")).unwrap();
        // Whoever synced now would fail.
        disk.fail_next_sync();
        let unsynced = UnsyncedDisk(disk.clone());
        let path = Path::new("/d/a");
        let file = unsynced.open(path, Open::Create).unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        unsynced.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(disk.failed_syncs(), 0);
        let mut read = [0];
        unsynced.open(path, Open::Read).unwrap().read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"x");
        assert!(disk.open(path, Open::Write).unwrap().sync().is_err());
    }
}
