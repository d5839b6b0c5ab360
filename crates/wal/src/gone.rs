//! What is cut off the log, until it is removed.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::Disk;

use crate::{Error, format::Name};

/// Segments that are cut off, and still on disk: large files take long to remove, and the log is
/// written to meanwhile.
///
/// Of one log there is one list, and one turn to remove what is in it. So segments go one after the
/// other, oldest first and each durably before the next, whoever removes them; what is cut off later
/// comes behind. A crash leaves a log that begins earlier, and never one with a gap.
#[derive(Clone, Debug)]
#[must_use = "it stays on disk until it is removed"]
pub struct Gone {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Ids, oldest first. One that could not be removed stays: those behind it must not go.
    segments: Arc<Mutex<VecDeque<u64>>>,
    /// Held by whoever removes some; nobody waits for that who only adds.
    turn: Arc<Mutex<()>>,
}

impl Gone {
    pub(crate) fn new(disk: &Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk: Arc::clone(disk),
            dir: dir.to_path_buf(),
            segments: Arc::default(),
            turn: Arc::default(),
        }
    }

    pub(crate) fn add(&self, segments: impl Iterator<Item = u64>) {
        self.list().extend(segments);
    }

    /// Removes them. After an error the log must not be used any more, as after any other.
    pub fn remove(&self) -> Result<(), Error> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(oldest) = self.list().front().copied() else { break };
            let path = self.dir.join(Name::segment(oldest));
            self.disk.remove(&path).map_err(Error::io("remove", &path))?;
            self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
            self.list().pop_front();
        }
        drop(turn);
        Ok(())
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
