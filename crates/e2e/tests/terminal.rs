//! Long work of `etcdctl` shows how far it is on a terminal, and says nothing of it anywhere else.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use e2e::{
    Member, Request, Start, binaries, eventually,
    run::{self, Output},
    v3,
};
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::Signal,
        termios::{LocalFlags, tcgetattr},
    },
};
use tempfile::TempDir;

/// Generous, since tests share the machine.
const PATIENCE: Duration = Duration::from_mins(2);

fn etcdctl(member: &Member, arguments: &[&str]) -> Command {
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &member.url());
    command.args(arguments);
    command
}

/// A command on a terminal of its own, and what that shows until the command ends.
struct OnTerminal {
    child: Child,
    shown: thread::JoinHandle<()>,
    so_far: Arc<Mutex<Vec<u8>>>,
    /// The side of whoever sits before it.
    user: File,
}

impl OnTerminal {
    fn start(mut command: Command) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("the system has terminals");
        let side = || Stdio::from(pty.slave.try_clone().expect("a descriptor is left"));
        command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side());
        let child = command.spawn().expect("it starts");
        // Its end is seen once nobody has the other side any more.
        drop((command, pty.slave));
        let user = File::from(pty.master);
        let mut master = user.try_clone().expect("a descriptor is left");
        let so_far = Arc::new(Mutex::new(Vec::new()));
        let bytes = Arc::clone(&so_far);
        let shown = thread::spawn(move || {
            let mut part = [0; 4096];
            // An error is the end of a terminal.
            while let Ok(length @ 1..) = master.read(&mut part) {
                bytes.lock().unwrap().extend_from_slice(&part[..length]);
            }
        });
        Self { child, shown, so_far, user }
    }

    fn shows(&self) -> String {
        String::from_utf8_lossy(&self.so_far.lock().unwrap()).into_owned()
    }

    fn wait(self) -> (Option<i32>, String) {
        let (status, shown) = self.ends();
        (status.code(), shown)
    }

    fn ends(mut self) -> (ExitStatus, String) {
        let status = eventually(PATIENCE, "it ends", || self.child.try_wait().expect("a child"));
        self.shown.join().expect("reading does not panic");
        let shown = String::from_utf8_lossy(&self.so_far.lock().unwrap()).into_owned();
        (status, shown)
    }
}

/// What it prints where nobody looks on.
fn piped(command: &mut Command) -> Output {
    let output = run::start(command, "").wait(PATIENCE);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert!(!output.stdout.contains(['\r', '\u{1b}']), "{output:?}");
    output
}

/// Of a bar that comes, goes on and is taken away again.
fn has_bar(shown: &str, name: &str) {
    assert!(shown.matches(&format!("{name} ")).count() > 1, "{shown:?}");
    assert!(shown.contains("\u{1b}["), "{shown:?}");
}

#[test]
fn saving_a_snapshot_has_a_bar_on_a_terminal_alone() {
    let (member, dir) = (Member::start(), TempDir::new().unwrap());
    let value = "v".repeat(1 << 20);
    for key in 0..24 {
        v3::put(&member, &format!("k{key}"), &value);
    }
    let path = |name: &str| dir.path().join(name).display().to_string();
    let ended = |path: &str| format!("Snapshot saved at {path}\nServer version 3.6.0\n");

    let quiet = path("quiet");
    let output = piped(&mut etcdctl(&member, &["snapshot", "save", &quiet]));
    assert_eq!(output.stdout, ended(&quiet));

    let seen = path("seen");
    let (exit, shown) = OnTerminal::start(etcdctl(&member, &["snapshot", "save", &seen])).wait();
    assert_eq!(exit, Some(0), "{shown:?}");
    has_bar(&shown, "snapshot");
    // Nothing of it is left on the line that is printed at the end.
    let last = ended(&seen).replace('\n', "\r\n");
    assert!(shown.ends_with(&last), "{shown:?}");
    assert_eq!(std::fs::metadata(&seen).unwrap().len(), std::fs::metadata(&quiet).unwrap().len());
}

#[test]
fn a_mirror_counts_on_a_terminal_alone() {
    let (from, to) = (Member::start(), Member::start());
    for key in 0..50 {
        v3::put(&from, &format!("k{key}"), "v");
    }
    let mirror = || etcdctl(&from, &["make-mirror", &to.url()]);
    let has_come = |key: &str| {
        let got = run::run(&mut etcdctl(&to, &["get", key, "--print-value-only"]), "");
        (got.stdout == "v\n").then_some(())
    };
    let running = run::start(&mut mirror(), "");
    eventually(PATIENCE, "all is copied", || has_come("k9"));
    v3::put(&from, "later", "v");
    eventually(PATIENCE, "what changes comes too", || has_come("later"));
    assert_eq!((running.stdout(), running.stderr()), (Vec::new(), Vec::new()));
    drop(running);

    let mut on_terminal = OnTerminal::start(mirror());
    v3::put(&from, "last", "v");
    eventually(PATIENCE, "it goes on", || has_come("last"));
    thread::sleep(Duration::from_millis(300));
    on_terminal.child.kill().unwrap();
    let (_, shown) = on_terminal.wait();
    assert!(shown.contains("mirror "), "{shown:?}");
}

