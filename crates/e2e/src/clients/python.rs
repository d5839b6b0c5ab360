//! Clients in Python, with suites for pytest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Surroundings, Tally, folder,
    install::{self, step},
    left_out, number_before,
};

const GET_PYTHON: &str = "apt-get install python3-venv (3.11 or later)";

/// A client with its suite, in a virtual environment of its own.
pub struct Python {
    client: &'static str,
    environment: PathBuf,
    source: PathBuf,
}

impl Python {
    /// Fetches what `requirements.txt` and `source.txt` of the client pin; none without a network.
    pub fn install(client: &'static str) -> Option<Self> {
        let pinned = |file: &str| {
            let path = folder(client).join(file);
            fs::read_to_string(&path).unwrap_or_else(|problem| {
                panic!("{}: {problem}", path.display());
            })
        };
        let stamp = pinned("requirements.txt") + &pinned("source.txt");
        let dir = install::once(client, "pypi", &stamp, |dir| fetch(client, dir))?;
        let (environment, source) = (dir.join("environment"), dir.join("source"));
        Some(Self { client, environment, source })
    }

    /// Runs the tests at these places of the source, whose modules are in `root`.
    pub fn run(&self, surroundings: &Surroundings, root: &str, tests: &[&str]) -> Tally {
        let mut command = surroundings.command(&self.environment.join("bin/python"));
        command.args(["-m", "pytest", "-p", "left_out", "-p", "no:cacheprovider"]);
        // The settings of its own are for its authors: coverage and the like.
        command.args(["-c", "/dev/null", "-o", "asyncio_mode=auto", "-q", "-ra"]);
        command.arg("--rootdir").arg(&self.source).args(tests).current_dir(&self.source);
        let modules = [self.source.join(root), folder("pytest")];
        command.env("PYTHONPATH", std::env::join_paths(modules).expect("no colons"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // `etcd3` leaves out what it takes the server to be too old for.
        command.env("TEST_ETCD_VERSION", "v3.6.0");
        let left_out = left_out::of(self.client).within(tests);
        command.env("LEFT_OUT_FAIL", left_out.fail.join("\n"));
        command.env("LEFT_OUT_NOT_RUN", left_out.not_run.join("\n"));
        command.env("LEFT_OUT_PROVE_NOTHING", left_out.proves_nothing.join("\n"));
        let output = Surroundings::run(&mut command);
        assert_eq!(output.exit, Some(0), "{}{}", output.stdout, output.stderr);
        let last = output.stdout.lines().last().unwrap_or_default();
        let count = |word| number_before(last, word).unwrap_or_default();
        // What skips itself is among them.
        let not_run = count("skipped");
        let listed = left_out.not_run.len();
        assert!(not_run <= listed, "{not_run} are skipped, {listed} listed: {}", output.stdout);
        // All of them have passed: any that fails fails the suite.
        let prove_nothing = left_out.proves_nothing.len();
        Tally {
            passed: count("passed") - prove_nothing,
            failed_as_listed: count("xfailed"),
            not_run,
            prove_nothing,
        }
    }
}

fn fetch(client: &str, dir: &Path) -> Result<(), String> {
    let folder = folder(client);
    let environment = dir.join("environment");
    let new_enough = "import sys; sys.exit(sys.version_info < (3, 11))";
    let mut look = Command::new("python3");
    if !look.args(["-c", new_enough]).status().is_ok_and(|status| status.success()) {
        return Err(format!("there is no python3 that is new enough: {GET_PYTHON}"));
    }
    if !Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return Err(format!("python3 has no venv: {GET_PYTHON}"));
    }
    let mut make = Command::new("python3");
    step(make.args(["-m", "venv"]).arg(&environment), GET_PYTHON)?;
    let pip = || {
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args(["-m", "pip", "--disable-pip-version-check", "--retries", "2", "--timeout", "30"]);
        pip
    };
    let mut install = pip();
    install.args(["install", "--quiet", "--require-hashes", "-r"]);
    step(install.arg(folder.join("requirements.txt")), GET_PYTHON)?;
    // What has the tests in it is the source alone. Its metadata are made by what was just installed.
    let mut download = pip();
    download.args(["download", "--quiet", "--no-deps", "--no-build-isolation"]);
    download.args(["--no-binary", ":all:", "--require-hashes", "-r"]);
    download.arg(folder.join("source.txt")).arg("--dest").arg(dir.join("packed"));
    step(&mut download, GET_PYTHON)?;
    let mut packed = fs::read_dir(dir.join("packed")).expect("pip has made it");
    let archive = packed.next().expect("pip has fetched a file").expect("it can be listed").path();
    fs::create_dir(dir.join("source")).expect("target can be written");
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(archive).arg("--strip-components=1").arg("-C").arg(dir.join("source"));
    step(&mut unpack, "apt-get install tar")?;
    Ok(())
}
