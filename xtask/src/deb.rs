//! The Debian package: binaries, the unit for systemd, completions and manual pages.
//!
//! Made by `dpkg-deb`, which every Debian has, of a tree that is put together here.

mod page;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo::{cargo, run, show};

/// All that the package holds.
const STAGE: &str = "target/deb/root";
const BINARIES: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];
/// Those that complete themselves in a shell, and have pages for each command.
const TOOLS: [&str; 2] = ["etcdctl", "etcdutl"];
/// Shells, and where their completions lie: `{}` is the tool.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/{}"),
    ("zsh", "usr/share/zsh/vendor-completions/_{}"),
    ("fish", "usr/share/fish/vendor_completions.d/{}.fish"),
];
/// Files of the repository that go along as they are, and their modes.
const FILES: [(&str, &str, u32); 9] = [
    ("contrib/systemd/etcd.service", "usr/lib/systemd/system/etcd.service", 0o644),
    ("contrib/debian/etcd.default", "etc/default/etcd", 0o644),
    ("contrib/debian/postinst", "DEBIAN/postinst", 0o755),
    ("contrib/debian/prerm", "DEBIAN/prerm", 0o755),
    ("contrib/debian/postrm", "DEBIAN/postrm", 0o755),
    ("LICENSE", "usr/share/doc/retcd/copyright", 0o644),
    ("docs/differences.md", "usr/share/doc/retcd/differences.md", 0o644),
    ("contrib/grafana/retcd.json", "usr/share/doc/retcd/examples/grafana.json", 0o644),
    ("contrib/prometheus/alerts.yml", "usr/share/doc/retcd/examples/alerts.yml", 0o644),
];

/// `[--dev]`: builds the binaries, and the package of them.
pub(crate) fn build(rest: &[String]) -> Result<()> {
    let profile = match rest {
        [] => "release",
        [flag] if flag == "--dev" => "debug",
        _ => bail!("it takes --dev (without optimisations)"),
    };
    let mut command = cargo(["build"]);
    if profile == "release" {
        command.arg("--release");
    }
    // Not by package: so that those of others have the features that they have elsewhere.
    for binary in BINARIES {
        command.args(["--bin", binary]);
    }
    run(command)?;
    let built = Path::new("target").join(profile);
    // Squeezing binaries without optimisations takes minutes, for nobody.
    let squeeze = if profile == "release" { "-Zxz" } else { "-Znone" };
    let package = package(&built, Path::new(STAGE), squeeze)?;
    println!("{}", package.display());
    Ok(())
}

/// Makes a package of the binaries in `built`, pressed as `dpkg-deb` is told to; says where it is.
fn package(built: &Path, stage: &Path, squeeze: &str) -> Result<PathBuf> {
    if stage.exists() {
        fs::remove_dir_all(stage).with_context(|| format!("remove {}", stage.display()))?;
    }
    for binary in BINARIES {
        put(&built.join(binary), &stage.join("usr/bin").join(binary), 0o755)?;
        // What is left out serves debuggers alone.
        let mut strip = Command::new("strip");
        run({
            strip.arg("--strip-debug").arg(stage.join("usr/bin").join(binary));
            strip
        })?;
    }
    for (from, to, mode) in FILES {
        put(Path::new(from), &stage.join(to), mode)?;
    }
    for tool in TOOLS {
        describe(built, tool, stage)?;
    }
    let help = output(Command::new(built.join("etcd")).arg("--help"))?;
    write(&stage.join("usr/share/man/man1/etcd.1"), page::of_help("etcd", &help))?;
    zip_pages(&stage.join("usr/share/man/man1"))?;
    write(&stage.join("DEBIAN/conffiles"), "/etc/default/etcd\n")?;
    let version = version(built)?;
    let control = control(built, stage, &version)?;
    write(&stage.join("DEBIAN/control"), control)?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let name = format!("retcd_{version}_{}.deb", architecture.trim());
    let package = stage.with_file_name(name);
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args([squeeze, "--root-owner-group", "--build"]).arg(stage).arg(&package);
    run(dpkg)?;
    Ok(package)
}

/// Completions and pages, as the tool itself writes them.
fn describe(built: &Path, tool: &str, stage: &Path) -> Result<()> {
    let tell = |arguments: &[&str]| {
        output(Command::new(built.join(tool)).env("ETCDCTL_API", "3").args(arguments))
    };
    for (shell, place) in SHELLS {
        let script = tell(&["completion", shell])?;
        write(&stage.join(place.replace("{}", tool)), script)?;
    }
    let pages = stage.join("usr/share/man/man1");
    fs::create_dir_all(&pages).with_context(|| format!("make {}", pages.display()))?;
    tell(&["man-pages", pages.to_str().context("a path is text")?])?;
    Ok(())
}

fn zip_pages(pages: &Path) -> Result<()> {
    let mut gzip = Command::new("gzip");
    gzip.args(["--best", "--no-name", "--force"]);
    for entry in fs::read_dir(pages).with_context(|| format!("read {}", pages.display()))? {
        gzip.arg(entry?.path());
    }
    run(gzip)
}

/// The product's own: the original's is what clients test for.
fn version(built: &Path) -> Result<String> {
    let text = output(Command::new(built.join("etcd")).arg("--version"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("retcd Version: "));
    Ok(line.context("etcd --version says what it is")?.trim().to_owned())
}

fn control(built: &Path, stage: &Path, version: &str) -> Result<String> {
    let mut glibc = (2, 17);
    for binary in BINARIES {
        glibc = glibc.max(needs(&fs::read(built.join(binary))?));
    }
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let size = output(Command::new("du").args(["--summarize", "--apparent-size"]).arg(stage))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let (major, minor) = glibc;
    Ok(format!(
        "Package: retcd\nVersion: {version}\nArchitecture: {}\nMaintainer: the founders of retcd \
         <retcd@invalid>\nInstalled-Size: {size}\nDepends: libc6 (>= {major}.{minor}), adduser, \
         init-system-helpers\nProvides: etcd-server, etcd-client\nConflicts: etcd-server, \
         etcd-client, etcd\nReplaces: etcd-server, etcd-client, etcd\nSection: net\nPriority: \
         optional\nDescription: distributed key-value store, a drop-in for etcd\n An etcd of 2.3 and \
         of 3.6 in one, with the same flags, APIs and tools: etcd,\n etcdctl and etcdutl.\n",
        architecture.trim()
    ))
}

/// The newest version of the C library of which a binary wants something.
fn needs(binary: &[u8]) -> (u32, u32) {
    let mark = b"GLIBC_2.";
    let places = binary.windows(mark.len()).enumerate().filter(|(_, window)| window == mark);
    let minors = places.filter_map(|(at, _)| {
        let rest = binary.get(at + mark.len()..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
    });
    (2, minors.max().unwrap_or(0))
}

/// What a program prints, if all is well.
fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.output().with_context(|| format!("start {shown}"))?;
    ensure!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).with_context(|| format!("read what {shown} says"))
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    write(to, content)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", to.display()))
}

fn write(to: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let dir = to.parent().context("a file lies in a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    fs::write(to, content).with_context(|| format!("write {}", to.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_newest_c_library_that_is_wanted_is_found() {
        let binary = b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0";
        assert_eq!(super::needs(binary), (2, 34));
        assert_eq!(super::needs(b""), (2, 0));
    }
}
