//! Data directories of a new cluster that begins with a keyspace which was there before.
//!
//! Every initial member is given the same keyspace and the same flags, and so begins with the same
//! state: as after one more entry, by which the old cluster is forgotten and the new one begins. Its
//! log begins behind that. What is restored is a cluster of its own: its id follows from the flags and
//! from where the snapshot was taken, so that a member of the old cluster, which has another
//! continuation of the same log, is a stranger, as is one that was given another snapshot.
//!
//! What is half done is no member: the keyspace has its name only once all has been read again and
//! found good.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use backend::{Applied, Backend, Source, Sum, Unloadable};
use base::{Disk, Index, Term, version::THIS};

use state::membership::restored_cluster_id;
use wal::Identity;

use crate::{
    ApplyError, Bootstrap, KeptError, OpenError,
    backup::{BackupError, CACHE_BYTES, Place, begins_behind, flush, make_log},
    kept::{Kept, Kind},
    open::{assemble, reading},
    target::Target,
};

/// No bump takes the revision further: behind that there is room for whatever may come.
const REVISION_MAX: i64 = i64::MAX / 2;

/// What to restore, and as whom.
#[derive(Debug)]
pub struct Restore<'a> {
    /// A snapshot that a client saved, or a member's keyspace.
    pub from: &'a Path,
    /// The file need have no checksum, and none that matches.
    pub skip_hash_check: bool,
    pub to: &'a Place,
    pub as_whom: &'a Bootstrap,
    /// By how much the revision is raised: then all before is compacted, so that watchers of the old
    /// cluster are told.
    pub bump: u64,
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Whose it is.
    pub identity: Identity,
    /// The last entry that the keyspace includes.
    pub index: Index,
    pub revision: i64,
}

/// Why nothing is restored. Each text says what to do, the original's where it has one.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("data-dir {path:?} not empty or could not be read")]
    NotEmpty { path: PathBuf },
    #[error("wal-dir {path:?} exists")]
    WalDirExists { path: PathBuf },
    #[error("open {path}: no such file or directory")]
    Missing { path: PathBuf },
    #[error(
        "snapshot missing hash but --skip-hash-check=false: {path} was not saved to the end, or is \
         no saved snapshot"
    )]
    NoSum { path: PathBuf },
    #[error(
        "no room for it: {path} would take about {needed} bytes, and {free} are free on its disk: \
         free space there, or give another --data-dir"
    )]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    #[error("{path}: {source}")]
    Unloadable { path: PathBuf, source: Unloadable },
    #[error(
        "the revision {revision} cannot be raised by {bump}: {REVISION_MAX} is the highest that \
         leaves room for more"
    )]
    Bump { revision: i64, bump: u64 },
    #[error(transparent)]
    Kept(KeptError),
    #[error(transparent)]
    Write(BackupError),
}

impl From<KeptError> for RestoreError {
    fn from(error: KeptError) -> Self {
        match error {
            KeptError::Missing { path } => Self::Missing { path },
            error @ (KeptError::Io { .. }
            | KeptError::Foreign { .. }
            | KeptError::Original { .. }
            | KeptError::NoMember { .. }
            | KeptError::Runs { .. }
            | KeptError::Damaged { .. }
            | KeptError::Read(_)) => Self::Kept(error),
        }
    }
}

impl From<BackupError> for RestoreError {
    fn from(error: BackupError) -> Self {
        if let BackupError::NotEmpty { path } = error {
            return Self::NotEmpty { path };
        }
        Self::Write(error)
    }
}

impl From<OpenError> for RestoreError {
    fn from(error: OpenError) -> Self {
        Self::Write(error.into())
    }
}

impl From<backend::Error> for RestoreError {
    fn from(error: backend::Error) -> Self {
        Self::Write(error.into())
    }
}

impl From<ApplyError> for RestoreError {
    fn from(error: ApplyError) -> Self {
        Self::Write(error.into())
    }
}

/// Makes the data directory of a member that begins with what is kept in a file.
///
/// What a failure leaves is removed.
pub fn restore(disk: &Arc<dyn Disk>, what: &Restore<'_>) -> Result<Restored, RestoreError> {
    let kept = Kept::find(disk, what.from)?;
    let path = || kept.path().to_path_buf();
    let sum = if what.skip_hash_check { Sum::Ignored } else { Sum::Needed };
    let bytes = kept.bytes()?;
    let make = |to: &Path| match kept.kind() {
        Kind::Snapshot => {
            // Its rows, and what lies around them in a file.
            check_room(disk.as_ref(), to, bytes.saturating_add(bytes / 4))?;
            let loaded = backend::load(&mut kept.reader(), sum, disk.as_ref(), to, &options());
            match loaded {
                Ok(_) => Ok(()),
                Err(Unloadable::NoSum) => Err(RestoreError::NoSum { path: path() }),
                Err(source) => Err(RestoreError::Unloadable { path: path(), source }),
            }
        }
        Kind::Keyspace if !what.skip_hash_check => Err(RestoreError::NoSum { path: path() }),
        Kind::Keyspace => {
            check_room(disk.as_ref(), to, bytes)?;
            Source::open(disk.as_ref(), kept.path())?.copy_to(disk.as_ref(), to)?;
            Ok(())
        }
    };
    found_by(disk, what.to, (what.as_whom, what.bump), (Origin::Ours, make))
}

