//! The Debian package as `cargo xtask deb` makes it: what is in it, and that it works where it lies.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{rings, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("it is there")
}

/// What a program prints, if all is well.
#[track_caller]
fn output(command: &mut Command) -> String {
    let run::Output { stdout, stderr, exit } = run::run(command, "");
    assert_eq!(exit, Some(0), "{command:?}: {stdout}{stderr}");
    stdout
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_package_holds_all_that_a_member_and_its_operator_need() {
    let why_not = "dpkg-deb, strip, gzip or systemd-analyze is missing";
    let all = ["dpkg-deb", "strip", "gzip", "systemd-analyze"].into_iter().all(has);
    if !rings::can_run("debian-package", all, why_not) {
        return;
    }
    let mut xtask = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    xtask.current_dir(root()).args(["run", "--quiet", "--package", "xtask", "--", "deb", "--dev"]);
    // What is built first may take longer than a test's command should.
    let made = xtask.output().expect("cargo starts");
    let [printed, problems] =
        [made.stdout, made.stderr].map(|text| String::from_utf8(text).expect("text"));
    assert!(made.status.success(), "{problems}");
    let package = root().join(printed.lines().last().expect("it says where the package is"));
    let field = |name: &str| {
        output(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name)).trim().to_owned()
    };
    assert_eq!(field("Package"), "retcd");
    assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));
    assert_eq!(field("Provides"), "etcd-server, etcd-client");
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let at = |path: &str| dir.path().join(path);
    output(Command::new("dpkg-deb").arg("--raw-extract").arg(&package).arg(dir.path()));
    for path in [
        "DEBIAN/conffiles",
        "etc/default/etcd",
        "usr/lib/systemd/system/etcd.service",
        "usr/share/bash-completion/completions/etcdctl",
        "usr/share/bash-completion/completions/etcdutl",
        "usr/share/zsh/vendor-completions/_etcdctl",
        "usr/share/fish/vendor_completions.d/etcdctl.fish",
        "usr/share/man/man1/etcd.1.gz",
        "usr/share/man/man1/etcdctl.1.gz",
        "usr/share/man/man1/etcdctl-snapshot-save.1.gz",
        "usr/share/man/man1/etcdutl.1.gz",
        "usr/share/doc/retcd/copyright",
    ] {
        assert!(at(path).is_file(), "{path} is not in it");
    }
    let version = output(Command::new(at("usr/bin/etcd")).arg("--version"));
    assert!(version.contains(&format!("retcd Version: {}", field("Version"))), "{version}");
    for tool in ["etcdctl", "etcdutl"] {
        output(Command::new(at("usr/bin").join(tool)).env("ETCDCTL_API", "3").arg("version"));
        let script = at("usr/share/bash-completion/completions").join(tool);
        output(Command::new("bash").arg("-n").arg(script));
    }
    let page = output(Command::new("gzip").arg("-dc").arg(at("usr/share/man/man1/etcd.1.gz")));
    assert!(page.contains(".B \\-\\-data\\-dir ''\n"), "{page}");
    for script in ["postinst", "prerm", "postrm"] {
        output(Command::new("sh").arg("-n").arg(at("DEBIAN").join(script)));
    }
    check_unit(&at("usr/lib/systemd/system/etcd.service"), &at("usr/bin/etcd"));
}

/// systemd takes the unit as it is, but for where the binary lies here.
fn check_unit(unit: &Path, binary: &Path) {
    let text = std::fs::read_to_string(unit).expect("a unit");
    assert!(text.contains("\nType=notify\n") && text.contains("\nExecStart=/usr/bin/etcd\n"));
    let here = text.replace("/usr/bin/etcd", &binary.display().to_string());
    std::fs::write(unit, here).expect("it can be written");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(unit);
    let run::Output { stdout, stderr, exit } = run::run(&mut verify, "");
    assert_eq!((exit, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
}
