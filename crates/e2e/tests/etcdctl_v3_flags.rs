//! Flags of `etcdctl` with API 3 that the records leave out.

use std::{process::Command, time::Duration};

use e2e::{
    Member, Request, Start,
    authority::{Authority, put},
    binaries, eventually, ports,
    run::{self, Output, run},
};
use tempfile::TempDir;

/// Generous, since tests share the machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn etcdctl(endpoints: &str, arguments: &[&str]) -> Command {
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), endpoints);
    command.args(arguments);
    command
}

/// What a run prints that goes well.
#[track_caller]
fn printed(member: &Member, arguments: &[&str]) -> String {
    let output = run(&mut etcdctl(&member.url(), arguments), "");
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{arguments:?}: {output:?}");
    output.stdout
}

#[track_caller]
fn refused(member: &Member, arguments: &[&str]) -> String {
    let Output { exit, stderr, stdout } = run(&mut etcdctl(&member.url(), arguments), "");
    assert_ne!(exit, Some(0), "{arguments:?}: {stdout}{stderr}");
    stderr
}

#[test]
fn revisions_choose_what_a_range_shows() {
    let member = Member::start();
    for key in ["a1", "a2", "a3", "a1"] {
        printed(&member, &["put", key, key]);
    }
    // Created at 2, 3 and 4; changed last at 5, 3 and 4.
    let get = |flags: &[&str]| {
        let arguments = [&["get", "a", "--prefix", "--keys-only"], flags].concat();
        printed(&member, &arguments).replace("\n\n", " ")
    };
    assert_eq!(get(&["--min-create-rev=3"]), "a2 a3 ");
    assert_eq!(get(&["--max-create-rev=3"]), "a1 a2 ");
    assert_eq!(get(&["--min-mod-rev=4"]), "a1 a3 ");
    assert_eq!(get(&["--max-mod-rev=4"]), "a2 a3 ");
    assert_eq!(get(&["--min-create-rev=3", "--max-mod-rev=3"]), "a2 ");
}

#[test]
fn a_range_in_messages_prints_what_one_in_a_single_message_prints() {
    let member = Member::start();
    let value = "v".repeat(1_000);
    for hundred in 0..10 {
        let puts = (0..100).map(|at| format!("put k{hundred}{at:02} {value}\n"));
        let txn = format!("\n{}\n\n", puts.collect::<String>());
        let output = run(&mut etcdctl(&member.url(), &["txn"]), &txn);
        assert_eq!(output.exit, Some(0), "{output:?}");
    }
    for flags in [
        &["--prefix", "-w=simple"][..],
        &["--prefix", "--limit=7", "-w=fields"],
        &["--prefix", "--keys-only", "-w=json"],
        &["--prefix", "--print-value-only"],
        &["--from-key", "--rev=5"],
        &["--prefix", "--count-only", "-w=fields"],
    ] {
        let whole = printed(&member, &[&["get", "k"], flags].concat());
        let streamed = printed(&member, &[&["get", "k", "--stream"], flags].concat());
        // Only the terms of raft may differ, which do not.
        assert_eq!(streamed, whole, "{flags:?}");
        assert!(!whole.is_empty());
    }
    let sorted = refused(&member, &["get", "k", "--prefix", "--stream", "--order=DESCEND"]);
    assert!(sorted.contains("RangeStream") || sorted.contains("stream"), "{sorted}");
}

#[test]
fn a_put_may_leave_the_lease_as_it_is() {
    let member = Member::start();
    let granted = printed(&member, &["lease", "grant", "600"]);
    let id = granted.split(' ').nth(1).expect("lease ID granted with ...");
    printed(&member, &["put", "a", "1", "--lease", id]);
    printed(&member, &["put", "a", "2", "--ignore-lease"]);
    let keys = printed(&member, &["lease", "timetolive", id, "--keys"]);
    assert!(keys.contains("attached keys([a])"), "{keys}");
    printed(&member, &["put", "a", "3"]);
    let keys = printed(&member, &["lease", "timetolive", id, "--keys"]);
    assert!(keys.contains("attached keys([])"), "{keys}");
    let none = refused(&member, &["put", "none", "1", "--ignore-lease"]);
    assert!(none.contains("etcdserver: key not found"), "{none}");
    let both = refused(&member, &["put", "a", "4", "--ignore-lease", "--lease", id]);
    assert!(both.contains("lease is provided"), "{both}");
}

