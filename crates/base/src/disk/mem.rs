//! A disk in memory that forgets what was not synced: for tests and simulation.

mod content;
mod names;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, io, path::Path, sync::Arc};

use parking_lot::Mutex;

use self::{
    content::Content,
    names::{FileId, Names},
};
use super::{Disk, File, Open};

/// What a loss of power has done to files that were written after their last sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Files that have lost something of that.
    pub lost: u64,
    /// Those of them that have kept something too.
    pub torn: u64,
}

impl Damage {
    fn count(&mut self, (kept, lost): (bool, bool)) {
        self.lost += u64::from(lost);
        self.torn += u64::from(lost && kept);
    }
}

/// A disk in memory. Clones share it.
///
/// It promises what [`Disk`] says and nothing besides. On [`MemDisk::crash`]:
/// - every sector (512 bytes) that was written after its file's last sync is kept or lost on its
///   own, and so is a change of length;
/// - every create, rename or remove since its directory's last sync is kept (whole) or lost; none
///   is kept that builds on a lost one. Syncing a file does not keep its name.
///
/// An **operation** is what changes the disk: a write, `set_len`, `allocate`, `sync`, `rename`,
/// `remove`, `sync_dir`, an open or lock that makes a file, the making of a directory.
/// [`MemDisk::fail_after`] cuts the power in any of them. What chance decides follows from the
/// seed and the operations before.
#[derive(Clone)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

impl MemDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self::from_state(State {
            rng: fastrand::Rng::with_seed(seed),
            names: Names::default(),
            nodes: BTreeMap::new(),
            next: 0,
            generation: 0,
            operations: 0,
            fail_after: None,
            failed: false,
            fail_sync: false,
            failed_syncs: 0,
            capacity: None,
        })
    }

    /// Another disk with the same content, synced and unsynced, as this has now; it goes its own
    /// way from here, with chance of its own. It has no open files, no locks and no faults.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut state = self.state.lock().clone();
        state.rng = fastrand::Rng::with_seed(seed);
        state.restart();
        Self::from_state(state)
    }

    /// The power is lost and comes back: see [`MemDisk`] for what is left. Files that were open
    /// give errors from now on, locks are free, and planned faults are forgotten (but not the
    /// capacity).
    pub fn crash(&self) -> Damage {
        let state = &mut *self.state.lock();
        let mut damage = Damage::default();
        state.names.crash(&mut state.rng);
        for node in state.nodes.values_mut() {
            damage.count(node.content.crash(&mut state.rng));
        }
        state.restart();
        damage
    }

    /// Lets `operations` more of them pass. The next one fails, and so does everything after it,
    /// reads too, until [`MemDisk::crash`]; the one that fails may have been done or not.
    pub fn fail_after(&self, operations: u64) {
        self.state.lock().fail_after = Some(operations);
    }

    /// Whether the failure that [`MemDisk::fail_after`] had planned has come.
    pub fn failed(&self) -> bool {
        self.state.lock().failed
    }

    /// How many operations there have been.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Lets the next sync of a file fail, once. As in Linux, what it should have written is lost
    /// in part, and a later sync succeeds without writing it.
    pub fn fail_next_sync(&self) {
        self.state.lock().fail_sync = true;
    }

    /// How many syncs have failed as [`MemDisk::fail_next_sync`] wants it.
    pub fn failed_syncs(&self) -> u64 {
        self.state.lock().failed_syncs
    }

    /// Bounds the lengths of all files together: what would grow a file beyond fails with
    /// `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// The lengths of all files together, with those that were removed but are not gone yet.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Changes one byte by `xor`, behind everybody's back, as rot does.
    pub fn rot(&self, path: &Path, at: u64, xor: u8) -> io::Result<()> {
        let state = &mut *self.state.lock();
        let file = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let node = state.nodes.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
        if node.content.rot(at, xor) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn from_state(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn handle(&self, id: FileId, generation: u64, writable: bool) -> MemFile {
        MemFile { disk: self.clone(), id, generation, writable }
    }
}

impl Default for MemDisk {
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemDisk").finish_non_exhaustive()
    }
}