/// Whether so much can be written at a path, whose directory is there.
fn check_room(disk: &dyn Disk, path: &Path, needed: u64) -> Result<(), RestoreError> {
    // Where it cannot be asked, it turns out.
    let free = disk.free_bytes(path.parent().unwrap_or(path)).unwrap_or(u64::MAX);
    if needed <= free {
        return Ok(());
    }
    Err(RestoreError::NoRoom { path: path.to_path_buf(), needed, free })
}

/// Makes the data directory of a member of a new cluster with a keyspace of any origin: the part that
/// [`restore`] shares with those who read data of other formats.
///
/// `make` leaves the keyspace at a path, as a [`Backend`] that was flushed and closed; what it says
/// of members, of its cluster, and of alarms, is replaced. The revision, history and leases stay. Give
/// every member the same keyspace, and the same members in `as_whom` (see [`Bootstrap::of_all`]). With
/// a bump other than 0 the revision is so much higher, and all before is compacted.
///
/// What a failure leaves is removed; what an attempt left that was killed, is removed by the next one.
pub fn found<E: From<RestoreError>>(
    disk: &Arc<dyn Disk>,
    to: &Place,
    as_whom: (&Bootstrap, u64),
    make: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Restored, E> {
    found_by(disk, to, as_whom, (Origin::Foreign, make))
}

/// Where a keyspace comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Members of our own, which may still be there and talk to those that are made.
    Ours,
    /// Members of something else.
    Foreign,
}

fn found_by<E: From<RestoreError>>(
    disk: &Arc<dyn Disk>,
    to: &Place,
    (as_whom, bump): (&Bootstrap, u64),
    (origin, make): (Origin, impl FnOnce(&Path) -> Result<(), E>),
) -> Result<Restored, E> {
    let target = Target::new(disk, to).map_err(RestoreError::from);
    let has_rest = target.as_ref().is_ok_and(Target::has_rest);
    if let Some(wal_dir) = &to.wal_dir
        && !has_rest
        && !matches!(disk.exists(wal_dir), Ok(false))
    {
        return Err(RestoreError::WalDirExists { path: wal_dir.clone() }.into());
    }
    let mut target = target?;
    let path = target.copy.clone();
    let made = target.make_home().map_err(|error| RestoreError::from(error).into());
    let made = made.and_then(|()| make(&path));
    let made = made.and_then(|()| Ok(fill(disk, &mut target, (as_whom, bump), origin)?));
    if made.is_err() {
        target.remove();
    }
    made
}

fn fill(
    disk: &Arc<dyn Disk>,
    target: &mut Target,
    (as_whom, bump): (&Bootstrap, u64),
    origin: Origin,
) -> Result<Restored, RestoreError> {
    let path = target.copy.clone();
    let opened = reading(&path, || Backend::open_copy(Arc::clone(disk), &path, options()))?;
    let before = opened.applied();
    let mut as_whom = as_whom.clone();
    if origin == Origin::Ours {
        as_whom.identity.cluster =
            restored_cluster_id(as_whom.identity.cluster, before.index, before.term);
    }
    let (as_whom, identity) = (&as_whom, as_whom.identity);
    let (backend, mut applier) = assemble(opened, identity, THIS)?;
    let (index, term) = (Index(before.index.0 + 1), before.term.max(Term(1)));
    let at = Applied { index, term };
    let bump = checked(applier.state().reader().store().revision(), bump)?;
    applier.begin_cluster(at, as_whom.members.clone(), bump)?;
    let revision = applier.state().reader().store().revision();
    flush(&backend)?;
    drop(applier);
    backend.close()?;
    make_log(disk, target, (identity, at))?;
    verify(disk, target, (as_whom, at, revision))?;
    backend::put_in_place(disk.as_ref(), &target.copy, &target.paths.keyspace)?;
    Ok(Restored { identity, index, revision })
}

fn checked(revision: i64, bump: u64) -> Result<i64, RestoreError> {
    let by = i64::try_from(bump).ok();
    let fits = |by: &i64| revision.checked_add(*by).is_some_and(|sum| sum <= REVISION_MAX);
    by.filter(|by| *by == 0 || fits(by)).ok_or(RestoreError::Bump { revision, bump })
}

/// Reads all of it again, every page and every row.
fn verify(
    disk: &Arc<dyn Disk>,
    target: &Target,
    (as_whom, at, revision): (&Bootstrap, Applied, i64),
) -> Result<(), RestoreError> {
    let path = &target.copy;
    let applied = reading(path, || Backend::verify(disk.as_ref(), path, &options()))?;
    let backend = Backend::look(Arc::clone(disk), path, options())?;
    let (backend, applier) = assemble(backend, as_whom.identity, THIS)?;
    let state = applier.state();
    let cluster = state.cluster().map_err(ApplyError::from)?;
    let members = state.reader().members();
    let is_whole = applied == at && state.reader().store().revision() == revision;
    let is_founded = cluster == Some(as_whom.identity.cluster)
        && members.removed.is_empty()
        && members.members.len() == as_whom.members.len();
    drop(applier);
    backend.close()?;
    let is_behind = begins_behind(disk, target, (as_whom.identity, at))?;
    match (is_whole, is_founded, is_behind) {
        (true, true, true) => Ok(()),
        (false, ..) => Err(BackupError::Unlike("the keyspace ends elsewhere").into()),
        (_, false, _) => Err(BackupError::Unlike("it has other members").into()),
        (.., false) => Err(BackupError::Unlike("the log begins elsewhere").into()),
    }
}

fn options() -> backend::Options {
    backend::Options { cache_bytes: CACHE_BYTES }
}

#[cfg(test)]
mod tests;