#[test]
fn checks_show_how_far_they_are_on_a_terminal_alone() {
    let member = Member::start();
    let perf = ["check", "perf", "--duration=3s"];
    // Whether the machine is quick enough is not the question.
    let output = run::start(&mut etcdctl(&member, &perf), "").wait(PATIENCE);
    assert_eq!(output.stderr, "", "{output:?}");
    let rows = output.stdout.lines().count();
    assert!(rows == 4 && output.stdout.contains("Throughput"), "{output:?}");
    let (_, shown) = OnTerminal::start(etcdctl(&member, &perf)).wait();
    has_bar(&shown, "check perf (seconds)");
    assert!(shown.contains("Throughput"), "{shown:?}");

    let datascale = ["check", "datascale", "--load=s"];
    let output = piped(&mut etcdctl(&member, &datascale));
    let rows: Vec<_> = output.stdout.lines().collect();
    assert!(
        matches!(rows[..], [first, last]
        if first.starts_with("Start data scale check") && last.starts_with("PASS: ")),
        "{rows:?}"
    );
    let (exit, shown) = OnTerminal::start(etcdctl(&member, &datascale)).wait();
    assert_eq!(exit, Some(0), "{shown:?}");
    has_bar(&shown, "check datascale");
}

/// With a terminal as the one that controls it, whatever the test itself has.
fn in_a_session(command: &Command) -> Command {
    let mut session = Command::new("setsid");
    // Whoever starts the tests in the background of a script lets them ignore these.
    session.args(["--ctty", "--wait", "env", "--default-signal=INT,QUIT"]);
    session.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => session.env(name, value),
            None => session.env_remove(name),
        };
    }
    session
}

fn asks(command: &Command) -> OnTerminal {
    let terminal = OnTerminal::start(in_a_session(command));
    eventually(PATIENCE, "it asks, and hides what is typed", || {
        (terminal.shows().contains("Password: ") && !echoes(&terminal)).then_some(())
    });
    terminal
}

fn echoes(terminal: &OnTerminal) -> bool {
    let modes = tcgetattr(&terminal.user).expect("a terminal").local_flags;
    modes.contains(LocalFlags::ECHO | LocalFlags::ISIG)
}

#[test]
fn a_password_is_asked_for_at_the_terminal_unseen() {
    let member = Start::new().flag("--bcrypt-cost=4").start();
    for arguments in [
        &["user", "add", "root:geheim"][..],
        &["user", "grant-role", "root", "root"],
        &["put", "/x", "of v3"],
        &["auth", "enable"],
    ] {
        let output = run::run(&mut etcdctl(&member, arguments), "");
        assert_eq!(output.exit, Some(0), "{output:?}");
    }
    let asked =
        Request::put("/v2/keys/x", "of v2").header("Authorization", "Basic cm9vdDpnZWhlaW0=");
    assert_eq!(member.ask(&asked).status, 200);
    let mut old = run::etcdctl(&binaries::etcdctl(), &member.url());
    old.args(["--username", "root", "get", "/x"]);
    let new = etcdctl(&member, &["--user", "root", "get", "/x", "--print-value-only"]);
    for command in [old, new] {
        let mut terminal = asks(&command);
        // What is rubbed out is not part of it.
        terminal.user.write_all(b"geheimx\x7f\n").unwrap();
        let (exit, shown) = terminal.wait();
        assert_eq!((exit, shown.as_str()), (Some(0), "Password: \r\nof v2\r\n"), "{command:?}");

        for (key, signal) in [(b"\x03", Signal::SIGINT), (b"\x1c", Signal::SIGQUIT)] {
            let mut terminal = asks(&command);
            terminal.user.write_all(b"geh").unwrap();
            terminal.user.write_all(key).unwrap();
            eventually(PATIENCE, "the terminal is as it was", || echoes(&terminal).then_some(()));
            let (status, shown) = terminal.ends();
            let told = status.signal().or(status.code().map(|code| code - 128));
            assert_eq!(told, Some(signal as i32), "{status:?}: {shown:?}");
            assert!(!shown.contains("geh"), "{shown:?}");
        }
    }
}
