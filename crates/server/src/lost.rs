//! A member whose log was lost: it stops, and does not start again.
//!
//! It has told others that entries are on its disk which are not there any more: the data directory was
//! emptied, or put back to an earlier state, or the disk forgot what it had synced. Others count on its
//! word. If it voted it could lead without what was acknowledged. Etcd stops in the same place, and is
//! started again by whoever looks after it.

use std::path::{Path, PathBuf};

use base::{Disk, Open};

use crate::{Config, StartError, failure::Failure, shared::Shared};

/// There once the log was found to be lost.
fn mark(home: &Path) -> PathBuf {
    home.join("log-lost")
}

/// Notes it down, and says why the member stops.
pub(crate) fn note(shared: &Shared, why: &str) -> Failure {
    let (disk, home) = (&shared.place.disk, shared.place.path.parent());
    let marked = home.map(|home| {
        disk.open(&mark(home), Open::Create).map(drop).and_then(|()| disk.sync_dir(home))
    });
    if let Some(Err(error)) = marked {
        tracing::warn!(%error, "this is not noted in the data directory: the next start may vote");
    }
    Failure(format!("{why}. {}", advice(&shared.config)))
}

/// Refuses to start such a member, unless it is all that is left (`--force-new-cluster`).
pub(crate) fn refuse(disk: &dyn Disk, home: &Path, config: &Config) -> Result<(), StartError> {
    let mark = mark(home);
    let cannot = |error: std::io::Error| StartError::Other(format!("{}: {error}", mark.display()));
    if !disk.exists(&mark).map_err(cannot)? {
        return Ok(());
    }
    if config.force_new_cluster {
        return disk.remove(&mark).and_then(|()| disk.sync_dir(home)).map_err(cannot);
    }
    Err(StartError::Other(advice(config)))
}

fn advice(config: &Config) -> String {
    format!(
        "the log of this member was lost: what it once said is on its disk is not there any more, so it \
         must not vote. Remove the member and its data directory {}, then add it again (etcdctl member \
         remove, member add). If this data directory was put back from a copy: members are not restored \
         like that",
        config.data_dir.display()
    )
}
