//! What is copied: data that its member perhaps goes on with.

use std::{io, path::Path, sync::Arc};

use backend::{Backend, Source};
use base::{Disk, Index};
use wal::{Held, Identity, Looked, Recovered};

use super::{BackupError, Place, system};
use crate::{
    OpenError, Paths, bootstrap,
    open::{check_they_meet, reading},
    target::Target,
};

/// Attempts at data that changes while it is read; the second one nearly always does.
const ATTEMPTS: usize = 10;

/// A keyspace that is a commit's, open for writing, and the log that goes on from there.
pub(super) struct Gathered {
    pub(super) keyspace: Backend,
    pub(super) log: Recovered,
    pub(super) of: Identity,
}

/// Copies the keyspace, then reads the log: what was acknowledged before is in one of the two. If
/// the member's log was cut in between, or began anew behind a snapshot, then again.
pub(super) fn gather(
    disk: &Arc<dyn Disk>,
    from: &Place,
    target: &mut Target,
    options: &backend::Options,
) -> Result<Gathered, BackupError> {
    let paths = from.paths();
    let no_member =
        || BackupError::NoMember { data_dir: from.data_dir.clone(), wal: paths.wal.clone() };
    // The member is to take care from now on.
    let sources = Source::open(disk.as_ref(), &paths.keyspace).into_iter().collect();
    // Before anything is made.
    let nothing = Held { index: Index(u64::MAX), entries: 0, bytes: 0 };
    look_into_log(disk, &paths, nothing)?.ok_or_else(no_member)?;
    target.make_home()?;
    let mut copying = Copying { disk, paths: &paths, options, sources };
    let (mut is_incoming, mut before) = (false, None);
    for _ in 0..ATTEMPTS {
        let path = if is_incoming { paths.incoming() } else { paths.keyspace.clone() };
        let keyspace = match copying.copy(&path, target) {
            // The member may just have put it in place.
            Err(_) if is_incoming => {
                is_incoming = false;
                continue;
            }
            copied => copied?,
        };
        let durable = keyspace.durable();
        let behind = Held { index: durable.index, entries: 0, bytes: 0 };
        let log = look_into_log(disk, &paths, behind)?.ok_or_else(no_member)?;
        let of = log.identity();
        let error = match check_they_meet(&paths, log.recovered(), durable) {
            Ok(()) => return Ok(Gathered { keyspace, log: log.into_recovered(), of }),
            Err(error) => error,
        };
        if before.replace(error.to_string()) == Some(error.to_string()) {
            return Err(error.into()); // The member does not go on: that is how it is.
        }
        keyspace.close()?;
        drop(keyspace);
        target.discard_copy()?;
        // A member that takes over a snapshot puts its keyspace in place last.
        is_incoming = !is_incoming
            && matches!(error, OpenError::Behind { .. })
            && disk.exists(&paths.incoming()).map_err(system("look for", &paths.incoming()))?;
    }
    Err(BackupError::Busy { data_dir: from.data_dir.clone() })
}

struct Copying<'a> {
    disk: &'a Arc<dyn Disk>,
    paths: &'a Paths,
    options: &'a backend::Options,
    /// As long as these live, the member takes care.
    sources: Vec<Source>,
}

impl Copying<'_> {
    /// Copies the keyspace, or makes one where there is none yet: then the log holds everything.
    fn copy(&mut self, path: &Path, target: &Target) -> Result<Backend, BackupError> {
        let disk = self.disk;
        let engine = || self.options.clone();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let exists = disk.exists(path).map_err(system("look for", path))?;
            if !exists && *path == self.paths.keyspace {
                return Ok(Backend::open(Arc::clone(disk), &target.copy, engine())?);
            }
            let source = Source::open(disk.as_ref(), path)?;
            let was_still = source.copy_to(disk.as_ref(), &target.copy)?;
            self.sources.push(source);
            match reading(path, || Backend::open_copy(Arc::clone(disk), &target.copy, engine())) {
                Ok(keyspace) => return Ok(keyspace),
                Err(source) if was_still || attempt == ATTEMPTS => {
                    return Err(BackupError::Damaged { path: path.to_path_buf(), source });
                }
                Err(_) => target.discard_copy()?,
            }
        }
    }
}

/// Reads the log, which its member may just be writing to or cutting.
fn look_into_log(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    held: Held,
) -> Result<Option<Looked>, BackupError> {
    let mut seen = None;
    let mut attempt = 0;
    loop {
        attempt += 1;
        match Looked::look(Arc::clone(disk), &paths.wal, held) {
            Ok(looked) => {
                let has_begun = |looked: &Looked| !bootstrap::is_unfinished(looked.recovered());
                return Ok(looked.filter(has_begun));
            }
            // What is behind a record tells that it is synced; but it was read before. So it is rot
            // if it is still bad now.
            Err(wal::Error::Rot { path, offset, .. })
                if attempt < ATTEMPTS && seen.as_ref() != Some(&(path.clone(), offset)) =>
            {
                seen = Some((path, offset));
            }
            Err(wal::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if attempt == ATTEMPTS {
                    return Err(BackupError::Busy { data_dir: paths.wal.clone() });
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
