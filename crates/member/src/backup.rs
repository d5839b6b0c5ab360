//! Backups: a copy of a member's data that can begin a cluster of its own, and no other.
//!
//! The member may run. Its log is the truth, and its keyspace a state behind it; so the copy is the
//! keyspace as some commit left it, with all applied that the log holds behind that, committed for
//! certain or not: some of it may have been acknowledged. Then the copy leaves its cluster, and gets
//! a log of its own, under new ids, which begins behind all that. So no former member will ever
//! speak to it, and it becomes a member only by `--force-new-cluster`.
//!
//! What is half done is no member: the keyspace has its name only once all has been read again and
//! found good.

mod source;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use backend::{Applied, Backend};
use base::{Disk, Index, MemberId, limits, version::THIS};
use wal::{Beginning, HardState, Held, Identity, Looked, Wal};

use self::source::{Gathered, gather};
use crate::{
    ApplyError, OpenError, Paths,
    open::{assemble, reading},
    target::Target,
};

/// Entries that are applied before the tail is looked at.
const APPLIED_TOGETHER: usize = 64;
/// The storage engine's page cache: all that is read is read once.
pub(crate) const CACHE_BYTES: usize = 8 << 20;

/// Where a member's data is: a data directory, and perhaps a directory for its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub data_dir: PathBuf,
    pub wal_dir: Option<PathBuf>,
}

impl Place {
    pub(crate) fn paths(&self) -> Paths {
        Paths::of(&self.data_dir, self.wal_dir.as_deref())
    }
}

/// What was backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Whose data it was.
    pub of: Identity,
    /// The last of its entries.
    pub index: Index,
    /// The revision of its keyspace.
    pub revision: i64,
}

/// Why there is no backup. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(
        "there is no member in {data_dir}, whose log would be in {wal}: check --data-dir and \
         --wal-dir"
    )]
    NoMember { data_dir: PathBuf, wal: PathBuf },
    #[error(
        "the member in {data_dir} has nothing of its cluster yet: take the backup at another one"
    )]
    Nothing { data_dir: PathBuf },
    #[error(
        "{path} is not empty: choose another directory for the backup, or remove what is there"
    )]
    NotEmpty { path: PathBuf },
    #[error(
        "{path} is in use by another process, which writes there or serves: wait for it, or choose \
         another directory"
    )]
    InUse { path: PathBuf },
    #[error(
        "the keyspace {path} cannot be copied: {source}. If the member runs, stop it and try \
         again; if it does not, take the backup at another one"
    )]
    Damaged { path: PathBuf, source: backend::Error },
    #[error(
        "the member in {data_dir} goes on faster than its data can be copied: try again when it \
         has less to do, or stop it"
    )]
    Busy { data_dir: PathBuf },
    #[error("{verb} {path}: {text}{advice}", advice = advice(*.kind))]
    System { verb: &'static str, path: PathBuf, text: String, kind: io::ErrorKind },
    #[error(transparent)]
    Open(OpenError),
    #[error("the copy, read again, is not what was written ({0}): check that disk")]
    Unlike(&'static str),
}

#[allow(clippy::wildcard_enum_match_arm, reason = "of most there is nothing to say")]
fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free space there, or choose another directory"
        }
        io::ErrorKind::PermissionDenied => ": run this as a user who may do that",
        _ => "",
    }
}

impl From<OpenError> for BackupError {
    #[allow(clippy::wildcard_enum_match_arm, reason = "only what the system says has another text")]
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Wal(wal::Error::Io { verb, path, source }) => {
                Self::System { verb, path, text: source.to_string(), kind: source.kind() }
            }
            OpenError::Backend(backend::Error::Engine { verb, path, text, kind: Some(kind) }) => {
                Self::System { verb, path: path.into(), text, kind }
            }
            error => Self::Open(error),
        }
    }
}

impl From<wal::Error> for BackupError {
    fn from(error: wal::Error) -> Self {
        OpenError::from(error).into()
    }
}

impl From<backend::Error> for BackupError {
    fn from(error: backend::Error) -> Self {
        OpenError::from(error).into()
    }
}

impl From<ApplyError> for BackupError {
    fn from(error: ApplyError) -> Self {
        OpenError::from(error).into()
    }
}

pub(crate) fn system(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |error| BackupError::System {
        verb,
        path: path.to_path_buf(),
        text: error.to_string(),
        kind: error.kind(),
    }
}

