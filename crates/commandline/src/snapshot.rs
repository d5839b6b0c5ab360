//! `snapshot status` and `snapshot restore`.

use std::{ffi::OsString, path::Path, sync::Arc, time::Duration};

use base::{Disk, OsDisk};
use clap::{ArgAction, Args};

use crate::{Exit, Failure, Founding, go, keyspace, output::note};

/// Show what a snapshot holds: hash, revision, keys, size, version
#[derive(Args, Debug)]
pub struct Status {
    /// The file
    #[arg(value_name = "FILE", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Status {
    pub fn run(&self, timeout: Duration, write_out: &str) -> Result<(), Failure> {
        let [path] = &self.arguments[..] else {
            return bad_args("snapshot status requires exactly one argument");
        };
        keyspace::status(Path::new(path), timeout, write_out)
    }
}

/// Make the data directory of a member of a new cluster from a snapshot
#[derive(Args, Debug)]
pub struct Restore {
    /// The file
    #[arg(value_name = "FILE", num_args = 0..)]
    arguments: Vec<OsString>,
    #[command(flatten)]
    founding: Founding,
    /// Take a file without a checksum, as one that was copied from a data directory, or one whose
    /// checksum does not match
    #[arg(long, value_name = "true|false", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_default_value = true,
        value_parser = go::flag_bool)]
    skip_hash_check: bool,
    /// Raise the revision by so much
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = go::flag_uint)]
    bump_revision: u64,
    /// All before the revision is compacted; goes with --bump-revision
    #[arg(long, value_name = "true|false", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_default_value = true,
        value_parser = go::flag_bool)]
    mark_compacted: bool,
    /// Means nothing: no file is mapped into memory
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = go::flag_uint, hide = true)]
    initial_memory_map_size: u64,
}

impl Restore {
    pub fn run(&self) -> Result<(), Failure> {
        let [path] = &self.arguments[..] else {
            return bad_args("snapshot restore requires exactly one argument");
        };
        let bump = self.bump_revision;
        if (bump > 0) != self.mark_compacted {
            return bad_args("--mark-compacted required if --revision-bump > 0");
        }
        let as_whom = self.founding.as_whom().map_err(|why| Failure::new(Exit::Error, why))?;
        let to = self.founding.place();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let what = member::Restore {
            from: Path::new(path),
            skip_hash_check: self.skip_hash_check,
            to: &to,
            as_whom: &as_whom,
            bump,
        };
        let restored = member::restore(&disk, &what);
        let restored = restored.map_err(|error| Failure::new(Exit::Error, error))?;
        note(format_args!(
            "restored {} at revision {} to {}: member {} of cluster {}",
            Path::new(path).display(),
            restored.revision,
            to.data_dir.display(),
            restored.identity.member,
            restored.identity.cluster
        ));
        Ok(())
    }
}

fn bad_args<T>(why: &str) -> Result<T, Failure> {
    Err(Failure::new(Exit::BadArgs, why))
}
