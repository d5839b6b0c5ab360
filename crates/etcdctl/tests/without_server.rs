//! What `etcdctl` does where there is no server: help, mistakes, endpoints that nobody answers.
//! With servers it is tested in `e2e`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

/// What a run left behind.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    stdout: String,
    stderr: String,
    exit: Option<i32>,
}

fn etcdctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcdctl"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCDCTL_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        exit: output.status.code(),
    }
}

fn run(arguments: &[&str]) -> Outcome {
    outcome(&mut etcdctl(arguments))
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn help_is_on_stdout_and_mistakes_are_on_stderr() {
    for arguments in [&[][..], &["help"], &["-help"], &["help", "get"], &["get", "-h"], &["member"]]
    {
        let outcome = run(arguments);
        assert_eq!((outcome.exit, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(outcome.stdout.contains("Usage:"), "{arguments:?}");
    }
    for arguments in [&["no-such-command"][..], &["get", "-no-such-flag"], &["member", "no-such"]] {
        let outcome = run(arguments);
        assert_eq!((outcome.exit, outcome.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(outcome.stderr.contains("no-such"), "{outcome:?}");
    }
    let version = run(&["--version"]);
    assert!(version.stdout.starts_with("etcdctl version ") && version.exit == Some(0));
}

#[test]
fn missing_arguments_are_named_before_anybody_is_asked() {
    let endpoint = nobody();
    for (arguments, said) in [
        (&["get"][..], "Error:  key required\n"),
        (&["set"], "Error:  key required\n"),
        (&["mk", "/k"], "Error:  value required\n"),
        (&["update", "/k"], "Error:  value required\n"),
        (&["rm"], "Error:  key required\n"),
        (&["setdir"], "Error:  key required\n"),
        (&["watch"], "Error:  key required\n"),
        (&["exec-watch", "/k"], "Error:  key and command to exec required\n"),
        (&["exec-watch", "/k", "--"], "Error:  key and command to exec required\n"),
        (&["member", "list", "x"], "No arguments accepted\n"),
    ] {
        let outcome = outcome(etcdctl(&["--endpoints", &endpoint]).args(arguments));
        let wanted = Outcome { stdout: String::new(), stderr: said.to_owned(), exit: Some(1) };
        assert_eq!(outcome, wanted, "{arguments:?}");
    }
}

#[test]
fn an_unreachable_cluster_is_described_by_endpoint() {
    let (first, second) = (nobody(), nobody());
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let stderr = format!(
        "Error:  client: etcd cluster is unavailable or misconfigured\n\
         error #0: dial tcp {}: connect: connection refused\n\
         error #1: dial tcp {}: connect: connection refused\n\n",
        address(&first),
        address(&second)
    );
    let endpoints = format!("{first},{second}");
    for (arguments, stdout, exit) in [
        (&["get", "/k"][..], "", 2),
        (&["member", "list"], "", 2),
        (&["watch", "/k"], "", 2),
        // As the original: only the sync tells a connection from a request.
        (&["--no-sync", "get", "/k"], "", 4),
        (&["--no-sync", "watch", "/k"], "", 4),
        (&["cluster-health"], "cluster may be unhealthy: failed to list members\n", 4),
    ] {
        let stdout = stdout.to_owned();
        let wanted = Outcome { stdout, stderr: stderr.clone(), exit: Some(exit) };
        assert_eq!(outcome(etcdctl(arguments).args(["-C", &endpoints])), wanted, "{arguments:?}");
    }
}

#[test]
fn a_silent_endpoint_costs_its_timeout() {
    // The kernel takes the connections; nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let outcome = run(&["--endpoints", &url, "--timeout", "100ms", "get", "/k"]);
    let line = format!("error #0: client: endpoint {url} exceeded header timeout\n");
    assert!(outcome.stderr.contains(&line), "{outcome:?}");
    assert_eq!(outcome.exit, Some(2));

    let outcome = run(&["--endpoints", &url, "--total-timeout", "100ms", "get", "/k"]);
    let wanted = (Some(2), "Error:  context deadline exceeded\n");
    assert_eq!((outcome.exit, outcome.stderr.as_str()), wanted);
}

#[test]
fn what_is_not_supported_says_so_on_one_line() {
    let lines = |outcome: &Outcome| outcome.stderr.lines().count();
    let v3 = outcome(etcdctl(&["get", "/k"]).env("ETCDCTL_API", "3"));
    assert_eq!((v3.exit, lines(&v3)), (Some(1), 1), "{v3:?}");
    for arguments in [
        &["put", "a", "b"][..],
        &["-D", "no such domain", "ls"],
        &["--cert-file", "x", "ls"],
        &["--cert-file", "/none", "--key-file", "/none", "ls"],
        &["--endpoints", "127.0.0.1:port", "ls"],
    ] {
        let outcome = run(arguments);
        assert_eq!((outcome.exit, lines(&outcome)), (Some(1), 1), "{outcome:?}");
    }
}
