//! Where the binaries under test are.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The server under test.
pub fn etcd() -> PathBuf {
    named("RETCD_ETCD", "etcd")
}

/// The command line under test.
pub fn etcdctl() -> PathBuf {
    named("RETCD_ETCDCTL", "etcdctl")
}

/// The tool for data under test.
pub fn etcdutl() -> PathBuf {
    named("RETCD_ETCDUTL", "etcdutl")
}

/// The load generator.
pub fn bench() -> PathBuf {
    named("RETCD_BENCH", "bench")
}

/// Whether the server under test is the original, here to prove the tests and not to be tested.
pub fn is_original() -> bool {
    static ORIGINAL: OnceLock<bool> = OnceLock::new();
    *ORIGINAL.get_or_init(|| speaks_go(&etcd()))
}

/// Debian's real etcd 3.4, when it is installed.
pub fn real_etcd() -> Option<PathBuf> {
    real("/usr/bin/etcd")
}

/// Debian's real etcdctl 3.4, when it is installed.
pub fn real_etcdctl() -> Option<PathBuf> {
    real("/usr/bin/etcdctl")
}

fn real(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    (path.exists() && speaks_version_3_4(&path)).then_some(path)
}

fn named(variable: &str, name: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => built(name),
    }
}

/// `target/<profile>/<name>`, found from this test's own place in `target/<profile>/deps/`.
///
/// `cargo xtask test` builds the binaries before the tests. For a plain `cargo test -p e2e` in a
/// fresh clone they are built here, once.
fn built(name: &str) -> PathBuf {
    static BUILD: OnceLock<()> = OnceLock::new();
    let me = std::env::current_exe().expect("the test knows its own path");
    let profile = me.ancestors().nth(2).expect("tests are in target/<profile>/deps").to_owned();
    let path = profile.join(name);
    if !path.exists() {
        BUILD.get_or_init(|| build(&profile));
    }
    assert!(path.exists(), "{} is not there: run `cargo build --bins`", path.display());
    path
}

fn build(profile: &Path) {
    let mut cargo = cargo_build(profile);
    cargo.args(["-p", "etcd", "-p", "etcdctl", "-p", "etcdutl", "-p", "bench"]);
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "cargo could not build the binaries under test");
}

fn cargo_build(profile: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build");
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    cargo
}

/// The server under test, built so that it says it is a version on.
///
/// Into a directory of its own, with what the two have in common taken from where this test was
/// built.
pub fn next_version() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let me = std::env::current_exe().expect("the test knows its own path");
        let profile = me.ancestors().nth(2).expect("tests are in target/<profile>/deps");
        let target = profile.parent().expect("tests are in target/<profile>/deps");
        let own = target.join("next-version");
        let mut cargo = cargo_build(profile);
        // All packages, so that those of others have the features that they have elsewhere.
        cargo.args(["--workspace", "--bin", "etcd", "--features", "etcd/next-version"]);
        cargo.arg("--target-dir").arg(&own);
        cargo.arg("--config").arg(format!("build.build-dir='{}'", target.display()));
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "cargo could not build the next version");
        own.join(profile.file_name().expect("a profile has a name")).join("etcd")
    })
}

fn speaks_go(binary: &Path) -> bool {
    version(binary).contains("Go Version: go1.")
}

fn speaks_version_3_4(binary: &Path) -> bool {
    version(binary).contains("3.4.")
}

fn version(binary: &Path) -> String {
    let output = Command::new(binary).arg("--version").env("ETCDCTL_API", "2").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
