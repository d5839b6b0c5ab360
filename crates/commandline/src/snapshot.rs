//! `snapshot status` and `snapshot restore`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base::{Disk, OsDisk, url};
use clap::{ArgAction, Args};
use member::{Bootstrap, Place, initial};

use crate::{Exit, Failure, go, keyspace, output::note};

const NAME: &str = "default";
const PEER_URL: &str = "http://localhost:2380";

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
    /// Where to; missing or empty [default: NAME.etcd]
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    data_dir: OsString,
    /// Where the member's log is to be [default: within the data directory]
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    wal_dir: OsString,
    /// The name of the member
    #[arg(long, value_name = "NAME", default_value = NAME)]
    name: String,
    /// Names and peer URLs of all members of the new cluster
    #[arg(long, value_name = "NAME=URL,...", default_value = "default=http://localhost:2380")]
    initial_cluster: String,
    /// What the ids of the new cluster and its members are computed from, besides
    #[arg(long, value_name = "TEXT", default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Where the others reach this member
    #[arg(long, value_name = "URL,...", default_value = PEER_URL)]
    initial_advertise_peer_urls: String,
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
        let as_whom = self.as_whom().map_err(|why| Failure::new(Exit::Error, why))?;
        let to = self.place();
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
            as_whom.identity.member,
            as_whom.identity.cluster
        ));
        Ok(())
    }

    /// Of which cluster the member is to be, and who in it.
    fn as_whom(&self) -> Result<Bootstrap, String> {
        let advertised = url::texts(&url::parse_list(&self.initial_advertise_peer_urls)?);
        let all = url::parse_members(&self.initial_cluster)?;
        let own = initial::own(&self.name, &all)?;
        initial::check_same(own, &advertised)?;
        Ok(Bootstrap::of_all(&all, own, &self.initial_cluster_token))
    }

    fn place(&self) -> Place {
        let given = |dir: &OsString| Some(PathBuf::from(dir)).filter(|_| !dir.is_empty());
        let data_dir = given(&self.data_dir);
        let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(format!("{}.etcd", self.name)));
        Place { data_dir, wal_dir: given(&self.wal_dir) }
    }
}

fn bad_args<T>(why: &str) -> Result<T, Failure> {
    Err(Failure::new(Exit::BadArgs, why))
}