impl Disk for MemDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.state.lock();
        state.powered()?;
        if state.names.is_dir(dir) {
            return Ok(());
        }
        state.operate(|state| state.names.create_dir_all(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.powered()?;
        state.names.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        state.powered()?;
        Ok(state.names.is_dir(path) || state.names.get(path).is_some())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let state = &mut *self.state.lock();
        state.powered()?;
        let id = match how {
            Open::Create => state.create(path)?,
            Open::Read | Open::Write if state.names.is_dir(path) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Open::Read | Open::Write => state.names.get(path).ok_or(io::ErrorKind::NotFound)?,
        };
        state.node(id)?.handles += 1;
        Ok(Arc::new(self.handle(id, state.generation, how != Open::Read)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().operate(|state| state.names.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().operate(|state| state.names.remove(path))
    }

    /// Here directories stay.
    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state.lock().operate(|state| {
            state.names.sync_dir(dir)?;
            state.collect();
            Ok(())
        })
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        state.powered()?;
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let state = &mut *self.state.lock();
        state.powered()?;
        let id = match state.names.get(path) {
            Some(id) => id,
            None => state.create(path)?,
        };
        let node = state.node(id)?;
        if node.locks != Locks::None {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        node.locks = Locks::Alone;
        node.handles += 1;
        Ok(Box::new(MemLock(self.handle(id, state.generation, false))))
    }

    fn share(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let state = &mut *self.state.lock();
        state.powered()?;
        let id = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let node = state.node(id)?;
        node.locks = match node.locks {
            Locks::None => Locks::Shared(1),
            Locks::Shared(count) => Locks::Shared(count + 1),
            Locks::Alone => return Err(io::ErrorKind::WouldBlock.into()),
        };
        node.handles += 1;
        Ok(Box::new(MemLock(self.handle(id, state.generation, false))))
    }
}

#[derive(Clone)]
struct State {
    rng: fastrand::Rng,
    names: Names,
    nodes: BTreeMap<FileId, Node>,
    next: u64,
    /// Moves with every crash, so that files that were open before can be told.
    generation: u64,
    operations: u64,
    fail_after: Option<u64>,
    failed: bool,
    fail_sync: bool,
    failed_syncs: u64,
    capacity: Option<u64>,
}

/// A file, with or without a name.
#[derive(Clone, Default)]
struct Node {
    content: Content,
    handles: usize,
    locks: Locks,
}

/// Who has locked a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Locks {
    #[default]
    None,
    Shared(usize),
    Alone,
}

impl State {
    fn powered(&self) -> io::Result<()> {
        if self.failed { Err(io::Error::other("the disk has lost power")) } else { Ok(()) }
    }

    fn operate<T>(&mut self, operation: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.powered()?;
        self.operations += 1;
        match &mut self.fail_after {
            None => operation(self),
            Some(0) => {
                // Whether it lasts is decided again at the crash, sector by sector.
                if self.rng.bool() {
                    drop(operation(self));
                }
                self.failed = true;
                Err(io::Error::other("the disk lost power in this operation"))
            }
            Some(left) => {
                *left -= 1;
                operation(self)
            }
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<FileId> {
        self.operate(|state| {
            let id = FileId(state.next);
            state.names.create(path, id)?;
            state.next += 1;
            state.nodes.insert(id, Node::default());
            Ok(id)
        })
    }

    fn node(&mut self, id: FileId) -> io::Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.nodes.values().map(|node| node.content.len()).sum()
    }

    /// Whether a file may grow to `len`.
    fn room(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let growth = len.saturating_sub(self.node(id)?.content.len());
        match self.capacity {
            Some(capacity) if growth > 0 && self.used() + growth > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// No process is left that knew this disk.
    fn restart(&mut self) {
        self.generation += 1;
        self.fail_after = None;
        self.failed = false;
        self.fail_sync = false;
        for node in self.nodes.values_mut() {
            node.handles = 0;
            node.locks = Locks::None;
        }
        self.collect();
    }

    /// Drops files that nothing leads to any more.
    fn collect(&mut self) {
        let named = self.names.files();
        self.nodes.retain(|id, node| node.handles > 0 || named.contains(id));
    }
}

/// An open file of a [`MemDisk`].
#[derive(Debug)]
struct MemFile {
    disk: MemDisk,
    id: FileId,
    generation: u64,
    writable: bool,
}

impl MemFile {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *self.disk.state.lock();
        state.powered()?;
        if state.generation != self.generation {
            return Err(io::Error::other("opened before the disk lost power"));
        }
        f(state)
    }

    /// An operation that changes the bytes and leaves the file at least `len` long.
    fn change(&self, len: u64, f: impl FnOnce(&mut Content, &mut fastrand::Rng)) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.with(|state| {
            state.operate(|state| {
                state.room(self.id, len)?;
                let node = state.nodes.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
                f(&mut node.content, &mut state.rng);
                Ok(())
            })
        })
    }
}

impl File for MemFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.with(|state| Ok(state.node(self.id)?.content.read_at(buffer, at)))
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.change(at + data.len() as u64, |content, rng| content.write_at(data, at, rng))
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.node(self.id)?.content.len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(len, |content, rng| content.set_len(len, rng))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change(len, |content, _| content.allocate(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            state.operate(|state| {
                let fails = std::mem::take(&mut state.fail_sync);
                let node = state.nodes.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
                if fails {
                    state.failed_syncs += 1;
                    node.content.sync_failed(&mut state.rng);
                    return Err(io::Error::other("the sync failed"));
                }
                node.content.sync();
                Ok(())
            })
        })
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let state = &mut *self.disk.state.lock();
        if state.generation == self.generation
            && let Some(node) = state.nodes.get_mut(&self.id)
        {
            node.handles = node.handles.saturating_sub(1);
        }
    }
}

/// A lock that is held until it is dropped.
struct MemLock(MemFile);

impl Drop for MemLock {
    fn drop(&mut self) {
        let state = &mut *self.0.disk.state.lock();
        if state.generation == self.0.generation
            && let Some(node) = state.nodes.get_mut(&self.0.id)
        {
            node.locks = match node.locks {
                Locks::Shared(count) if count > 1 => Locks::Shared(count - 1),
                Locks::Shared(_) | Locks::None | Locks::Alone => Locks::None,
            };
        }
    }
}
