//! Three members on this machine, to try things on.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
    },
    unistd::{Pid, getppid},
};

use crate::cargo::{cargo, run};

/// Name, client port and peer port.
const MEMBERS: [(&str, u16, u16); 3] =
    [("infra1", 2379, 2380), ("infra2", 22379, 22380), ("infra3", 32379, 32380)];
const DIR: &str = "target/cluster";
/// Where ours is once it is built, and what builds it.
const ETCDCTLS: [&str; 2] = ["target/release/etcdctl", "target/debug/etcdctl"];
const BUILDS_ETCDCTL: &str = "cargo run --quiet --package etcdctl --";
/// In place of it, for tests: whoever tries things on keeps his data.
const DIR_VARIABLE: &str = "RETCD_CLUSTER_DIR";
/// The signals that end the members.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// A member needs no longer to end in order.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of how many members have ended.
const LOOK: Duration = Duration::from_millis(50);
/// The chore that becomes a member: see [`become_member`].
pub(crate) const MEMBER: &str = "cluster-member";

/// Starts the members, of the server at the path that is given or else of our own; a signal ends all
/// of them. Their data stays for the next time.
pub(crate) fn start(rest: &[String]) -> Result<()> {
    let etcd = match rest {
        [] => {
            run(cargo(["build", "--release", "--package", "etcd", "--package", "etcdctl"]))?;
            "target/release/etcd"
        }
        [path] => path,
        _ => bail!("it takes the path of a server, or nothing"),
    };
    let rows = MEMBERS.map(|(name, _, peer)| format!("{name}=http://127.0.0.1:{peer}")).join(",");
    let endpoints = MEMBERS.map(|(_, client, _)| format!("http://127.0.0.1:{client}")).join(",");
    let signals = signals()?;
    let mut running = Running(Vec::new());
    for (name, client, peer) in MEMBERS {
        let child = member(etcd, (name, client, peer), &rows)?.spawn();
        let child = child.with_context(|| format!("start {name}"))?;
        println!("{name}: http://127.0.0.1:{client}, process {}, data in {}", child.id(), dir());
        running.0.push((name, child));
    }
    println!("Ctrl-C ends all. Try:");
    println!("  curl http://127.0.0.1:2379/v2/keys/message -XPUT -d value=Hello");
    println!("  {} --endpoints {endpoints} cluster-health", etcdctl(etcd, "".as_ref()));
    running.wait(&signals)
}

/// An etcdctl that is there, in this directory: ours from beside the server, or another build of it, or
/// what builds it. That of another server may speak another API unless it is told.
fn etcdctl(etcd: &str, root: &Path) -> &'static str {
    let is_there = |path: &&str| root.join(path).is_file();
    let beside = |path: &&str| root.join(path) == root.join(etcd).with_file_name("etcdctl");
    let mut built = ETCDCTLS.into_iter().filter(is_there);
    built.clone().find(beside).or_else(|| built.next()).unwrap_or(BUILDS_ETCDCTL)
}

/// The signals that are to end the members, as they come; from now on they end nothing by
/// themselves.
fn signals() -> Result<Receiver<Signal>> {
    let awaited = SigSet::from_iter(ENDING);
    awaited.thread_block().context("block signals")?;
    let (give, signals) = mpsc::channel();
    thread::spawn(move || {
        while let Ok(signal) = awaited.wait() {
            if give.send(signal).is_err() {
                return;
            }
        }
    });
    Ok(signals)
}

fn dir() -> String {
    std::env::var(DIR_VARIABLE).unwrap_or_else(|_| DIR.to_owned())
}

/// It is this program first, which becomes the member: see [`become_member`].
fn member(etcd: &str, (name, client, peer): (&str, u16, u16), rows: &str) -> Result<Command> {
    let this = std::env::current_exe().context("find this program")?;
    let [client, peer] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
    let mut command = Command::new(this);
    command.args([MEMBER, &std::process::id().to_string(), etcd]).args([
        format!("--name={name}"),
        format!("--data-dir={}/{name}.etcd", dir()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={rows}"),
        "--initial-cluster-token=xtask-cluster".to_owned(),
    ]);
    // Ctrl-C is for this process, which passes it on: a second signal would end a member at once.
    command.process_group(0);
    Ok(command)
}

/// Becomes a member that dies with the process that started it, however that ends. `rest` has that
/// process, the server and its flags.
pub(crate) fn become_member(rest: &[String]) -> Result<()> {
    let [parent, etcd, flags @ ..] = rest else { bail!("it is only for the chore `cluster`") };
    prctl::set_pdeathsig(Signal::SIGKILL).context("ask to die with the parent")?;
    // It may be gone already.
    ensure!(*parent == getppid().to_string(), "whoever started this member is gone");
    SigSet::from_iter(ENDING).thread_unblock().context("unblock signals")?;
    // Returns only if it fails.
    Err(Command::new(etcd).args(flags).exec()).with_context(|| format!("start {etcd}"))
}

/// The members. If one of them fails to start, the others are taken along.
struct Running(Vec<(&'static str, Child)>);

impl Running {
    /// Returns when all have ended, by themselves or for a signal; says so when one does.
    fn wait(&mut self, signals: &Receiver<Signal>) -> Result<()> {
        let mut ends_by = None;
        while !self.0.is_empty() {
            let mut ended = None;
            for (at, (_, child)) in self.0.iter_mut().enumerate() {
                if let Some(status) = child.try_wait().context("look after a member")? {
                    ended = Some((at, status));
                }
            }
            if let Some((at, status)) = ended {
                println!("{} ended: {status}", self.0.remove(at).0);
                continue;
            }
            if let Ok(signal) = signals.recv_timeout(LOOK) {
                ensure!(ends_by.is_none(), "a second signal: the members are killed");
                println!("{signal}: the members end");
                self.end()?;
                ends_by = Some(Instant::now() + PATIENCE);
            }
            let is_late = ends_by.is_some_and(|by| by < Instant::now());
            ensure!(!is_late, "the members do not end, and are killed");
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        for (name, child) in &self.0 {
            // It has not been waited for, so its id is its own.
            let pid = Pid::from_raw(child.id().cast_signed());
            kill(pid, Signal::SIGTERM).with_context(|| format!("end {name}"))?;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn an_etcdctl_is_named_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let build = |path: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        let [release, debug] = ETCDCTLS;
        assert_eq!(etcdctl("target/release/etcd", root), BUILDS_ETCDCTL);
        build(debug);
        assert_eq!(etcdctl("target/release/etcd", root), debug);
        build(release);
        for (etcd, expected) in [
            ("target/release/etcd", release),
            ("target/debug/etcd", debug),
            ("/usr/bin/etcd", release),
        ] {
            assert_eq!(etcdctl(etcd, root), expected, "{etcd}");
        }
        let absolute = root.join("target/debug/etcd");
        assert_eq!(etcdctl(absolute.to_str().unwrap(), root), debug);
    }
}
