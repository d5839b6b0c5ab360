//! Why nothing is imported.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::bolt::BoltError;

/// A file of the original that is not what it should be, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct Damage {
    pub path: PathBuf,
    pub what: String,
}

impl Damage {
    pub(crate) fn new(path: PathBuf, what: String) -> Self {
        Self { path, what }
    }

    pub(crate) fn bolt(path: &Path, error: BoltError) -> Self {
        match error {
            BoltError::Read(error) => Self::io("read", path, &error),
            error @ (BoltError::NoMeta { .. } | BoltError::Cut { .. } | BoltError::Page { .. }) => {
                Self::new(path.to_path_buf(), error.to_string())
            }
        }
    }

    pub(crate) fn io(verb: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::new(path.to_path_buf(), format!("{verb} it: {error}"))
    }
}

/// Why nothing is imported. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(
        "there is nothing of etcd in {0}: give a snapshot (etcdctl snapshot save), a data directory, \
         or a backup of one"
    )]
    Nothing(PathBuf),
    #[error(
        "{0} is of this etcd and needs no import: restore it (etcdutl snapshot restore), or start \
         the member on it"
    )]
    Ours(PathBuf),
    #[error("{0} is of etcd 0.4: let an etcd 2 start on it once, which brings it up to date")]
    TooOld(PathBuf),
    #[error("{0} is in use: stop its etcd, or import a snapshot of it (etcdctl snapshot save)")]
    Runs(PathBuf),
    /// Nothing is wrong with ours.
    #[error("{0}. Import a snapshot or a backup, or the data of another member")]
    Damaged(#[from] Damage),
    #[error(
        "the log has writes that nobody but the original can judge: whether those who asked were \
         permitted to make them, its versions decide differently (the first is entry {0}). Import a \
         snapshot (etcdctl snapshot save), or the data of a member that was stopped and not killed"
    )]
    Judgement(u64),
    /// The original has carried it out, as far as anybody knows.
    #[error(
        "entry {index} of the log cannot be carried out here: {why}. Without it what follows would be \
         wrong. Import a snapshot (etcdctl snapshot save), or the data of a member that was stopped \
         and not killed"
    )]
    Refused { index: u64, why: String },
    #[error(
        "{0} is a backup that etcdctl up to 3.4 made --with-v3: the numbers of its log are no longer \
         those that its keys go by, so nobody can tell which of these writes they hold already. \
         Import a snapshot (etcdctl snapshot save), or the data directory itself"
    )]
    Shifted(PathBuf),
    /// The original has a lease that cannot be.
    #[error("{path}: lease {id:x} with a time to live of {ttl} s cannot be: {why}")]
    Lease { path: PathBuf, id: i64, ttl: i64, why: String },
    #[error(
        "{count} names are both keys of v3 and nodes of v2: {names}. Say which are to stay: \
         --prefer v2 or --prefer v3"
    )]
    Both { names: Names, count: usize },
    #[error(
        "{count} users or roles are different ones in v2 and v3: {names}. Say which are to stay: \
         --prefer v2 or --prefer v3"
    )]
    BothAuth { names: Names, count: usize },
    #[error(transparent)]
    Load(#[from] mvcc::LoadError),
    #[error(transparent)]
    State(#[from] state::apply::Fatal),
    #[error(transparent)]
    Backend(#[from] backend::Error),
    #[error(transparent)]
    Read(#[from] mvcc::ReadError),
    #[error(transparent)]
    Found(#[from] member::RestoreError),
}

/// Some names of several.
#[derive(Debug)]
pub struct Names(pub Vec<Bytes>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", String::from_utf8_lossy(name).escape_debug())?;
        }
        Ok(())
    }
}
