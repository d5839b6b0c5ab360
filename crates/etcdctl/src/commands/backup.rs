//! `backup`: a member's data, for a cluster of its own.

use std::{
    ffi::OsString,
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    sync::Arc,
};

use base::{ClusterId, Disk, MemberId, OsDisk};
use clap::Args;
use member::{Identity, Place};

use crate::{failure::Failure, output};

/// Back up the data of a member, which may run, for a new cluster
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl backup --data-dir <dir> --backup-dir <dir>",
    after_help = "The backup gets new ids, so that it can never come back into its old cluster. Start it once \
        with --force-new-cluster, and it is a cluster of one; then correct its peer URL \
        (etcdctl member update), and add other members one at a time (etcdctl member add).\n\n\
        Example:\n  etcdctl backup --data-dir /var/lib/etcd --backup-dir /backup/etcd"
)]
pub(crate) struct Backup {
    /// The data directory of the member [default: the current directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<OsString>,
    /// Where its log is, if it was started with --wal-dir
    #[arg(long, value_name = "DIR")]
    wal_dir: Option<OsString>,
    /// Where the backup is to go: a data directory, missing or empty
    #[arg(long = "backup-dir", value_name = "DIR")]
    to: Option<OsString>,
    /// Where the backup's log is to go, if not there
    #[arg(long = "backup-wal-dir", value_name = "DIR")]
    to_wal: Option<OsString>,
    /// What v3 clients wrote comes along, with or without this
    #[arg(long, hide = true)]
    with_v3: bool,
    #[arg(hide = true)]
    extra: Vec<OsString>,
}

impl Backup {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Some(backup_dir) = given(self.to) else {
            return Err(Failure::plain(
                "etcdctl backup: where is the backup to go? Give --backup-dir",
            ));
        };
        if let Some(extra) = self.extra.first() {
            return Err(Failure::plain(format!(
                "etcdctl backup: what is {}? Directories are given by flags",
                extra.display()
            )));
        }
        let data_dir = given(self.data_dir).unwrap_or_else(|| PathBuf::from("."));
        let from = Place { data_dir, wal_dir: given(self.wal_dir) };
        let to = Place { data_dir: backup_dir, wal_dir: given(self.to_wal) };
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let made = member::backup(&disk, &from, &to, as_whom());
        let made = made.map_err(|error| Failure::plain(format!("etcdctl backup: {error}")))?;
        output::note(format_args!(
            "backed up member {} of cluster {} up to revision {} to {}: start that with \
             --force-new-cluster",
            made.of.member,
            made.of.cluster,
            made.revision,
            to.data_dir.display()
        ));
        Ok(())
    }
}

fn given(flag: Option<OsString>) -> Option<PathBuf> {
    flag.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Ids that nobody has, drawn from the system's randomness.
fn as_whom() -> Identity {
    let draw = || RandomState::new().hash_one(0_u64).max(1);
    Identity { cluster: ClusterId(draw()), member: MemberId(draw()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_backups_have_an_id_in_common() {
        let mut ids: Vec<u64> = (0..100)
            .map(|_| as_whom())
            .flat_map(|identity| [identity.cluster.0, identity.member.0])
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 200);
        assert!(ids.iter().filter(|id| **id > u64::MAX / 2).count() > 50, "all bits are drawn");
    }
}
