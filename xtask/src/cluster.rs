//! Three members on this machine, to try things on.

use std::{
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::cargo::{cargo, run};

/// Name, client port and peer port.
const MEMBERS: [(&str, u16, u16); 3] =
    [("infra1", 2379, 2380), ("infra2", 22379, 22380), ("infra3", 32379, 32380)];
const DIR: &str = "target/cluster";

/// Starts the members; Ctrl-C ends all of them. Their data stays for the next time.
pub(crate) fn start(rest: &[String]) -> Result<()> {
    if !rest.is_empty() {
        bail!("it takes no arguments");
    }
    run(cargo(["build", "--release", "--package", "etcd", "--package", "etcdctl"]))?;
    let rows = MEMBERS.map(|(name, _, peer)| format!("{name}=http://127.0.0.1:{peer}")).join(",");
    let endpoints = MEMBERS.map(|(_, client, _)| format!("http://127.0.0.1:{client}")).join(",");
    let mut running = Running(Vec::new());
    for (name, client, peer) in MEMBERS {
        let child = member(name, client, peer, &rows).spawn();
        let child = child.with_context(|| format!("start {name}"))?;
        println!("{name}: http://127.0.0.1:{client}, process {}, data in {DIR}", child.id());
        running.0.push((name, child));
    }
    println!("Ctrl-C ends all. Try:");
    println!("  curl http://127.0.0.1:2379/v2/keys/message -XPUT -d value=Hello");
    println!("  target/release/etcdctl --endpoints {endpoints} cluster-health");
    running.wait()
}

fn member(name: &str, client: u16, peer: u16, rows: &str) -> Command {
    let mut etcd = Command::new("target/release/etcd");
    let [client, peer] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
    etcd.args([
        format!("--name={name}"),
        format!("--data-dir={DIR}/{name}.etcd"),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={rows}"),
        "--initial-cluster-token=xtask-cluster".to_owned(),
    ]);
    etcd
}

/// The members. They get Ctrl-C from the terminal themselves, as this process does. If one of them
/// fails to start, the others are taken along; if this process alone is killed, they go on.
struct Running(Vec<(&'static str, Child)>);

impl Running {
    /// Returns when all have ended; says so when one does.
    fn wait(&mut self) -> Result<()> {
        while !self.0.is_empty() {
            let mut ended = None;
            for (at, (_, child)) in self.0.iter_mut().enumerate() {
                if let Some(status) = child.try_wait().context("look after a member")? {
                    ended = Some((at, status));
                }
            }
            match ended {
                Some((at, status)) => println!("{} ended: {status}", self.0.remove(at).0),
                None => thread::sleep(Duration::from_millis(200)),
            }
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
