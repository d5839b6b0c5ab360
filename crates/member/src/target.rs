//! Where data for a new cluster goes: nothing is there before it, and nothing is left of what failed.
//!
//! What was killed on the way leaves a rest that is no member: a copy without its name, and perhaps a
//! log without an entry. The next attempt begins with removing that.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::Disk;
use wal::{Held, Looked};

use crate::{
    Paths,
    backup::{BackupError, Place, system},
};

/// What is not whole has such names, and nothing else has.
const UNFINISHED: [&str; 2] = [".copy", ".copy.unfinished"];
/// A server takes it as well.
const LOCK: &str = "lock";
const LOST_AND_FOUND: &str = "lost+found";

/// Where data goes.
pub(crate) struct Target {
    disk: Arc<dyn Disk>,
    pub(crate) paths: Paths,
    /// The keyspace, until it is whole.
    pub(crate) copy: PathBuf,
    home: PathBuf,
    /// Directories that were not there before, those that hold others first.
    made: Vec<PathBuf>,
    /// Somebody else's attempt was killed here.
    has_rest: bool,
    lock: Option<Box<dyn Send + Sync>>,
}

impl Target {
    /// Looks whether there is room, and changes nothing.
    pub(crate) fn new(disk: &Arc<dyn Disk>, place: &Place) -> Result<Self, BackupError> {
        let paths = place.paths();
        let home = place.data_dir.join("member");
        let copy = home.join("keyspace.copy");
        let disk = Arc::clone(disk);
        let mut target =
            Self { disk, paths, copy, home, made: Vec::new(), has_rest: false, lock: None };
        target.has_rest = target.is_rest();
        if !target.has_rest {
            for dir in [Some(&place.data_dir), place.wal_dir.as_ref()].into_iter().flatten() {
                check_is_empty(target.disk.as_ref(), dir)?;
            }
        }
        Ok(target)
    }

    /// Whether an attempt that was killed has left what is here. Whoever else left something, or
    /// something that cannot be read: it stays.
    fn is_rest(&self) -> bool {
        let (home, wal) = (&self.home, &self.paths.wal);
        let ends_in = |name: &str, ends: [&str; 2]| ends.iter().any(|end| name.ends_with(end));
        let all = |dir: &Path, is_fine: &dyn Fn(&str) -> bool| {
            let listed = self.disk.list(dir);
            listed.is_ok_and(|names| names.iter().all(|name| is_fine(name)))
        };
        let is_ours =
            |name: &str| name == LOCK || home.join(name) == *wal || ends_in(name, UNFINISHED);
        let is_logs = |name: &str| name == LOCK || name == LOST_AND_FOUND || is_segment(name);
        let has = |dir: &Path| self.disk.exists(dir).ok();
        let data_dir = home.parent().unwrap_or(home);
        let is_home =
            |name: &str| name == "member" || name == LOST_AND_FOUND || data_dir.join(name) == *wal;
        has(home) == Some(true)
            && all(data_dir, &is_home)
            && all(home, &is_ours)
            && has(wal)
                .is_some_and(|has_log| !has_log || (all(wal, &is_logs) && self.log_is_empty()))
    }

    fn log_is_empty(&self) -> bool {
        let looked = Looked::look(Arc::clone(&self.disk), &self.paths.wal, Held::NOTHING);
        looked.is_ok_and(|log| log.is_none_or(|log| log.recovered().entries.is_empty()))
    }

    /// Whether what is there is of an attempt that was killed.
    pub(crate) fn has_rest(&self) -> bool {
        self.has_rest
    }

    /// Makes the directory, keeps others off, and removes the rest of an attempt that was killed.
    pub(crate) fn make_home(&mut self) -> Result<(), BackupError> {
        let home = self.home.clone();
        self.make(&home)?;
        let path = home.join(LOCK);
        let locked = self.disk.lock(&path).map_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                return BackupError::InUse { path: home.clone() };
            }
            system("lock", &path)(error)
        });
        self.lock = Some(locked?);
        // Somebody may have come to an end meanwhile.
        if !self.is_rest() {
            self.lock = None;
            return Err(BackupError::NotEmpty { path: home });
        }
        self.remove_rest()
    }

    fn remove_rest(&mut self) -> Result<(), BackupError> {
        let wal = self.paths.wal.clone();
        let has_log = self.disk.exists(&wal).map_err(system("look for", &wal))?;
        if self.has_rest {
            // They were made for this.
            self.made.push(self.home.clone());
            self.made
                .extend(Some(wal.clone()).filter(|wal| has_log && wal.starts_with(&self.home)));
        }
        for dir in [Some(&self.home), Some(&wal).filter(|_| has_log)].into_iter().flatten() {
            for name in self.disk.list(dir).map_err(system("list", dir))? {
                let path = dir.join(&name);
                let stays = name == LOST_AND_FOUND || name == LOCK || path == wal;
                if !stays {
                    self.disk.remove(&path).map_err(system("remove", &path))?;
                }
            }
        }
        Ok(())
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
        // Without it these are somebody else's.
        if self.lock.is_some() {
            backend::discard(disk, &self.copy).ok();
            backend::discard(disk, &self.paths.keyspace).ok();
            // It was empty before.
            for name in disk.list(&self.paths.wal).unwrap_or_default() {
                disk.remove(&self.paths.wal.join(name)).ok();
            }
            disk.remove(&self.home.join(LOCK)).ok();
        }
        for dir in self.made.iter().rev() {
            disk.remove_dir(dir).ok();
        }
    }
}

/// Whether a log of ours has files of such names: others may end as they do.
fn is_segment(name: &str) -> bool {
    let stem = name.strip_suffix(".tmp").unwrap_or(name).strip_suffix(".log");
    stem.is_some_and(|id| id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// A fresh file system is empty enough.
fn check_is_empty(disk: &dyn Disk, dir: &Path) -> Result<(), BackupError> {
    if !disk.exists(dir).map_err(system("look for", dir))? {
        return Ok(());
    }
    let names = disk.list(dir).map_err(system("list", dir))?;
    if names.iter().all(|name| name == LOST_AND_FOUND) {
        return Ok(());
    }
    Err(BackupError::NotEmpty { path: dir.to_path_buf() })
}
