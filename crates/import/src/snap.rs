//! Reads the original's files `.snap`: a checksum, a place in the log, and the v2 store as JSON.

use std::{path::Path, sync::Arc};

use base::{Disk, Open};
use bytes::{Bytes, BytesMut};
use prost::Message as _;

use crate::{
    Damage,
    messages::{SnapFile, Snapshot, SnapshotMetadata},
};

/// Far more than a v2 store, which lies in memory, ever is.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// No log comes so far.
const INDEX_MAX: u64 = u64::MAX / 2;

/// A snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Snap {
    /// The last entry that is in it.
    pub(crate) index: u64,
    /// The v2 store as JSON.
    pub(crate) store: Bytes,
}

/// The newest snapshot of a directory that is sound; `None` if there is none at all.
///
/// Before it is broken for good, the original goes back to the one before as well.
pub(crate) fn newest(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Option<Snap>, Damage> {
    let exists = disk.exists(dir).map_err(|error| Damage::io("look for", dir, &error))?;
    if !exists {
        return Ok(None);
    }
    let mut names = disk.list(dir).map_err(|error| Damage::io("list", dir, &error))?;
    names.retain(|name| Path::new(name).extension().is_some_and(|found| found == "snap"));
    // Their names are term and index in digits of one length.
    names.sort_unstable_by(|one, other| other.cmp(one));
    let mut broken = None;
    for name in names {
        match read(disk.as_ref(), &dir.join(name)) {
            Ok(snap) => return Ok(Some(snap)),
            Err(damage) => {
                broken.get_or_insert(damage);
            }
        }
    }
    broken.map_or(Ok(None), Err)
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Snap, Damage> {
    let damage = |what: &str| Damage::new(path.to_path_buf(), what.to_owned());
    let io = |error: std::io::Error| Damage::io("read", path, &error);
    let file = disk.open(path, Open::Read).map_err(io)?;
    let length = file.len().map_err(io)?;
    if length > FILE_BYTES_MAX {
        return Err(damage("it is too large for a snapshot of a v2 store"));
    }
    let mut bytes = BytesMut::zeroed(usize::try_from(length).unwrap_or(usize::MAX));
    file.read_exact_at(&mut bytes, 0).map_err(io)?;
    let SnapFile { crc, data } =
        SnapFile::decode(bytes.freeze()).map_err(|_| damage("it cannot be decoded"))?;
    if data.is_empty() {
        return Err(damage("it is empty"));
    }
    if crc32c::crc32c(&data) != crc {
        return Err(damage("its checksum does not match"));
    }
    let Snapshot { data, metadata } =
        Snapshot::decode(data).map_err(|_| damage("it cannot be decoded"))?;
    let SnapshotMetadata { index } =
        metadata.ok_or_else(|| damage("it does not say of which entry it is"))?;
    if index > INDEX_MAX {
        return Err(damage(&format!("it says to be of entry {index}, which cannot be")));
    }
    Ok(Snap { index, store: data })
}
