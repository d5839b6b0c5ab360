//! `import`: the original's data becomes a member's.

use std::{ffi::OsString, path::Path, sync::Arc};

use ::import::{Imported, Prefer, Progress, Stage};
use base::{Disk, OsDisk};
use clap::{ArgAction, Args, ValueEnum};
use commandline::{Exit, Failure, Founding, go, output};
use indicatif::{ProgressBar, ProgressStyle};

/// Make the data directory of a member of a new cluster from data of the original etcd
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdutl import <SOURCE> --data-dir <DIR> [FLAGS]",
    after_help = "SOURCE is a snapshot of etcd 3 (etcdctl snapshot save), a data directory of etcd 3 \
        whose member is stopped, or a data directory or backup of etcd 2. It is left as it is. \
        Revisions, history, leases, v2 indexes, users, roles and permissions stay; members do not \
        come along. Where v2 and v3 had users of their own, there is one set here.\n\n\
        Every member of the new cluster imports the same source, with the same --initial-cluster \
        and --initial-cluster-token, and is started with its --data-dir then.\n\n\
        Example:\n  etcdutl import backup.db --name a --data-dir /var/lib/retcd \\\n    \
        --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380 \\\n    \
        --initial-advertise-peer-urls http://10.0.0.1:2380"
)]
pub(crate) struct Import {
    /// A snapshot's file, a data directory, or a backup
    #[arg(value_name = "SOURCE", num_args = 0..)]
    arguments: Vec<OsString>,
    /// Where the log of the source is, if its etcd was started with --wal-dir
    #[arg(long, value_name = "DIR")]
    source_wal_dir: Option<OsString>,
    #[command(flatten)]
    founding: Founding,
    /// What stays where a key of v3 and a node of v2 have the same name, or users or roles of both
    #[arg(long, value_name = "v2|v3")]
    prefer: Option<Preferred>,
    /// Leave users, roles and permissions behind: everybody may do everything
    #[arg(long, value_name = "true|false", default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_default_value = true,
        value_parser = go::flag_bool)]
    without_auth: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preferred {
    V2,
    V3,
}

impl From<Preferred> for Prefer {
    fn from(preferred: Preferred) -> Self {
        match preferred {
            Preferred::V2 => Self::V2,
            Preferred::V3 => Self::V3,
        }
    }
}

impl Import {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let [from] = &self.arguments[..] else {
            return Err(Failure::new(Exit::BadArgs, "import requires exactly one argument"));
        };
        let as_whom = self.founding.as_whom().map_err(|why| Failure::new(Exit::Error, why))?;
        let to = self.founding.place();
        let what = ::import::Import {
            from: Path::new(from),
            from_wal: self.source_wal_dir.as_deref().map(Path::new),
            to: &to,
            as_whom: &as_whom,
            prefer: self.prefer.map(Prefer::from),
            without_auth: self.without_auth,
        };
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let mut bar = Bar::default();
        let imported = ::import::import(&disk, &what, &mut |progress| bar.show(progress));
        bar.clear();
        let imported = imported.map_err(|error| Failure::new(Exit::Error, error))?;
        if imported.torn {
            output::note(
                "warning: the log ended in a record that was never written whole, as a crash leaves \
                 it; that record was left out",
            );
        }
        if imported.uncommitted > 0 {
            output::note(format_args!(
                "warning: the last {} writes of the log are not known to be committed; they count, \
                 since they may have been acknowledged",
                imported.uncommitted
            ));
        }
        if imported.left_out > 0 {
            output::note(format_args!(
                "warning: {} v2 nodes were left out, since v3 has their names, or those of \
                 directories above them",
                imported.left_out
            ));
        }
        tell_auth(&imported);
        output::write(format!("{}\n", summary(&imported)).as_bytes())?;
        output::note(format_args!(
            "imported {} to {}: member {} of cluster {}",
            Path::new(from).display(),
            to.data_dir.display(),
            as_whom.identity.member,
            as_whom.identity.cluster
        ));
        Ok(())
    }
}

/// What has become of users and permissions; nothing where there were none.
fn tell_auth(imported: &Imported) {
    let Imported { users, roles, auth_enabled, refused, notes, .. } = imported;
    if *refused > 0 {
        output::note(format_args!(
            "warning: {refused} writes of the log were left out, since the original refused them to \
             those who asked"
        ));
    }
    for note in notes {
        output::note(format_args!("warning: {note}"));
    }
    if *users > 0 || *roles > 0 {
        let is = if *auth_enabled { "enabled" } else { "not enabled" };
        output::note(format_args!("took over {users} users and {roles} roles; auth is {is}"));
    }
}

/// One line, of which scripts can take what they want.
fn summary(imported: &Imported) -> String {
    let Imported { keys, dirs, records, leases, nodes, entries, revision, compacted, .. } =
        imported;
    let Imported { users, roles, .. } = imported;
    format!(
        "keys={keys} directories={dirs} revisions={records} leases={leases} v2-nodes={nodes} \
         log-entries={entries} revision={revision} compacted={compacted} users={users} roles={roles}"
    )
}

/// Shows on a terminal how far it is: each stage has a bar of its own.
#[derive(Default)]
struct Bar(Option<(Stage, ProgressBar)>);

impl Bar {
    fn show(&mut self, Progress { stage, done, total }: Progress) {
        if !matches!(&self.0, Some((shown, _)) if *shown == stage) {
            self.clear();
            let bar = Self::of(stage, total);
            // However soon it is over: whoever waits sees it begin.
            bar.tick();
            self.0 = Some((stage, bar));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set_position(done);
        }
    }

    /// indicatif draws nothing where stderr is no terminal.
    fn of(stage: Stage, total: u64) -> ProgressBar {
        let style = ProgressStyle::with_template("{msg} [{bar:40}] {percent}% {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total).with_style(style).with_message(match stage {
            Stage::Checking => "checksum",
            Stage::Keys => "keys",
            Stage::Log => "log",
            Stage::Nodes => "v2 nodes",
        })
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
