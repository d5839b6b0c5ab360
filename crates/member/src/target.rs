//! Where data for a new cluster goes: nothing is there before it, and nothing is left of what failed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use base::Disk;

use crate::{
    Paths,
    backup::{BackupError, Place, system},
};

/// Where data goes.
pub(crate) struct Target {
    disk: Arc<dyn Disk>,
    pub(crate) paths: Paths,
    /// The keyspace, until it is whole.
    pub(crate) copy: PathBuf,
    home: PathBuf,
    /// Directories that were not there before, those that hold others first.
    made: Vec<PathBuf>,
}

impl Target {
    pub(crate) fn new(disk: &Arc<dyn Disk>, place: &Place) -> Result<Self, BackupError> {
        for dir in [Some(&place.data_dir), place.wal_dir.as_ref()].into_iter().flatten() {
            check_is_empty(disk.as_ref(), dir)?;
        }
        let paths = place.paths();
        let home = place.data_dir.join("member");
        let copy = home.join("keyspace.copy");
        Ok(Self { disk: Arc::clone(disk), paths, copy, home, made: Vec::new() })
    }

    pub(crate) fn make_home(&mut self) -> Result<(), BackupError> {
        let home = self.home.clone();
        self.make(&home)
    }

    pub(crate) fn make_log_dir(&mut self) -> Result<(), BackupError> {
        let wal = self.paths.wal.clone();
        self.make(&wal)
    }

    fn make(&mut self, dir: &Path) -> Result<(), BackupError> {
        let is_new = |path: &&Path| matches!(self.disk.exists(path), Ok(false));
        let mut new: Vec<_> = dir.ancestors().take_while(is_new).map(Path::to_path_buf).collect();
        new.reverse();
        self.made.append(&mut new);
        self.disk.create_dir_all(dir).map_err(system("make directory", dir))
    }

    /// Another attempt is to be made.
    pub(crate) fn discard_copy(&self) -> Result<(), BackupError> {
        Ok(backend::discard(self.disk.as_ref(), &self.copy)?)
    }

    /// Removes what there is of it. Where that fails too, the rest stays.
    pub(crate) fn remove(self) {
        let disk = self.disk.as_ref();
        backend::discard(disk, &self.copy).ok();
        backend::discard(disk, &self.paths.keyspace).ok();
        // It was empty before.
        for name in disk.list(&self.paths.wal).unwrap_or_default() {
            disk.remove(&self.paths.wal.join(name)).ok();
        }
        for dir in self.made.iter().rev() {
            disk.remove_dir(dir).ok();
        }
    }
}

/// A fresh file system is empty enough.
fn check_is_empty(disk: &dyn Disk, dir: &Path) -> Result<(), BackupError> {
    if !disk.exists(dir).map_err(system("look for", dir))? {
        return Ok(());
    }
    let names = disk.list(dir).map_err(system("list", dir))?;
    if names.iter().all(|name| name == "lost+found") {
        return Ok(());
    }
    Err(BackupError::NotEmpty { path: dir.to_path_buf() })
}
