//! A second copy of the replicated state, which never crashes: what the first must be.

use std::{path::Path, sync::Arc};

use base::{Disk, MemberId, disk::MemDisk};
use member::Applier;
use mvcc::Commit;
use wal::Entry;

use crate::{
    Violation,
    history::History,
    running::{self, Who},
};

const NAME: &str = "mirror";

/// A second copy of the replicated state.
pub(crate) struct Mirror {
    pub(crate) applier: Applier,
    disk: MemDisk,
}

impl Drop for Mirror {
    /// Nobody needs files that are closed in order.
    fn drop(&mut self) {
        self.disk.crash();
    }
}

impl Mirror {
    /// Brought up to what the history knows.
    pub(crate) fn new(history: &History, of: u64) -> Result<Self, Violation> {
        let disk = MemDisk::new(0);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        shared
            .create_dir_all(Path::new(running::HOME))
            .map_err(|error| Violation::new(NAME, error))?;
        // It knows all that any member may know.
        let who = Who { id: MemberId(1), of, run: 0, forced: false, next: true };
        let opened =
            running::open(&shared, who, None).map_err(|error| Violation::new(NAME, error))?;
        let mut mirror = Self { applier: opened.applier, disk };
        for entry in history.entries.values() {
            mirror.apply(entry)?;
        }
        Ok(mirror)
    }

    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<Vec<Arc<Commit>>, Violation> {
        let batch = self
            .applier
            .apply(std::slice::from_ref(entry))
            .map_err(|error| Violation::new(NAME, error))?;
        Ok(batch.commits)
    }
}
