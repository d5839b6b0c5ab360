//! Runs of command line tools, with a time limit and all that they printed.

use std::{
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::logs::Log;

/// No command that a test runs to its end takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// How a command ended and what it printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    /// `None`: a signal ended it.
    pub exit: Option<i32>,
}

/// Runs a command to its end, with `stdin` as its input.
pub fn run(command: &mut Command, stdin: &str) -> Output {
    let mut running = start(command, stdin);
    let deadline = Instant::now() + LIMIT;
    let exit = loop {
        if let Some(status) = running.child.try_wait().expect("a child can be waited for") {
            break status.code();
        }
        assert!(Instant::now() < deadline, "{command:?} is still running after {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(2));
    };
    running.finish(exit)
}

/// A command that goes on in the background.
pub struct Running {
    child: Child,
    stdout: Log,
    stderr: Log,
    gatherers: Vec<std::thread::JoinHandle<()>>,
}

/// Starts a command in the background.
pub fn start(command: &mut Command, stdin: &str) -> Running {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|problem| panic!("{command:?}: {problem}"));
    let mut input = child.stdin.take().expect("stdin is piped");
    let given = input.write_all(stdin.as_bytes());
    // A command that does not read its input may be gone by now.
    drop((given, input));
    let (stdout, stderr) = (Log::default(), Log::default());
    let gatherers = vec![
        stdout.gather(child.stdout.take().expect("stdout is piped")),
        stderr.gather(child.stderr.take().expect("stderr is piped")),
    ];
    Running { child, stdout, stderr, gatherers }
}

impl Running {
    /// The whole lines printed so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// And what it complained of.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for the end, which must come by itself within `limit`.
    pub fn wait(mut self, limit: Duration) -> Output {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return self.finish(status.code());
            }
            if deadline < Instant::now() {
                let (stdout, stderr) = (self.stdout.lines(), self.stderr.lines());
                self.stop();
                panic!("still running after {limit:?}: stdout {stdout:?}, stderr {stderr:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    /// Ends it as Ctrl-C does, and gives what it had printed.
    pub fn interrupt(self) -> Output {
        self.signal(Signal::SIGINT);
        // Who starts the tests in the background of a script may have the signal ignored: then
        // `env --default-signal=INT` helps.
        self.wait(LIMIT)
    }

    fn stop(&mut self) {
        if self.is_running() {
            self.child.kill().expect("a running child can be killed");
            self.child.wait().expect("a child can be waited for");
        }
    }

    fn finish(&mut self, exit: Option<i32>) -> Output {
        for gatherer in self.gatherers.drain(..) {
            gatherer.join().expect("gathering does not panic");
        }
        Output { stdout: self.stdout.text(), stderr: self.stderr.text(), exit }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An `etcdctl` of API 3 that sees none of the caller's own settings.
pub fn etcdctl_v3(binary: &Path, endpoint: &str) -> Command {
    let mut command = bare_etcdctl(binary, "3");
    command.args(["--endpoints", endpoint]);
    command
}

/// An `etcdctl` of API 2 that sees none of the caller's own settings.
pub fn etcdctl(binary: &Path, endpoint: &str) -> Command {
    let mut command = bare_etcdctl(binary, "2");
    command.args(["--endpoints", endpoint]);
    command
}

/// An `etcdctl` that sees none of the caller's own settings, and is told of no endpoint.
pub fn bare_etcdctl(binary: &Path, api: &str) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD") {
            command.env_remove(name);
        }
    }
    command.env("ETCDCTL_API", api);
    command
}
