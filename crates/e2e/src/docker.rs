//! A docker daemon of its own for a test: with its own network, and gone without a trace with it.

use std::{
    fs::File,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    cluster::network::Network,
    rings,
    run::{self, Output},
};

/// From the start of the daemon to its first answer.
const START_LIMIT: Duration = Duration::from_mins(1);
/// The image under test.
pub const IMAGE: &str = "retcd";

/// A docker daemon. The ports that its containers publish are those of [`Docker::address`] alone.
pub struct Docker {
    daemon: Child,
    address: IpAddr,
    dir: TempDir,
    _network: Network,
}

impl Docker {
    /// A daemon that has the image; none where there is no docker, or none can run.
    pub fn start() -> Option<Self> {
        let started = Self::new();
        let why_not = started.as_ref().err().cloned().unwrap_or_default();
        rings::can_run("docker", started.is_ok(), &why_not).then_some(())?;
        let docker = started.ok()?;
        docker.build();
        Some(docker)
    }

    fn new() -> Result<Self, String> {
        for program in ["docker", "dockerd"] {
            let mut command = Command::new(program);
            let asked = command.arg("--version").stdout(Stdio::null()).status();
            asked.map_err(|problem| format!("{program}: {problem}"))?;
        }
        let mut network = Network::new()?;
        let (namespace, address) = network.join();
        let dir = tempfile::tempdir().map_err(|problem| problem.to_string())?;
        let log = File::create(dir.path().join("log")).map_err(|problem| problem.to_string())?;
        let errors = log.try_clone().map_err(|problem| problem.to_string())?;
        // What it starts is in a space of processes that ends with it, and what it mounts is in one
        // of mounts.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}"));
        command.args(["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]);
        command.arg("dockerd");
        for (flag, name) in [("data-root", "data"), ("exec-root", "run"), ("pidfile", "pid")] {
            command.arg(format!("--{flag}={}", dir.path().join(name).display()));
        }
        command.arg(format!("--host={}", socket(dir.path())));
        let daemon = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let daemon = daemon.map_err(|problem| format!("nsenter: {problem}"))?;
        let mut docker = Self { daemon, address, dir, _network: network };
        docker.wait()?;
        Ok(docker)
    }

    fn wait(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        while run::run(self.command("docker").arg("version"), "").exit != Some(0) {
            let ended = self.daemon.try_wait().ok().flatten();
            if ended.is_some() || deadline < Instant::now() {
                let log = std::fs::read_to_string(self.dir.path().join("log"));
                let log = log.unwrap_or_default();
                let last = log.lines().last().unwrap_or("it says nothing");
                return Err(format!("dockerd does not run: {last}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// By the command that is documented. One at a time: all gather what the image holds in one
    /// place.
    fn build(&self) {
        static BUILDING: Mutex<()> = Mutex::new(());
        let _building = BUILDING.lock().expect("the others did not fail");
        let mut xtask = self.command(option_env!("CARGO").unwrap_or("cargo"));
        xtask.args(["run", "--quiet", "--package", "xtask", "--", "image", "--dev", IMAGE]);
        let built = xtask.output().expect("cargo runs");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "cargo xtask image: {}\n{said}", built.status);
    }

    /// `docker compose`, or what did that before; none where there is neither.
    pub fn compose(&self) -> Option<Command> {
        let all = [&["docker-compose"][..], &["docker", "compose"]];
        let command = |words: &&[&str]| {
            let mut command = self.command(words[0]);
            command.args(&words[1..]);
            command
        };
        let is_there = |words: &&&[&str]| {
            let mut version = command(words);
            version.arg("version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        let found = all.iter().find(is_there).map(command);
        let why_not = "neither docker-compose nor docker compose";
        rings::can_run("docker compose", found.is_some(), why_not).then_some(found)?
    }

    /// Where the published ports of containers are: the guide's `HostIP`.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A program that talks to this daemon, in the repository's directory.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DOCKER_HOST", socket(self.dir.path())).env("HostIP", self.address.to_string());
        // Else the client reads what the developer has set up.
        command.env("DOCKER_CONFIG", self.dir.path()).env("DOCKER_BUILDKIT", "0");
        command.current_dir(repository());
        command
    }

    /// Runs `docker` with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run::run(self.command("docker").args(arguments), "")
    }

    /// The same; it must succeed. Gives what it prints.
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.exit, Some(0), "docker {}: {output:?}", arguments.join(" "));
        output.stdout.trim().to_owned()
    }

    /// Everything that a container has printed.
    pub fn logs(&self, container: &str) -> String {
        let output = self.run(&["logs", container]);
        output.stdout + &output.stderr
    }

    /// A directory that containers may be given.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let containers = self.run(&["ps", "--all", "--quiet"]).stdout;
            for container in containers.split_whitespace() {
                eprintln!("--- log of container {container} ---\n{}", self.logs(container));
            }
        }
        // In good order, it takes what it has made in the system's control groups with it.
        let all = self.run(&["ps", "--all", "--quiet"]).stdout;
        let mut remove = vec!["rm", "--force", "--volumes"];
        remove.extend(all.split_whitespace());
        drop(self.run(&remove));
        // It may have ended by itself: then there is nobody to kill.
        drop((self.daemon.kill(), self.daemon.wait()));
    }
}

fn socket(dir: &Path) -> String {
    format!("unix://{}", dir.join("docker.sock").display())
}

/// Where the repository is that this test was built from.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies in crates/").to_owned()
}
