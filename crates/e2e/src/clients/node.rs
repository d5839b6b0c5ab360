//! Clients in JavaScript, with suites for `node --test`, in `suite.js` of their folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Surroundings, Tally, folder,
    install::{self, step},
};

const GET_NODE: &str = "apt-get install nodejs npm (18.19 or later)";

/// What a suite needs, in a directory of its own.
pub struct Node {
    client: &'static str,
    dir: PathBuf,
}

impl Node {
    /// Fetches what `package-lock.json` of the client pins; none without a network.
    pub fn install(client: &'static str) -> Option<Self> {
        let lock = fs::read_to_string(folder(client).join("package-lock.json"));
        let lock =
            lock.unwrap_or_else(|problem| panic!("package-lock.json of {client}: {problem}"));
        let dir = install::once(client, "npm", &lock, |dir| fetch(client, dir))?;
        Some(Self { client, dir })
    }

    /// Runs the suite, which is told where all members are.
    pub fn run(&self, surroundings: &Surroundings) -> Tally {
        fs::copy(folder(self.client).join("suite.js"), self.dir.join("suite.js"))
            .expect("target can be written");
        let node = Command::new("sh").args(["-c", "command -v node"]).output();
        let node = String::from_utf8(node.expect("sh runs").stdout).expect("a path");
        let mut command = surroundings.command(Path::new(node.trim()));
        command.args(["--test", "--test-reporter=tap", "suite.js"]).current_dir(&self.dir);
        let urls = surroundings.cluster.members.iter().map(crate::Member::url);
        command.env("ENDPOINTS", urls.collect::<Vec<_>>().join(","));
        let output = Surroundings::run(&mut command);
        assert_eq!(output.exit, Some(0), "{}{}", output.stdout, output.stderr);
        // A client that goes on when its test is over may fail it after all.
        let count = |word: &str| {
            let line = output.stdout.lines().find_map(|line| line.strip_prefix(word));
            line.and_then(|count| count.trim().parse::<usize>().ok())
        };
        for word in ["# fail", "# cancelled", "# skipped", "# todo"] {
            assert_eq!(count(word), Some(0), "{word}: {}", output.stdout);
        }
        let passed = count("# pass").expect("node counts them");
        Tally { passed, failed_as_listed: 0, not_run: 0, prove_nothing: 0 }
    }
}

fn fetch(client: &str, dir: &Path) -> Result<(), String> {
    step(Command::new("node").arg("--version"), GET_NODE)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(folder(client).join(file), dir.join(file)).expect("target can be written");
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(dir);
    // Left to itself it asks a registry that is out of reach for more than ten minutes.
    npm.args([
        "--fetch-retries=2",
        "--fetch-retry-mintimeout=500",
        "--fetch-retry-maxtimeout=2000",
    ]);
    npm.arg("--fetch-timeout=30000");
    step(&mut npm, GET_NODE).map(drop)
}
