//! `etcdctl` beyond the records: flags anywhere, endpoints that fail, odd bytes, broken pipes.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    process::{Command, Stdio},
};

use e2e::{
    Member, binaries, ports,
    run::{self, Output, run},
};

fn etcdctl(endpoints: &str, arguments: &[&str]) -> Command {
    let mut command = run::etcdctl(&binaries::etcdctl(), endpoints);
    command.args(arguments);
    command
}

/// What a run prints that goes well.
fn printed(mut command: Command, stdin: &str) -> String {
    let output = run(&mut command, stdin);
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    output.stdout
}

/// The error and the exit code of a run that does not.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let Output { exit, stderr, .. } = run(&mut command, "");
    (exit, stderr)
}

fn nobody() -> String {
    format!("http://127.0.0.1:{}", ports::free())
}

#[test]
fn flags_stand_anywhere() {
    let member = Member::start();
    let printed = |arguments: &[&str]| printed(etcdctl(&member.url(), arguments), "");
    assert_eq!(printed(&["set", "/k", "-ttl", "100", "v", "--no-sync"]), "v\n");
    for arguments in [
        &["get", "/k", "-o", "extended"][..],
        &["get", "-output=extended", "/k"],
        &["-o", "extended", "get", "/k"],
    ] {
        let text = printed(arguments);
        assert!(text.contains("\nTTL: 100\n") && text.ends_with("\n\nv\n"), "{text}");
    }
    for arguments in [&["set", "/k", "--", "-v"][..], &["set", "--", "/k", "-v"]] {
        assert_eq!(printed(arguments), "-v\n");
    }
    assert_eq!(printed(&["set", "/k", "-5"]), "-5\n");

    let mut without = Command::new(binaries::etcdctl());
    without.env_remove("ETCDCTL_API").args(["get", "/k", "--endpoints", &member.url()]);
    assert_eq!(run(&mut without, "").stdout, "-5\n");
}

#[test]
fn the_environment_names_endpoints_and_flags_come_first() {
    let member = Member::start();
    let mut bare = Command::new(binaries::etcdctl());
    bare.env("ETCDCTL_API", "2");
    for name in ["ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS"] {
        bare.env_remove(name);
    }
    for name in ["ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS"] {
        let mut command = Command::new(bare.get_program());
        command.env("ETCDCTL_API", "2").env(name, member.url()).args(["set", "/k", name]);
        assert_eq!(run(&mut command, "").stdout, format!("{name}\n"));
    }
    bare.env("ETCDCTL_ENDPOINTS", nobody()).args(["-C", &member.url(), "get", "/k"]);
    assert_eq!(run(&mut bare, "").stdout, "ETCDCTL_PEERS\n");
}

#[test]
fn an_endpoint_that_is_down_is_passed_over() {
    let member = Member::start();
    let endpoints = format!("{},{}", nobody(), member.url());
    let printed = |arguments: &[&str]| printed(etcdctl(&endpoints, arguments), "");
    assert_eq!(printed(&["set", "/k", "v"]), "v\n");
    assert_eq!(printed(&["--no-sync", "get", "/k"]), "v\n");
    assert!(printed(&["cluster-health"]).ends_with("cluster is healthy\n"));
}

#[test]
fn a_listing_that_recurses_and_is_sorted_shows_directories_by_a_slash() {
    let member = Member::start();
    for key in ["/b/y", "/b/x/z", "/a", "/_hidden/k", "/b/_h"] {
        member.put(key, "v");
    }
    let ls = |arguments: &[&str]| printed(etcdctl(&member.url(), arguments), "");
    assert_eq!(ls(&["ls", "--sort"]), "/a\n/b\n");
    assert_eq!(ls(&["ls", "-p", "-sort", "-recursive"]), "/a\n/b/\n/b/x/\n/b/x/z\n/b/y\n");
    assert_eq!(ls(&["ls", "/_hidden"]), "/_hidden/k\n");
    assert_eq!(ls(&["ls", "/b/y", "-p"]), "/b/y\n");
}

#[test]
fn values_of_odd_bytes_and_of_some_length_pass() {
    let member = Member::start();
    let mut odd = etcdctl(&member.url(), &["set", "/k"]);
    odd.arg(OsString::from_vec(vec![b'a', 0xff, b'b']));
    // All that v2's JSON can say of such a byte.
    assert_eq!(printed(odd, ""), "a\u{fffd}b\n");

    let long = "x".repeat(500_000);
    let set = etcdctl(&member.url(), &["set", "/long"]);
    assert!(printed(set, &long) == format!("{long}\n"));
    let get = etcdctl(&member.url(), &["get", "/long"]);
    assert!(printed(get, "") == format!("{long}\n"));
    let lines = etcdctl(&member.url(), &["set", "/lines"]);
    assert_eq!(printed(lines, "a\nb\n"), "a\nb\n\n");
}

#[test]
fn json_is_written_as_go_writes_it() {
    let member = Member::start();
    let index = member.put("/k", "<a href=\"x\">&\u{2028}\t");
    let get = etcdctl(&member.url(), &["get", "/k", "-o", "json"]);
    let wanted = format!(
        "{{\"action\":\"get\",\"node\":{{\"key\":\"/k\",\
         \"value\":\"\\u003ca href=\\\"x\\\"\\u003e\\u0026\\u2028\\t\",\"nodes\":null,\
         \"createdIndex\":{index},\"modifiedIndex\":{index}}},\"prevNode\":null}}\n"
    );
    assert_eq!(printed(get, ""), wanted);
}

#[test]
fn an_empty_value_to_compare_with_does_not_overwrite() {
    let member = Member::start();
    member.put("/k", "old");
    for arguments in
        [&["set", "/k", "new", "--swap-with-value", ""][..], &["rm", "/k", "--with-value="]]
    {
        let (exit, said) = refused(etcdctl(&member.url(), arguments));
        assert!(exit == Some(4) && said.starts_with("Error:  201: "), "{exit:?} {said}");
    }
    assert_eq!(printed(etcdctl(&member.url(), &["get", "/k"]), ""), "old\n");
}

#[test]
fn a_reader_who_leaves_early_is_no_panic() {
    let member = Member::start();
    member.put("/k", &"x".repeat(100_000));
    for arguments in [&["get", "/k"][..], &["ls"]] {
        let mut command = etcdctl(&member.url(), arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("etcdctl ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.as_ref()), (Some(141), ""), "{arguments:?}");
    }
}
