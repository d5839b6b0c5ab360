//! Data of the original etcd, which is left alone.

use std::path::Path;

use base::Disk;

use crate::{StartError, failure::Failure};

/// Refuses a directory in which the original etcd has left its data; looks only.
pub(super) fn refuse(disk: &dyn Disk, data_dir: &Path, wal: &Path) -> Result<(), StartError> {
    let found = look(disk, data_dir, wal).map_err(|error| {
        let Failure(text) = Failure::new(&error);
        StartError::Other(format!("look into {}: {text}: check --data-dir", data_dir.display()))
    })?;
    match found {
        None => Ok(()),
        Some(found) => Err(StartError::Original { path: data_dir.display().to_string(), found }),
    }
}

/// What the original has left, relative to the data directory where it lies there.
fn look(disk: &dyn Disk, data_dir: &Path, wal: &Path) -> std::io::Result<Option<String>> {
    let snap = data_dir.join("member").join("snap");
    if disk.exists(&snap)? {
        let kept = |name: &String| name == "db" || has_extension(name, "snap");
        if let Some(name) = disk.list(&snap)?.into_iter().find(kept) {
            return Ok(Some(format!("member/snap/{name}")));
        }
    }
    if disk.exists(wal)? {
        // Ours have other names; see `wal`.
        let original = |name: &String| is_original_segment(name);
        if let Some(name) = disk.list(wal)?.into_iter().find(original) {
            let path = wal.join(&name);
            let shown = path.strip_prefix(data_dir).unwrap_or(&path);
            return Ok(Some(shown.display().to_string()));
        }
    }
    // A proxy of etcd 2, and a data directory of etcd 0.4.
    for name in ["proxy", "log", "conf"] {
        if disk.exists(&data_dir.join(name))? {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

/// The original's segments are `<16 hex digits>-<16 hex digits>.wal`.
fn is_original_segment(name: &str) -> bool {
    let Some((sequence, index)) = name.strip_suffix(".wal").and_then(|stem| stem.split_once('-'))
    else {
        return false;
    };
    let hex = |part: &str| part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex(sequence) && hex(index)
}
