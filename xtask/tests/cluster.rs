//! `cargo xtask cluster` leaves no member behind, however it ends.

#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use e2e::{binaries, cluster::network::Network, rings, run};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// In the place of a server: says who it is, and what it hears.
const MEMBER: &str = r#"#!/bin/sh
dir=$(dirname "$0")
trap 'echo $$ >> "$dir/ended"; exit 0' TERM
trap 'echo $$ >> "$dir/interrupted"' INT HUP
echo $$ >> "$dir/started"
while :; do sleep 0.05; done
"#;

struct Cluster {
    xtask: Child,
    dir: TempDir,
    members: BTreeSet<i32>,
}

impl Cluster {
    /// Of scripts, which start at once and say what they hear.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let etcd = dir.path().join("etcd");
        fs::write(&etcd, MEMBER).unwrap();
        fs::set_permissions(&etcd, fs::Permissions::from_mode(0o755)).unwrap();
        let xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let mut cluster = Self::of(&etcd, xtask, dir);
        eventually("three members start", || cluster.noted("started").len() == 3);
        cluster.members = cluster.noted("started");
        eventually("it says what to try", || cluster.printed().contains(" cluster-health\n"));
        let printed = cluster.printed();
        let line = printed.lines().find(|line| line.ends_with(" cluster-health")).unwrap();
        let program = line.split_whitespace().next().unwrap();
        // It works from the root of the workspace.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(program == "cargo" || root.join(program).is_file(), "{line}");
        cluster
    }

    /// Of servers, in a network of their own: the ports are always the same.
    fn start_real(namespace: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let xtask = within(namespace, env!("CARGO_BIN_EXE_xtask").as_ref());
        let mut cluster = Self::of(&binaries::etcd(), xtask, dir);
        let pid = cluster.xtask.id();
        let children = || {
            let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
            text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<BTreeSet<i32>>()
        };
        eventually("three members start", || children().len() == 3);
        cluster.members = children();
        cluster
    }

    fn of(etcd: &Path, mut xtask: Command, dir: TempDir) -> Self {
        let printed = fs::File::create(dir.path().join("printed")).unwrap();
        xtask.arg("cluster").arg(etcd).env("RETCD_CLUSTER_DIR", dir.path());
        xtask.stdin(Stdio::null()).stdout(printed).process_group(0);
        Self { xtask: xtask.spawn().unwrap(), dir, members: BTreeSet::new() }
    }

    fn printed(&self) -> String {
        fs::read_to_string(self.dir.path().join("printed")).unwrap()
    }

    /// The processes that have put themselves into this file.
    fn noted(&self, name: &str) -> BTreeSet<i32> {
        let text = fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    fn signal(&self, signal: Signal) {
        let xtask = Pid::from_raw(self.xtask.id().cast_signed());
        match signal {
            // A terminal sends these to all that run in it.
            Signal::SIGINT | Signal::SIGHUP => killpg(xtask, signal).unwrap(),
            _ => kill(xtask, signal).unwrap(),
        }
    }

    fn reap(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("xtask ends", || {
            ended = self.xtask.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    fn is_gone(&self) -> bool {
        !self.members.iter().any(|pid| runs(*pid))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.xtask.kill().ok();
        self.xtask.wait().ok();
        for pid in self.members.iter().filter(|pid| runs(**pid)) {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).ok();
        }
    }
}

/// A program in this network namespace, which it enters before it becomes that program.
fn within(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
    command
}

/// Who is dead, and nobody has waited for, does not run.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_ends_all_members_in_order() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut cluster = Cluster::start();
        cluster.signal(signal);
        assert!(cluster.reap().success(), "{signal}");
        assert_eq!(cluster.noted("ended"), cluster.members, "{signal}");
        assert!(cluster.is_gone(), "{signal}");
        let twice = cluster.noted("interrupted");
        assert!(twice.is_empty(), "a second signal would end a server at once");
    }
}

#[test]
fn who_is_killed_takes_the_members_along() {
    let mut cluster = Cluster::start();
    cluster.signal(Signal::SIGKILL);
    assert_eq!(cluster.reap().signal(), Some(9));
    eventually("all members are gone", || cluster.is_gone());
    assert_eq!(cluster.noted("ended"), BTreeSet::new(), "they had no time to say so");
}

#[test]
fn members_that_end_by_themselves_end_it() {
    let mut cluster = Cluster::start();
    for pid in &cluster.members {
        kill(Pid::from_raw(*pid), Signal::SIGTERM).unwrap();
    }
    assert!(cluster.reap().success());
}

#[test]
fn members_serve_together_until_ctrl_c() {
    let mut network = Network::new();
    let why_not = network.as_ref().err().cloned().unwrap_or_default();
    if !rings::can_run("network namespaces", network.is_ok(), &why_not) {
        return;
    }
    let (namespace, _) = network.as_mut().unwrap().join();
    let mut cluster = Cluster::start_real(&namespace);
    // It asks nobody but the member at this port.
    let etcdctl = |port: u16, arguments: &[&str]| {
        let mut command = within(&namespace, &binaries::etcdctl());
        command.env("ETCDCTL_API", "2").arg("--no-sync");
        command.args(["--endpoints", &format!("http://127.0.0.1:{port}")]).args(arguments);
        run::run(&mut command, "")
    };
    eventually("a member takes a write", || {
        etcdctl(2379, &["set", "/message", "Hello"]).exit == Some(0)
    });
    for port in [22379, 32379] {
        assert_eq!(etcdctl(port, &["get", "/message", "--quorum"]).stdout, "Hello\n", "{port}");
    }
    cluster.signal(Signal::SIGINT);
    assert!(cluster.reap().success());
    assert!(cluster.is_gone());
    let printed = cluster.printed();
    for name in ["infra1", "infra2", "infra3"] {
        assert!(printed.contains(&format!("{name}: http://127.0.0.1:")), "{printed}");
        // As etcd ends once it has ended in order.
        assert!(printed.contains(&format!("{name} ended: signal: 15 (SIGTERM)")), "{printed}");
        let data = cluster.dir.path().join(format!("{name}.etcd/member"));
        assert!(data.is_dir(), "their data stays");
    }
}