#[test]
fn a_quiet_watch_tells_how_far_it_is_if_it_is_to() {
    let member = Start::new().flag("--watch-progress-notify-interval=200ms").start();
    printed(&member, &["put", "other", "1"]);
    let watching =
        run::start(&mut etcdctl(&member.url(), &["watch", "a", "--progress-notify"]), "");
    eventually(PATIENCE, "it tells how far it is", || {
        let lines = watching.stdout();
        lines.iter().any(|line| line == "progress notify: 2").then_some(())
    });
    printed(&member, &["put", "a", "1"]);
    eventually(PATIENCE, "and what happens", || {
        watching.stdout().windows(3).any(|told| told == ["PUT", "a", "1"]).then_some(())
    });
    watching.interrupt();
}

/// As real `etcdctl` 3.4 and 3.6 do: a program that reads stdout learns there that the watch is over.
#[test]
fn a_watch_that_the_server_ends_says_so_in_every_format() {
    let member = Member::start();
    for value in ["1", "2", "3"] {
        printed(&member, &["put", "a", value]);
    }
    printed(&member, &["compaction", "4"]);
    let watch = |arguments: &[&str]| {
        let output = run(&mut etcdctl(&member.url(), &[&["watch"], arguments].concat()), "");
        assert_eq!(output.exit, Some(5), "{output:?}");
        assert!(output.stderr.starts_with("watch was canceled ("), "{output:?}");
        output.stdout
    };
    assert_eq!(watch(&["a", "--rev=1"]), "");
    let json = watch(&["a", "--rev=1", "-w=json"]);
    let end = r#","Events":[],"CompactRevision":4,"Canceled":true,"Created":false}"#;
    assert!(json.starts_with(r#"{"Header":{"cluster_id":"#), "{json}");
    assert!(json.ends_with(&format!("{end}\n")), "{json}");
    let fields = watch(&["a", "--rev=1", "-w=fields"]);
    let names: Vec<_> = fields.lines().filter_map(|line| line.split_once(" : ")).collect();
    let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["\"ClusterID\"", "\"MemberID\"", "\"Revision\"", "\"RaftTerm\""]);
    // One that was never taken.
    assert_eq!(
        watch(&["b", "a", "-w=json"]),
        "{\"Header\":{},\"Events\":null,\"CompactRevision\":0,\"Canceled\":true,\"Created\":false}\n"
    );
}

/// The answers of real `etcdctl` 3.4.
#[test]
fn leases_with_negative_ids_are_written_as_go_does() {
    let member = Member::start();
    let body = r#"{"ID":"-7","TTL":"100"}"#;
    drop(member.ask(&Request::json("POST", "/v3/lease/grant", body)).expect(&[200]));
    let id = "-000000000000007";
    let lives = printed(&member, &["lease", "timetolive", "--", "-7"]);
    assert!(
        lives.starts_with(&format!("lease {id} granted with TTL(100s), remaining(")),
        "{lives}"
    );
    assert_eq!(printed(&member, &["lease", "list"]), format!("found 1 leases\n{id}\n"));
    let kept = printed(&member, &["lease", "keep-alive", "--once", "--", "-7"]);
    assert_eq!(kept, format!("lease {id} keepalived with TTL(100)\n"));
    let revoked = printed(&member, &["lease", "revoke", "--", "-7"]);
    assert_eq!(revoked, format!("lease {id} revoked\n"));
    let gone = printed(&member, &["lease", "timetolive", "--", "-7"]);
    assert_eq!(gone, format!("lease {id} already expired\n"));
}

#[test]
fn who_mistypes_in_a_session_of_watches_goes_on() {
    let member = Member::start();
    let lines = "watch\nwatch --prefix a b\nwatch -- sh\nwat a\n\nprogress x\nwatch a b c\n";
    let output = run(&mut etcdctl(&member.url(), &["watch", "-i"]), lines);
    assert_eq!(output.exit, Some(3), "{output:?}");
    let told = "Invalid command watch (command type or key is not provided)\n\
        Invalid command watch --prefix a b (`range_end` and `--prefix` are mutually exclusive)\n\
        Invalid command watch -- sh (bad number of arguments)\n\
        Invalid command wat a (only support watch)\n\
        Invalid command:  (watch and progress supported)\n\
        Error: error reading watch request line: EOF\n";
    assert_eq!(output.stderr, told);
    let output = run(&mut etcdctl(&member.url(), &["watch", "-i"]), "watch --nonsense a\n");
    assert_eq!(output.exit, Some(128), "{output:?}");
    assert_eq!(output.stderr, "Error: unknown flag: --nonsense\n");
}

#[test]
fn limits_and_ways_to_connect_are_taken_from_flags() {
    let member = Member::start();
    printed(&member, &["put", "a", &"v".repeat(5_000)]);
    let large = refused(&member, &["get", "a", "--max-recv-bytes=3000"]);
    let words = "code = ResourceExhausted desc = grpc: received message larger than max (50";
    assert!(large.contains(words) && large.contains(" vs. 3000)"), "{large}");
    let order =
        refused(&member, &["get", "a", "--max-recv-bytes=3000", "--max-request-bytes=4000"]);
    assert!(order.contains("must be greater than send limit"), "{order}");
    let large = refused(&member, &["put", "a", &"v".repeat(5_000), "--max-request-bytes=3000"]);
    assert!(large.contains("trying to send message larger than max"), "{large}");
    printed(&member, &["get", "a", "--keepalive-time=30s", "--keepalive-timeout=9s"]);
    // TLS where there is none.
    let address = member.address().to_string();
    let arguments = ["--command-timeout=2s", "--insecure-transport=false", "get", "a"];
    let Output { exit, .. } = run(&mut etcdctl(&address, &arguments), "");
    assert_ne!(exit, Some(0));
    // What happens to connections is told on stderr, and stdout stays as it is.
    let free = format!("127.0.0.1:{}", ports::free());
    let nobody = format!("{free},{address}");
    for (flags, tells) in [(&["--debug"][..], true), (&[], false)] {
        let arguments = [flags, &["get", "a", "--keys-only"]].concat();
        let output = run(&mut etcdctl(&nobody, &arguments), "");
        assert_eq!((output.exit, output.stdout.as_str()), (Some(0), "a\n\n"), "{output:?}");
        assert_eq!(output.stderr.contains(&free), tells, "{output:?}");
    }
}

#[test]
fn a_mirror_goes_to_a_cluster_that_asks_for_certificates() {
    let (dir, authority) = (TempDir::new().expect("/tmp can be written"), Authority::new("ours"));
    let ca = put(dir.path(), "ca.pem", &authority.pem).display().to_string();
    let (cert, key) = authority.issue(dir.path(), "member", 1);
    let (client_cert, client_key) = authority.issue(dir.path(), "client", 2);
    let shown = |path: std::path::PathBuf| path.display().to_string();
    let (cert, key) = (shown(cert), shown(key));
    let url = format!("https://127.0.0.1:{}", ports::free());
    let from = Member::start();
    let mut to = Start::new()
        .flag(&format!("--listen-client-http-urls=http://127.0.0.1:{}", ports::free()))
        .with("listen-client-urls", Some(&url))
        .flag(&format!("--cert-file={cert}"))
        .flag(&format!("--key-file={key}"))
        .flag(&format!("--trusted-ca-file={ca}"))
        .flag("--client-cert-auth")
        .spawn();
    for complaint in ["The scheme of client url", "rejected connection"] {
        to.allow(complaint);
    }
    eventually(PATIENCE, "it serves", || {
        to.log().text().contains("ready to serve client requests").then_some(())
    });
    printed(&from, &["put", "a", "1"]);
    let (client_cert, client_key) = (shown(client_cert), shown(client_key));
    let destination = url.trim_start_matches("https://");
    let tls = ["--dest-cacert", &ca, "--dest-cert", &client_cert, "--dest-key", &client_key];
    let arguments =
        [&["make-mirror", destination, "--dest-insecure-transport=false"][..], &tls].concat();
    let mirror = run::start(&mut etcdctl(&from.url(), &arguments), "");
    let there = || {
        let files = ["--cacert", &ca, "--cert", &client_cert, "--key", &client_key];
        let get = [&files[..], &["get", "a", "--print-value-only"]].concat();
        run(&mut etcdctl(&url, &get), "").stdout
    };
    eventually(PATIENCE, "the copy", || (there() == "1\n").then_some(()));
    printed(&from, &["put", "a", "2"]);
    eventually(PATIENCE, "the change", || (there() == "2\n").then_some(()));
    drop(mirror);
    // Who shows none is not let in.
    let without = ["make-mirror", destination, "--dest-cacert", &ca];
    let mirror = run::start(&mut etcdctl(&from.url(), &without), "");
    printed(&from, &["put", "a", "3"]);
    eventually(PATIENCE, "it says whom it cannot reach", || {
        (!mirror.stderr().is_empty()).then_some(())
    });
    assert_eq!(there(), "2\n");
}

#[test]
fn a_mirror_goes_to_a_cluster_that_asks_for_passwords() {
    let (from, mut to) = (Member::start(), Member::start());
    to.allow("invalid authentication was requested");
    for arguments in [
        &["user", "add", "root:known"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "copier:secret"],
        &["role", "add", "copies"],
        &["role", "grant-permission", "copies", "readwrite", "copy/", "--prefix"],
        &["user", "grant-role", "copier", "copies"],
        &["auth", "enable"],
    ] {
        printed(&to, arguments);
    }
    printed(&from, &["put", "a/1", "1"]);
    let url = to.url();
    let mirror = |user: &[&str]| {
        let arguments =
            [&["make-mirror", &url, "--prefix=a/", "--dest-prefix=copy/"], user].concat();
        run::start(&mut etcdctl(&from.url(), &arguments), "")
    };
    let there = || printed(&to, &["--user=root:known", "get", "copy/", "--prefix"]);
    for (user, told) in [
        (&[][..], "etcdserver: user name is empty"),
        (
            &["--dest-user=copier", "--dest-password=wrong"],
            "etcdserver: authentication failed, invalid user ID or password",
        ),
    ] {
        let ended = mirror(user).wait(PATIENCE);
        assert!(ended.exit != Some(0) && ended.stderr.contains(told), "{ended:?}");
    }
    assert_eq!(there(), "");
    let copying = mirror(&["--dest-user", "copier", "--dest-password", "secret"]);
    eventually(PATIENCE, "the copy", || (there() == "copy/1\n1\n").then_some(()));
    printed(&from, &["put", "a/1", "2"]);
    eventually(PATIENCE, "the change", || (there() == "copy/1\n2\n").then_some(()));
    drop(copying);
    printed(&from, &["put", "a/1", "3"]);
    let copying = mirror(&["--dest-user=copier:secret"]);
    eventually(PATIENCE, "it goes on", || (there() == "copy/1\n3\n").then_some(()));
    drop(copying);
}

#[test]
fn a_mirror_begins_with_the_revision_that_it_is_told_and_takes_the_prefix_away() {
    let (from, to) = (Member::start(), Member::start());
    for (key, value) in [("a/old", "1"), ("a/1", "1"), ("b/1", "1"), ("a/2", "1"), ("a/1", "2")] {
        printed(&from, &["put", key, value]);
    }
    let there = || printed(&to, &["get", "", "--prefix"]);
    let url = to.url();
    let mirror = |flags: &[&str]| {
        let arguments = [&["make-mirror", &url, "--prefix=a/"][..], flags].concat();
        run::start(&mut etcdctl(&from.url(), &arguments), "")
    };
    let copying = mirror(&["--rev=3", "--no-dest-prefix"]);
    eventually(PATIENCE, "what came since", || (there() == "1\n2\n2\n1\n").then_some(()));
    printed(&from, &["del", "a/1"]);
    eventually(PATIENCE, "the deletion", || (there() == "2\n1\n").then_some(()));
    drop(copying);
    // Each change was one there: nothing was copied as it is now.
    assert_eq!(printed(&to, &["get", "2", "-w=fields"]).matches("\"Version\" : 1").count(), 1);
    let copying = mirror(&["--no-dest-prefix"]);
    eventually(PATIENCE, "all that is there", || (there() == "2\n1\nold\n1\n").then_some(()));
    drop(copying);
}

#[test]
fn a_program_with_a_lock_is_told_its_revision() {
    let member = Member::start();
    let told = |name: &str| {
        let script = "echo $ETCD_LOCK_KEY $ETCD_LOCK_REV";
        printed(&member, &["lock", name, "--ttl=20", "--", "sh", "-c", script])
    };
    let line = told("m");
    let (key, revision) = line.trim().split_once(' ').expect("two words");
    // The first write of all.
    assert!(key.starts_with("m/") && revision == "2", "{line}");
    // Its deletion was one, too.
    assert!(told("m").ends_with(" 4\n"));
}

#[test]
fn a_check_cleans_up_as_it_is_told() {
    let member = Member::start();
    let flags =
        ["--load=s", "--duration=1s", "--prefix=/check/", "--auto-compact", "--auto-defrag"];
    let output = run(&mut etcdctl(&member.url(), &[&["check", "perf"][..], &flags].concat()), "");
    // A busy machine may fail the check; what it does stays the same.
    assert!(matches!(output.exit, Some(0 | 1)), "{output:?}");
    assert!(output.stdout.contains("\nDefragmented \""), "{output:?}");
    assert!(output.stdout.contains("\nCompacted with revision "), "{output:?}");
    assert_eq!(printed(&member, &["get", "/check/", "--prefix", "--keys-only"]), "");
    for load in ["m", "l", "xl"] {
        let check = ["check", "perf", "--duration=1s", "--load", load];
        let output = run(&mut etcdctl(&member.url(), &check), "");
        let judged = if output.exit == Some(0) { "\nPASS\n" } else { "\nFAIL\n" };
        assert!(output.stdout.ends_with(judged), "{load}: {output:?}");
        assert!(output.stdout.contains("Throughput"), "{load}: {output:?}");
    }
    assert_eq!(printed(&member, &["get", "", "--prefix", "--keys-only"]), "");
}

#[test]
fn values_above_what_messages_are_by_default_go_in_and_out() {
    let member = Start::new().flag("--max-request-bytes=8388608").start();
    let value = "v".repeat(6 << 20);
    let put = |flags: &[&str]| {
        let arguments = [flags, &["put", "large"]].concat();
        run(&mut etcdctl(&member.url(), &arguments), &value)
    };
    assert_ne!(put(&[]).exit, Some(0), "this client sends 2 MiB at most");
    let ours = put(&["--max-request-bytes=8388608"]);
    assert_eq!(ours.stdout, "OK\n", "{}", ours.stderr);
    assert_eq!(printed(&member, &["get", "large", "--print-value-only"]).len(), value.len() + 1);
}
