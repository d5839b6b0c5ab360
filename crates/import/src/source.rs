//! What somebody gives us to import: recognised, and left as it is.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{Disk, Open};

use crate::{Damage, ImportError, log};

/// What our own saved snapshots begin with.
const OURS: &[u8] = b"retcdsnp";

/// Data of the original.
#[derive(Debug)]
pub(crate) enum Source {
    /// A bbolt file: a snapshot, or one that was copied.
    File(PathBuf),
    Dir {
        snap: PathBuf,
        wal: PathBuf,
    },
}

impl Source {
    /// `wal`: where its log is, if not in the directory.
    pub(crate) fn find(
        disk: &Arc<dyn Disk>,
        path: &Path,
        wal: Option<&Path>,
    ) -> Result<Self, ImportError> {
        let has = |name: &str| disk.exists(&path.join(name)).map_err(cannot("look for", path));
        if !disk.exists(path).map_err(cannot("look for", path))? {
            return Err(ImportError::Nothing(path.to_path_buf()));
        }
        // Listing a file fails.
        if disk.list(path).is_err() {
            return Self::file(disk, path);
        }
        if has("member/keyspace")? || has("keyspace")? {
            return Err(ImportError::Ours(path.to_path_buf()));
        }
        for home in [path.join("member"), path.to_path_buf()] {
            let snap = home.join("snap");
            let wal = wal.map_or_else(|| home.join("wal"), Path::to_path_buf);
            if is_log(disk.as_ref(), &wal).map_err(cannot("list", &wal))? {
                return Ok(Self::Dir { snap, wal });
            }
        }
        if has("log")? && has("conf")? {
            return Err(ImportError::TooOld(path.to_path_buf()));
        }
        Err(ImportError::Nothing(path.to_path_buf()))
    }

    fn file(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, ImportError> {
        let file = disk.open(path, Open::Read).map_err(cannot("open", path))?;
        let mut start = [0; OURS.len()];
        let read = file.read_at(&mut start, 0).map_err(cannot("read", path))?;
        if start.get(..read) == Some(OURS) {
            return Err(ImportError::Ours(path.to_path_buf()));
        }
        Ok(Self::File(path.to_path_buf()))
    }
}

fn is_log(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    Ok(disk.exists(dir)? && disk.list(dir)?.iter().any(|name| log::numbers(name).is_some()))
}

fn cannot(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    move |error| Damage::io(verb, path, &error).into()
}
