//! Long work of `etcdctl` shows how far it is on a terminal, and says nothing of it anywhere else.

use std::{
    fs::File,
    io::Read as _,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use e2e::{
    Member, binaries, eventually,
    run::{self, Output},
    v3,
};
use nix::pty::{Winsize, openpty};
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
    shown: thread::JoinHandle<String>,
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
        let mut master = File::from(pty.master);
        let shown = thread::spawn(move || {
            let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
            // An error is the end of a terminal.
            while let Ok(length @ 1..) = master.read(&mut part) {
                bytes.extend_from_slice(&part[..length]);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { child, shown }
    }

    fn wait(mut self) -> (Option<i32>, String) {
        let status = eventually(PATIENCE, "it ends", || self.child.try_wait().expect("a child"));
        (status.code(), self.shown.join().expect("reading does not panic"))
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
