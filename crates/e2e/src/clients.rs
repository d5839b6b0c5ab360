//! Clients that others wrote, and the tests that they ship: `crates/e2e/clients/README.md`.
//!
//! What they consist of is fetched by the package managers of their languages, at pinned versions
//! with hashes, into `target/clients/`. Their tests run in the network namespace of a member, who is
//! at `localhost:2379` there.

pub mod etcd35;
mod install;
mod left_out;
pub mod node;
pub mod python;
pub mod rust;

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    binaries,
    cluster::Cluster,
    run::{self, Output},
};

/// No suite takes longer, by far.
const LIMIT: Duration = Duration::from_mins(8);

/// How many tests of a suite ended so; those that failed are told at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    /// Of those that are listed as failing: they were run and have failed.
    pub failed_as_listed: usize,
    /// Of those that are listed so; any other that skips itself fails its suite.
    pub not_run: usize,
    /// Of those that are listed so: they pass whatever the server does.
    pub prove_nothing: usize,
}

impl std::ops::Add for Tally {
    type Output = Self;

    /// Of two parts of a suite.
    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed_as_listed: self.failed_as_listed + other.failed_as_listed,
            not_run: self.not_run + other.not_run,
            prove_nothing: self.prove_nothing + other.prove_nothing,
        }
    }
}

/// The folder of a client in the sources: what is pinned, and what is left out.
fn folder(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(client)
}

/// Three members, and the programs that suites look for on their `PATH`.
pub struct Surroundings {
    pub cluster: Cluster,
    programs: TempDir,
}

impl Surroundings {
    /// Starts the members, each with these flags; none where the machine has no namespaces.
    pub fn start(flags: &[&str]) -> Option<Self> {
        let cluster = Cluster::start_for_clients(flags)?;
        let programs = tempfile::tempdir().expect("/tmp can be written");
        let surroundings = Self { cluster, programs };
        surroundings.provide();
        Some(surroundings)
    }

    /// Expects complaints with this text in the logs of members.
    pub fn allow(&mut self, complaint: &str) {
        self.cluster.members.iter_mut().for_each(|member| member.allow(complaint));
    }

    /// Puts the binaries under test into a directory, and what finds the members.
    fn provide(&self) {
        let at = |name: &str| self.programs.path().join(name);
        symlink(binaries::etcdctl(), at("etcdctl")).expect("a temporary directory takes a link");
        if binaries::is_original() {
            let script = format!("exec '{}' \"$@\" --enable-v2=true", binaries::etcd().display());
            write_script(&at("etcd"), &script);
        } else {
            symlink(binaries::etcd(), at("etcd")).expect("a temporary directory takes a link");
        }
        // Suites stop two members of three, whom they look for by the names that pifpaf gives: those
        // of other tests, which run beside this one, have the same.
        let pids = self.cluster.members[1..].iter().map(|member| member.pid().to_string());
        let pids = pids.collect::<Vec<_>>().join("\\n");
        write_script(&at("pgrep"), &format!("printf '{pids}\\n'"));
    }

    /// A program in the namespace of the first member, with none of the caller's own settings.
    fn command(&self, program: &Path) -> Command {
        let mut command = self.cluster.members[0].beside(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD") {
                command.env_remove(name);
            }
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = self.programs.path().to_owned();
        let paths = std::iter::once(own).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(paths).expect("a path without colons"));
        command
    }

    fn run(command: &mut Command) -> Output {
        run::start(command, "").wait(LIMIT)
    }
}

fn write_script(path: &Path, line: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{line}\n")).expect("a temporary directory takes it");
    let may_run = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, may_run).expect("it is ours");
}

/// The number before a word: `3` of `1 failed, 3 passed`.
fn number_before(text: &str, word: &str) -> Option<usize> {
    let words: Vec<_> = text.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|one| *one == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}
