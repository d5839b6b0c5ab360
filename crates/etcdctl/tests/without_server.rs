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
fn what_cannot_be_done_says_so_on_one_line() {
    let lines = |outcome: &Outcome| outcome.stderr.lines().count();
    for arguments in [
        &["-D", "no such domain", "ls"][..],
        &["--cert-file", "x", "ls"],
        &["--cert-file", "/none", "--key-file", "/none", "ls"],
        &["--endpoints", "127.0.0.1:port", "ls"],
    ] {
        let outcome = run(arguments);
        assert_eq!((outcome.exit, lines(&outcome)), (Some(1), 1), "{outcome:?}");
    }
    let other = outcome(etcdctl(&["get", "/k"]).env("ETCDCTL_API", "4"));
    let said = "etcdctl: ETCDCTL_API must be 2 or 3\n";
    assert_eq!((other.exit, other.stderr.as_str()), (Some(1), said));
}

/// With API 3.
fn run_v3(arguments: &[&str]) -> Outcome {
    outcome(etcdctl(arguments).env("ETCDCTL_API", "3"))
}

#[test]
fn with_api_3_help_is_on_stdout_and_mistakes_are_on_stderr() {
    for arguments in [
        &[][..],
        &["help"],
        &["-help"],
        &["help", "get"],
        &["get", "-h"],
        &["member"],
        &["check"],
        &["help", "endpoint", "health"],
    ] {
        let outcome = run_v3(arguments);
        assert_eq!((outcome.exit, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(outcome.stdout.contains("Usage:"), "{arguments:?}");
    }
    for arguments in [&["no-such-command"][..], &["get", "-no-such-flag"], &["member", "no-such"]] {
        let outcome = run_v3(arguments);
        assert_eq!((outcome.exit, outcome.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(outcome.stderr.contains("no-such"), "{outcome:?}");
    }
    // The help of a command that only API 3 has needs no variable.
    assert!(run(&["help", "put"]).stdout.contains("etcdctl put [FLAGS]"));
    assert!(run(&["help"]).stdout.contains("ETCDCTL_API=3 etcdctl help"));
}

#[test]
fn with_api_3_arguments_are_checked_before_anybody_is_asked() {
    let endpoint = nobody();
    for (arguments, said, exit) in [
        (
            &["get"][..],
            "get command needs one argument as key and an optional argument as range_end",
            128,
        ),
        (&["put", "k"], "put command needs 1 argument and input from stdin or 2 arguments", 128),
        (
            &["put", "k", "v", "--lease", "zz"],
            "bad lease ID (strconv.ParseInt: parsing \"zz\": invalid syntax), expecting ID in Hex",
            128,
        ),
        (&["get", "k", "-w", "xml"], "unsupported output format", 4),
        (&["get", "k", "-w", "table"], "table not supported as output format", 4),
        (
            &["get", "k", "--keys-only", "--count-only"],
            "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
            128,
        ),
        (
            &["get", "k", "--print-value-only", "-w", "json"],
            "print-value-only is only for `--write-out=simple`",
            128,
        ),
        (
            &["get", "k", "--max-mod-rev", "3", "--min-mod-rev", "4"],
            "getMinModRev(=4) > getMaxModRev(=3)",
            4,
        ),
        (
            &["watch", "a", "b", "--prefix"],
            "`range_end` and `--prefix` are mutually exclusive",
            128,
        ),
        (
            &["user", "add", "u", "--new-user-password", "p", "x"],
            "user add command requires user name as its argument",
            128,
        ),
        (&["elect", "e"], "no proposal argument but -l not set", 128),
        (&["completion", "tcsh"], "invalid argument \"tcsh\" for \"etcdctl completion\"", 1),
        (&["get", "k", "--cert", ""], "empty string is passed to --cert option", 128),
    ] {
        let outcome =
            outcome(etcdctl(&["--endpoints", &endpoint]).env("ETCDCTL_API", "3").args(arguments));
        let stderr = format!("Error: {said}\n");
        let wanted = Outcome { stdout: String::new(), stderr, exit: Some(exit) };
        assert_eq!(outcome, wanted, "{arguments:?}");
    }
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run_v3(&["completion", shell]);
        assert_eq!((script.exit, script.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["make-mirror", "revoke-permission", "print-value-only", "tree"] {
            assert!(script.stdout.contains(word), "{shell}: {word}");
        }
        assert!(!script.stdout.contains("man-pages"), "{shell}");
    }
    let bash = run_v3(&["completion", "bash"]).stdout;
    let checked = Command::new("bash").args(["-n", "-c", &bash]).output().unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");

    let directory = tempfile::tempdir().unwrap();
    let written = run_v3(&["man-pages", &directory.path().display().to_string()]);
    assert_eq!(written.exit, Some(0), "{written:?}");
    for page in ["etcdctl", "etcdctl-get", "etcdctl-lease-grant", "etcdctl-v2", "etcdctl-v2-mk"] {
        let path = directory.path().join(format!("{page}.1"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{page}: {text}");
    }
}

#[test]
fn options_are_the_flags_of_every_command() {
    let options = run_v3(&["options"]);
    assert!(options.stdout.starts_with("The following options can be passed to any command:\n\n"));
    assert!(options.stdout.contains("--write-out") && options.stdout.contains("--auth-jwt-token"));
    assert!(!options.stdout.contains("make-mirror"), "{}", options.stdout);
    let version = run_v3(&["version"]).stdout;
    assert!(version.starts_with("etcdctl version: 3.") && version.contains("\nAPI version: 3."));
}

#[test]
fn with_api_3_a_silent_endpoint_costs_the_commands_timeout() {
    // The kernel takes the connections; nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let outcome = run_v3(&["--endpoints", &address, "--command-timeout", "200ms", "get", "k"]);
    assert_eq!(outcome.exit, Some(1));
    assert!(outcome.stderr.starts_with("Error: context deadline exceeded\n"), "{outcome:?}");
}
