//! `etcd-client`, whose tests come with the crate and are built here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    LIMIT, Surroundings, Tally, folder,
    install::{self, step},
    left_out, number_before,
};
use crate::run;

const CLIENT: &str = "rust-etcd-client";
const GET_PROTOC: &str = "apt-get install protobuf-compiler libprotobuf-dev";
/// What its authors' own script makes before.
const ROOT: [&[&str]; 2] =
    [&["user", "add", "root:rootpwd"], &["user", "grant-role", "root", "root"]];
/// It adds a fourth member, and waits for that to be started.
const ADDS_FOURTH: &str = "test_cluster";
/// What `protoc` itself brings, in a package of its own.
const WELL_KNOWN: &str = "/usr/include/google/protobuf/descriptor.proto";

/// The executables that cargo made of the crate's `tests/`.
pub struct Rust {
    executables: Vec<PathBuf>,
}

impl Rust {
    /// Fetches and builds what `Cargo.lock` pins; none without a network or `protoc`.
    pub fn install() -> Option<Self> {
        let folder = folder(CLIENT);
        let files = ["Cargo.toml", "Cargo.lock"].map(|file| {
            fs::read_to_string(folder.join(file)).unwrap_or_else(|problem| {
                panic!("{file} of {CLIENT}: {problem}");
            })
        });
        let dir = install::once(CLIENT, "crates.io", &files.concat(), build)?;
        let list = fs::read_to_string(dir.join("executables")).expect("it was written");
        Some(Self { executables: list.lines().map(PathBuf::from).collect() })
    }

    /// Runs all tests, those that its authors ignore too.
    pub fn run(&self, surroundings: &mut Surroundings) -> Tally {
        for arguments in ROOT {
            let mut command = surroundings.command(Path::new("etcdctl"));
            let output = Surroundings::run(command.env("ETCDCTL_API", "3").args(arguments));
            assert_eq!(output.exit, Some(0), "{arguments:?}: {output:?}");
        }
        let left_out = left_out::of(CLIENT);
        assert!(left_out.proves_nothing.is_empty(), "cargo's harness counts them all alike");
        let mut tally = Tally {
            passed: 0,
            failed_as_listed: 0,
            not_run: left_out.not_run.len(),
            prove_nothing: 0,
        };
        let all = self.names(surroundings);
        for test in &left_out.not_run {
            assert!(all.contains(test), "left-out.txt names a test that is not there: {test}");
        }
        for executable in &self.executables {
            let mut command = surroundings.command(executable);
            command.args(["--include-ignored", "--exact"]);
            for test in left_out.fail.iter().chain(&left_out.not_run) {
                command.args(["--skip", test]);
            }
            command.args(["--skip", ADDS_FOURTH]);
            let output = Surroundings::run(&mut command);
            assert_eq!(output.exit, Some(0), "{}{}", output.stdout, output.stderr);
            tally.passed += number_before(&output.stdout, "passed").expect("cargo's test harness");
        }
        for test in &left_out.fail {
            assert!(self.fails(surroundings, test), "{test} is left out, and passes");
            tally.failed_as_listed += 1;
        }
        assert!(all.iter().any(|test| test == ADDS_FOURTH), "{ADDS_FOURTH} is not there: {all:?}");
        self.add_fourth(surroundings);
        tally.passed += 1;
        tally
    }

    /// Runs the test that adds a member, which is started meanwhile and is removed in the end.
    fn add_fourth(&self, surroundings: &mut Surroundings) {
        let [executable] = self.with_test(surroundings, ADDS_FOURTH)[..] else {
            panic!("{ADDS_FOURTH} is in one executable");
        };
        let mut command = surroundings.command(executable);
        command.args(["--include-ignored", "--exact", ADDS_FOURTH]);
        let running = run::start(&mut command, "");
        let cluster = &mut surroundings.cluster;
        crate::eventually(LIMIT, "a member is added", || cluster.expects_fourth().then_some(()));
        cluster.start_fourth();
        let output = running.wait(LIMIT);
        assert_eq!(output.exit, Some(0), "{}{}", output.stdout, output.stderr);
        let mut fourth = cluster.forget(3);
        fourth.allow("permanently removed");
        let ended = fourth.reap(LIMIT);
        assert!(ended.success(), "{ended}:\n{}", fourth.log().text());
    }

    /// The executables that have a test of this name.
    fn with_test(&self, surroundings: &Surroundings, test: &str) -> Vec<&Path> {
        let has = |executable: &&PathBuf| {
            let mut command = surroundings.command(executable);
            let listed = Surroundings::run(command.arg("--list")).stdout;
            listed.lines().any(|line| line.strip_suffix(": test") == Some(test))
        };
        self.executables.iter().filter(has).map(PathBuf::as_path).collect()
    }

    /// The names of all tests.
    fn names(&self, surroundings: &Surroundings) -> Vec<String> {
        let mut names = Vec::new();
        for executable in &self.executables {
            let mut command = surroundings.command(executable);
            let output = Surroundings::run(command.arg("--list"));
            let listed = output.stdout.lines().filter_map(|line| line.strip_suffix(": test"));
            names.extend(listed.map(str::to_owned));
        }
        names
    }

    fn fails(&self, surroundings: &Surroundings, test: &str) -> bool {
        self.executables.iter().any(|executable| {
            let mut command = surroundings.command(executable);
            command.args(["--include-ignored", "--exact", test]);
            Surroundings::run(&mut command).exit != Some(0)
        })
    }
}

fn build(dir: &Path) -> Result<(), String> {
    let folder = folder(CLIENT);
    let own = dir.join("package");
    fs::create_dir_all(own.join("src")).expect("target can be written");
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(folder.join(file), own.join(file)).expect("target can be written");
    }
    fs::write(own.join("src/lib.rs"), "").expect("target can be written");
    step(Command::new("protoc").arg("--version"), GET_PROTOC)?;
    if std::env::var_os("PROTOC_INCLUDE").is_none() && !Path::new(WELL_KNOWN).exists() {
        return Err(format!("there is no {WELL_KNOWN}: {GET_PROTOC}"));
    }
    let cargo = |verb: &str| {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo = Command::new(program);
        cargo.arg(verb).arg("--locked").arg("--manifest-path").arg(own.join("Cargo.toml"));
        cargo
    };
    let metadata = step(cargo("metadata").args(["--format-version", "1"]), "install Rust")?;
    copy_tests(&metadata, &own.join("tests"));
    let mut test = cargo("test");
    test.args(["--no-run", "--message-format", "json", "--target-dir"]).arg(dir.join("target"));
    let built = step(&mut test, "install Rust")?;
    let messages = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_test = |message: &Value| message["target"]["kind"] == serde_json::json!(["test"]);
    let executables = messages.filter(is_test);
    let executables =
        executables.filter_map(|message| Some(message["executable"].as_str()?.to_owned()));
    let list: Vec<_> = executables.collect();
    fs::write(dir.join("executables"), list.join("\n")).expect("target can be written");
    Ok(())
}

/// The crate's tests, from where cargo has put its source.
fn copy_tests(metadata: &str, to: &Path) {
    let metadata: Value = serde_json::from_str(metadata).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let client = packages.iter().find(|package| package["name"] == "etcd-client");
    let manifest =
        client.and_then(|client| client["manifest_path"].as_str()).expect("it is locked");
    let from = Path::new(manifest).parent().expect("a manifest is in a folder").join("tests");
    fs::create_dir_all(to).expect("target can be written");
    for entry in fs::read_dir(from).expect("the crate comes with its tests") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().expect("a file has a name");
        fs::copy(&path, to.join(name)).expect("target can be written");
    }
}
