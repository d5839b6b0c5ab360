//! Data of the original etcd, which is left alone.

use std::{
    io,
    path::{Path, PathBuf},
};

use base::Disk;

use crate::{Config, StartError};

/// Refuses a directory in which the original etcd has left its data, or that is the inside of one;
/// looks only.
pub(super) fn refuse(disk: &dyn Disk, config: &Config, wal: &Path) -> Result<(), StartError> {
    let data_dir = &config.data_dir;
    let cannot = |dir: &Path| {
        let dir = dir.to_path_buf();
        let flag = if Some(&dir) == config.wal_dir.as_ref() { "--wal-dir" } else { "--data-dir" };
        move |error: io::Error| {
            let advice = base::disk::advice(error.kind());
            StartError::Other(format!("look into {}: {error}{advice}; check {flag}", dir.display()))
        }
    };
    let member = data_dir.join("member");
    let found = in_snap(disk, &member.join("snap")).map_err(cannot(&member))?;
    let found = found.or(in_wal(disk, wal).map_err(cannot(wal))?);
    let found = found.or(from_before(disk, data_dir).map_err(cannot(data_dir))?);
    // Somebody may have given the directory within.
    let snap = in_snap(disk, &data_dir.join("snap")).map_err(cannot(data_dir))?;
    let found = found.or(snap).or(in_wal(disk, &data_dir.join("wal")).map_err(cannot(data_dir))?);
    if let Some(found) = found {
        let shown = found.strip_prefix(data_dir).unwrap_or(&found);
        return Err(StartError::Original {
            path: data_dir.display().to_string(),
            found: shown.display().to_string(),
        });
    }
    let is_inside = is_member(disk, data_dir).map_err(cannot(data_dir))?;
    if is_inside && !disk.exists(&member).map_err(cannot(data_dir))? {
        return Err(StartError::Other(format!(
            "{} is the inside of a data directory: give the directory above it as --data-dir",
            data_dir.display()
        )));
    }
    Ok(())
}

fn in_snap(disk: &dyn Disk, snap: &Path) -> io::Result<Option<PathBuf>> {
    find(disk, snap, |name| name == "db" || has_extension(name, "snap"))
}

/// Ours have other names; see `wal`.
fn in_wal(disk: &dyn Disk, wal: &Path) -> io::Result<Option<PathBuf>> {
    find(disk, wal, is_original_segment)
}

fn find(disk: &dyn Disk, dir: &Path, is: fn(&str) -> bool) -> io::Result<Option<PathBuf>> {
    if !disk.exists(dir)? {
        return Ok(None);
    }
    Ok(disk.list(dir)?.into_iter().find(|name| is(name)).map(|name| dir.join(name)))
}

/// A data directory of etcd 0.4.
fn from_before(disk: &dyn Disk, data_dir: &Path) -> io::Result<Option<PathBuf>> {
    for name in ["log", "conf"] {
        let path = data_dir.join(name);
        if disk.exists(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whether this is what is called `member` in a data directory of ours.
fn is_member(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    Ok(disk.exists(&dir.join("keyspace"))? && disk.exists(&dir.join("wal"))?)
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