/// Backs up the member in one place into another, which must be missing or empty. The copy is to be
/// the member `as_whom`, of ids that nobody ever had.
///
/// What a failure leaves is removed.
pub fn backup(
    disk: &Arc<dyn Disk>,
    from: &Place,
    to: &Place,
    as_whom: Identity,
) -> Result<Backup, BackupError> {
    let mut target = Target::new(disk, to)?;
    let options = backend::Options { cache_bytes: CACHE_BYTES };
    let made = make(disk, from, &mut target, (as_whom, &options));
    if made.is_err() {
        target.remove();
    }
    made
}

fn make(
    disk: &Arc<dyn Disk>,
    from: &Place,
    target: &mut Target,
    (as_whom, options): (Identity, &backend::Options),
) -> Result<Backup, BackupError> {
    let Gathered { keyspace, log, of } = gather(disk, from, target, options)?;
    let (backend, mut applier) = assemble(keyspace, of, THIS)?;
    for entries in log.entries.chunks(APPLIED_TOGETHER) {
        applier.apply(entries)?;
        if backend.tail_bytes() > limits::TAIL_BYTES_MAX / 2 {
            flush(&backend)?;
        }
    }
    let index = applier.state().applied().index;
    if index == Index(0) {
        return Err(BackupError::Nothing { data_dir: from.data_dir.clone() });
    }
    let revision = applier.state().reader().store().revision();
    let left = Applied { index: Index(index.0 + 1), term: log.hard_state.term };
    applier.leave_cluster(left)?;
    flush(&backend)?;
    drop(applier);
    backend.close()?;
    make_log(disk, target, (as_whom, left))?;
    verify(disk, target, (as_whom, left, revision), options)?;
    backend::put_in_place(disk.as_ref(), &target.copy, &target.paths.keyspace)?;
    Ok(Backup { of, index, revision })
}

pub(crate) fn flush(backend: &Backend) -> Result<(), BackupError> {
    while backend.durable() < backend.applied() || backend.tail_bytes() > 0 {
        backend.flush()?;
    }
    Ok(())
}

/// A log that begins behind the keyspace, of which nobody has voted for anybody.
pub(crate) fn make_log(
    disk: &Arc<dyn Disk>,
    target: &mut Target,
    (as_whom, left): (Identity, Applied),
) -> Result<(), BackupError> {
    let Applied { index, term } = left;
    let hard_state = HardState { term, vote: MemberId(0), commit: index };
    let beginning = Beginning { before: (index, term), hard_state };
    target.make_log_dir()?;
    let wal = &target.paths.wal;
    // It gets its room when it is opened.
    let options = wal::Options { segment_bytes: 1 };
    drop(Wal::create_behind(Arc::clone(disk), wal, as_whom, beginning, options)?);
    Ok(())
}

/// Reads all of it again, every page and every row.
fn verify(
    disk: &Arc<dyn Disk>,
    target: &Target,
    (as_whom, left, revision): (Identity, Applied, i64),
    options: &backend::Options,
) -> Result<(), BackupError> {
    let engine = options;
    let applied = reading(&target.copy, || Backend::verify(disk.as_ref(), &target.copy, engine))?;
    let backend = Backend::look(Arc::clone(disk), &target.copy, engine.clone())?;
    let (backend, applier) = assemble(backend, as_whom, THIS)?;
    let state = applier.state();
    let is_free = state.cluster().map_err(ApplyError::from)?.is_none()
        && applier.configuration().is_empty()
        && state.reader().members().members.is_empty();
    let is_whole = applied == left && state.reader().store().revision() == revision;
    drop(applier);
    backend.close()?;
    let is_behind = begins_behind(disk, target, (as_whom, left))?;
    match (is_whole, is_free, is_behind) {
        (true, true, true) => Ok(()),
        (false, ..) => Err(BackupError::Unlike("the keyspace ends elsewhere")),
        (_, false, _) => Err(BackupError::Unlike("it still has members")),
        (.., false) => Err(BackupError::Unlike("the log begins elsewhere")),
    }
}

/// Whether the log begins where the keyspace ends, and is empty.
pub(crate) fn begins_behind(
    disk: &Arc<dyn Disk>,
    target: &Target,
    (as_whom, left): (Identity, Applied),
) -> Result<bool, BackupError> {
    let looked = Looked::look(Arc::clone(disk), &target.paths.wal, Held::NOTHING)?;
    Ok(looked.is_some_and(|looked| {
        let log = looked.recovered();
        looked.identity() == as_whom
            && log.before == (left.index, left.term)
            && log.entries.is_empty()
    }))
}
