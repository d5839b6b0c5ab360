//! Runs of the binary, each in an empty directory of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// Nothing here takes longer, unless the machine is busy or something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Ports that the system chooses: the log says which.
pub(crate) const ANY_PORTS: [&str; 4] = [
    "--listen-client-urls=http://127.0.0.1:0",
    "--advertise-client-urls=http://127.0.0.1:0",
    "--listen-peer-urls=http://127.0.0.1:0",
    "--initial-advertise-peer-urls=http://127.0.0.1:0",
];

/// The binary, in `dir`, with none of the caller's own settings.
pub(crate) fn etcd(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcd"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD_") || name == "NOTIFY_SOCKET" {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A run that came to its end.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs to the end, which must come by itself.
pub(crate) fn run(command: &mut Command) -> Ran {
    let mut child = command.spawn().unwrap();
    let status = wait(&mut child, PATIENCE);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    Ran { status, stdout, stderr }
}

fn wait(child: &mut Child, limit: Duration) -> ExitStatus {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still running after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A server that serves.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    /// What the log has said so far.
    pub(crate) log: Vec<String>,
    pub(crate) address: SocketAddr,
    own_dir: Option<TempDir>,
}

impl Server {
    /// A server in a directory of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = etcd(dir.path());
        command.args(ANY_PORTS).arg("--data-dir=data").args(arguments);
        let mut server = Self::spawn(&mut command);
        server.own_dir = Some(dir);
        server
    }

    /// Starts `command` and waits until its log says that it serves.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut server = Self::launch(command);
        let line = server.wait_for("serving insecure client requests on ");
        let address = line.rsplit(' ').next().unwrap();
        // zap's JSON goes on after it.
        let address = address.trim_end_matches(['"', '}']);
        server.address = address.parse().unwrap_or_else(|_| panic!("no address: {line}"));
        server
    }

    /// Starts `command` and waits for nothing.
    pub(crate) fn launch(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                // The test may be over.
                drop(sender.send(line.unwrap()));
            }
        });
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { child, lines, log: Vec::new(), address, own_dir: None }
    }

    /// Reads the log up to a line with `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with \"{text}\" in {:#?}", self.log);
            };
            self.log.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait(&mut self.child, limit)
    }

    /// What the server answers to a request on a connection that closes after it.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> String {
        let mut stream = self.send(method, target, body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends a request and does not wait for the answer.
    pub(crate) fn send(&self, method: &str, target: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop((self.child.kill(), self.child.wait()));
    }
}

/// All that lies below `dir`, sorted, with the contents of files.
pub(crate) fn tree(dir: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            if path.is_dir() {
                found.push((name, None));
                dirs.push(path);
            } else {
                found.push((name, Some(fs::read(&path).unwrap())));
            }
        }
    }
    found.sort();
    found
}
