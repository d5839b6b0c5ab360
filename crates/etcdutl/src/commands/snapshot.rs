//! `snapshot status` and `snapshot restore`

use clap::Subcommand;
use commandline::{
    Failure,
    snapshot::{Restore, Status},
};

use crate::cli::Globals;

/// Snapshots that etcdctl snapshot save has written
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    #[command(
        override_usage = "etcdutl snapshot status <FILE> [FLAGS]",
        after_help = "Example:\n  etcdutl snapshot status backup.db -w table"
    )]
    Status(Status),
    #[command(
        override_usage = "etcdutl snapshot restore <FILE> --data-dir <DIR> [FLAGS]",
        after_help = "Every member of the new cluster is restored from the same file, with the same \
            --initial-cluster and --initial-cluster-token, and started with its --data-dir then.\n\n\
            Example:\n  etcdutl snapshot restore backup.db --name a --data-dir /var/lib/etcd \\\n    \
            --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380 \\\n    \
            --initial-advertise-peer-urls http://10.0.0.1:2380"
    )]
    Restore(Restore),
}

impl Snapshot {
    pub(crate) fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Status(status) => status.run(globals.timeout, &globals.write_out),
            Self::Restore(restore) => restore.run(),
        }
    }
}
