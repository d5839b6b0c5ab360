//! Clusters that begin again: from what is left of one, or from a backup.

use std::path::Path;

use super::Cluster;
use crate::{Member, Start, binaries, run};

/// Starts what lies in this directory with `--force-new-cluster`, at free ports.
pub fn force(data_dir: &Path, flags: &[&str]) -> Member {
    let start = Start::new().data_dir(data_dir).with("force-new-cluster", None);
    let mut member = flags.iter().fold(start, |start, flag| start.flag(flag)).start();
    // Next time it is an ordinary member.
    member.change(|start| start.without("force-new-cluster"));
    member
}

/// The id of a member, as it tells itself.
pub fn id(member: &Member) -> String {
    let told = member.get("/v2/stats/self").expect(&[200]).json();
    told["id"].as_str().expect("a member has an id").to_owned()
}

/// Runs `etcdctl backup`, which must succeed.
pub fn back_up(data_dir: &Path, backup_dir: &Path) -> run::Output {
    let output = try_back_up(&[
        "--data-dir".as_ref(),
        data_dir.as_os_str(),
        "--backup-dir".as_ref(),
        backup_dir.as_os_str(),
    ]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    output
}

/// Runs `etcdctl backup` with these arguments.
pub fn try_back_up(arguments: &[&std::ffi::OsStr]) -> run::Output {
    // It asks nobody.
    let mut etcdctl = run::etcdctl(&binaries::etcdctl(), "http://127.0.0.1:1");
    run::run(etcdctl.arg("backup").args(arguments), "")
}

impl Cluster {
    /// One that serves already, alone, under this name: others can be added.
    pub fn of(mut member: Member, name: &str) -> Self {
        for complaint in super::COMPLAINTS {
            member.allow(complaint);
        }
        let rows = vec![format!("{name}={}", member.peer_url())];
        // No name is given twice.
        Self { rows, named: 100, members: vec![member], ..Self::new(&[]) }
    }
}
