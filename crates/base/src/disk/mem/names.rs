//! Directories: which name leads to which file, now and after a loss of power.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

/// A file, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

/// Names that change together or not at all: one for a create or a remove, two for a rename.
type Change = Vec<(PathBuf, Option<FileId>)>;

/// The names of all files and directories.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    now: BTreeMap<PathBuf, FileId>,
    synced: BTreeMap<PathBuf, FileId>,
    /// What leads from `synced` to `now`, oldest first.
    unsynced: Vec<Change>,
    /// Directories are durable as soon as they are made, and never removed.
    dirs: BTreeSet<PathBuf>,
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<FileId> {
        self.now.get(path).copied()
    }

    /// All files that have a name, or may have one again after a loss of power.
    pub(super) fn files(&self) -> BTreeSet<FileId> {
        let unsynced = self.unsynced.iter().flatten().filter_map(|(_, file)| *file);
        self.now.values().chain(self.synced.values()).copied().chain(unsynced).collect()
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        let root = path.as_os_str().is_empty() || path == Path::new("/") || path == Path::new(".");
        root || self.dirs.contains(path)
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if !self.is_dir(dir) {
            return Err(missing_or(self.now.contains_key(dir), io::ErrorKind::NotADirectory));
        }
        // Paths are ordered by their parts, so what lies below a directory stands together.
        let files = self.now.range(dir.to_path_buf()..).map(|(path, _)| path);
        let files = files.take_while(|path| path.starts_with(dir));
        let dirs = self.dirs.range(dir.to_path_buf()..).take_while(|path| path.starts_with(dir));
        let children = files.chain(dirs).filter(|path| path.parent() == Some(dir));
        let mut names: Vec<String> = children
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        for dir in dir.ancestors() {
            if self.now.contains_key(dir) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            if !self.is_dir(dir) {
                self.dirs.insert(dir.to_path_buf());
            }
        }
        Ok(())
    }

    pub(super) fn create(&mut self, path: &Path, file: FileId) -> io::Result<()> {
        if self.is_dir(path) || self.now.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !path.parent().is_some_and(|dir| self.is_dir(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(vec![(path.to_path_buf(), Some(file))]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self
            .get(from)
            .ok_or_else(|| missing_or(self.is_dir(from), io::ErrorKind::Unsupported))?;
        if self.is_dir(to) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !to.parent().is_some_and(|dir| self.is_dir(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if from != to {
            self.change(vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(file))]);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        if !self.now.contains_key(path) {
            return Err(missing_or(self.is_dir(path), io::ErrorKind::IsADirectory));
        }
        self.change(vec![(path.to_path_buf(), None)]);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        if !self.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // With a change goes whatever it builds on, be it in another directory.
        let mut needed = BTreeSet::new();
        let mut kept = Vec::new();
        let mut synced = Vec::new();
        for change in std::mem::take(&mut self.unsynced).into_iter().rev() {
            let here = |path: &PathBuf| path.parent() == Some(dir) || needed.contains(path);
            if change.iter().any(|(path, _)| here(path)) {
                needed.extend(change.iter().map(|(path, _)| path.clone()));
                synced.push(change);
            } else {
                kept.push(change);
            }
        }
        kept.reverse();
        self.unsynced = kept;
        for change in synced.into_iter().rev() {
            apply(&mut self.synced, change);
        }
        Ok(())
    }

    /// A loss of power: changes last or not, each on its own or (as with a journal) up to some
    /// point; but none lasts that builds on one that is lost.
    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) {
        let journal = rng.bool().then(|| rng.usize(..=self.unsynced.len()));
        let mut lost = BTreeSet::new();
        for (position, change) in std::mem::take(&mut self.unsynced).into_iter().enumerate() {
            let lasts = journal.map_or_else(|| rng.bool(), |end| position < end);
            if lasts && !change.iter().any(|(path, _)| lost.contains(path)) {
                apply(&mut self.synced, change);
            } else {
                lost.extend(change.into_iter().map(|(path, _)| path));
            }
        }
        self.now = self.synced.clone();
    }

    fn change(&mut self, change: Change) {
        self.unsynced.push(change.clone());
        apply(&mut self.now, change);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, FileId>, change: Change) {
    for (path, file) in change {
        match file {
            Some(file) => names.insert(path, file),
            None => names.remove(&path),
        };
    }
}

fn missing_or(there: bool, otherwise: io::ErrorKind) -> io::Error {
    if there { otherwise.into() } else { io::ErrorKind::NotFound.into() }
}
