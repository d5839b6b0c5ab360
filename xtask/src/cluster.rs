//! A local cluster to try things on. One member for now; more once members can talk.

use anyhow::{Result, bail};

use crate::cargo::{cargo, run};

const DATA_DIR: &str = "target/cluster/infra1.etcd";

/// Starts the member in the foreground; Ctrl-C ends it. Its data stays for the next time.
pub(crate) fn start(rest: &[String]) -> Result<()> {
    if !rest.is_empty() {
        bail!("it takes no arguments");
    }
    run(cargo(["build", "--release", "--package", "etcd", "--package", "etcdctl"]))?;
    println!("one member (clusters of three come later), data in {DATA_DIR}; Ctrl-C ends it");
    println!("try: target/release/etcdctl set /message Hello");
    let mut etcd = std::process::Command::new("target/release/etcd");
    let peer = "http://localhost:2380";
    etcd.args(["--name=infra1", &format!("--data-dir={DATA_DIR}")]);
    etcd.args([
        "--listen-client-urls=http://localhost:2379",
        "--advertise-client-urls=http://localhost:2379",
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=infra1={peer}"),
    ]);
    run(etcd)
}
