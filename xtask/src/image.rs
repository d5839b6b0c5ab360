//! The container image: static binaries, and what `Dockerfile` makes of them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::cargo::{cargo, run};

/// All that the image holds.
const STAGE: &str = "target/image";
/// What is built for it, apart from the binaries that are linked to the system's library.
const BUILT: &str = "target/static";
const BINARIES: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// `[--dev] [NAME]`: builds the binaries, and the image if there is a docker that runs.
pub(crate) fn build(rest: &[String]) -> Result<()> {
    let (is_dev, name) = match rest {
        [] => (false, "retcd"),
        [flag] if flag == "--dev" => (true, "retcd"),
        [flag, name] if flag == "--dev" => (true, &**name),
        [name] if !name.starts_with('-') => (false, &**name),
        _ => bail!("it takes --dev (without optimisations) and a name for the image"),
    };
    let built = Path::new(BUILT).join(if is_dev { "debug" } else { "release" });
    for binary in BINARIES {
        link(binary, is_dev)?;
        put(&built.join(binary), &Path::new(STAGE).join("usr/local/bin").join(binary))?;
    }
    // Any user may keep data there, and no other user's can be removed.
    for dir in ["var/lib/etcd", "tmp"] {
        open_to_all(&Path::new(STAGE).join(dir))?;
    }
    if !docker_runs() {
        println!("The binaries are in {STAGE}. Where docker runs: docker build --tag {name} .");
        return Ok(());
    }
    let mut docker = Command::new("docker");
    docker.args(["build", "--tag", name, "."]);
    run(docker)
}

fn open_to_all(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o1777))
        .with_context(|| format!("let all write to {}", dir.display()))
}

/// Only the last step differs from another build: what others wrote is compiled once for both.
///
/// The system's C library is linked in. Its resolver then reads /etc/hosts and /etc/resolv.conf, as
/// docker makes them, and needs no other file.
fn link(binary: &str, is_dev: bool) -> Result<()> {
    let mut command = cargo(["rustc", "--package", binary, "--bin", binary, "--target-dir", BUILT]);
    command.args(["--config", "build.build-dir='target'"]);
    if !is_dev {
        command.arg("--release");
    }
    command.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=debuginfo"]);
    run(command)
}

fn put(from: &Path, to: &Path) -> Result<()> {
    let dir = to.parent().context("a binary lies in a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn docker_runs() -> bool {
    let mut docker = Command::new("docker");
    docker.arg("version").stdout(Stdio::null()).stderr(Stdio::null());
    docker.status().is_ok_and(|status| status.success())
}
