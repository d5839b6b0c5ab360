//! `etcdctl` with API 3 beyond the records: which API is meant, endpoints that fail, work that goes on.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use e2e::{
    Member, Start, binaries,
    cluster::Cluster,
    eventually, ports, rings,
    run::{self, Output, Running, run},
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Generous, since tests share the machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn etcdctl(endpoints: &str, arguments: &[&str]) -> Command {
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), endpoints);
    command.args(arguments);
    command
}

/// One that has to find out which API is meant.
fn etcdctl_of_any_api(endpoints: &str, arguments: &[&str]) -> Command {
    let mut command = etcdctl(endpoints, arguments);
    command.env_remove("ETCDCTL_API");
    command
}

/// What a run prints that goes well.
#[track_caller]
fn printed(mut command: Command) -> String {
    let output = run(&mut command, "");
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""), "{command:?}: {output:?}");
    output.stdout
}

fn nobody() -> String {
    format!("127.0.0.1:{}", ports::free())
}

/// Starts a command that goes on.
fn start(member: &Member, arguments: &[&str]) -> Running {
    run::start(&mut etcdctl(&member.url(), arguments), "")
}

fn wait_for(running: &Running, lines: usize) -> Vec<String> {
    eventually(PATIENCE, "lines on stdout", || {
        Some(running.stdout()).filter(|printed| printed.len() >= lines)
    })
}

#[test]
fn what_only_one_api_has_is_done_by_it_and_the_rest_as_in_the_guide() {
    let member = Member::start();
    let any = |arguments: &[&str]| run(&mut etcdctl_of_any_api(&member.url(), arguments), "");
    assert_eq!(any(&["put", "/a", "1"]).stdout, "OK\n");
    assert_eq!(any(&["set", "/b", "2"]).stdout, "2\n");
    // Both have `get`: it is API 2, whose answer is the value alone.
    assert_eq!(any(&["get", "/a"]).stdout, "1\n");
    assert_eq!(any(&["get", "--prefix", "/"]).stdout, "/a\n1\n/b\n2\n");
    assert_eq!(any(&["del", "/b"]).stdout, "1\n");
    let both = any(&["get", "/a", "--sort", "--prefix"]);
    assert!(both.exit == Some(1) && both.stderr.contains("--prefix"), "{both:?}");
}

#[test]
fn a_get_that_finds_nothing_says_if_api_3_has_such_a_key() {
    let member = Member::start();
    printed(etcdctl(&member.url(), &["put", "plain", "1"]));
    let get = |key: &str, api: Option<&str>| {
        let mut command = etcdctl_of_any_api(&member.url(), &["get", key]);
        command.envs(api.map(|api| ("ETCDCTL_API", api)));
        let output = run(&mut command, "");
        assert_eq!((output.exit, output.stdout.as_str()), (Some(4), ""), "{output:?}");
        output.stderr
    };
    let told = get("plain", None);
    let hint = "API 3 has a key \"plain\": ETCDCTL_API=3 etcdctl get \"plain\"\n";
    assert!(told.starts_with("Error:  100: ") && told.ends_with(hint), "{told}");
    for quiet in [get("nothing", None), get("plain", Some("2"))] {
        assert_eq!(quiet.lines().count(), 1, "{quiet}");
    }
}

#[test]
fn keys_are_listed_and_drawn_as_directories() {
    let member = Member::start();
    for key in ["/services/web/1", "/services/web/2", "/services/db", "/a", "/a/b", "plain", "x//y"]
    {
        printed(etcdctl(&member.url(), &["put", key, "v"]));
    }
    let ls = |arguments: &[&str]| {
        let mut command = etcdctl(&member.url(), &["ls"]);
        command.args(arguments);
        printed(command)
    };
    assert_eq!(ls(&[]), "/a\n/a/\n/services/\nplain\nx/\n");
    assert_eq!(ls(&["/services"]), "/services/db\n/services/web/\n");
    assert_eq!(ls(&["/services/"]), ls(&["/services"]));
    assert_eq!(ls(&["/a"]), "/a\n/a/b\n");
    assert_eq!(ls(&["/nothing"]), "");
    assert_eq!(ls(&["--separator", "s", "--rev", "3"]), "/s\n");
    // Only API 3 has it.
    let tree = etcdctl_of_any_api(&member.url(), &["tree", "/services"]);
    assert_eq!(
        printed(tree),
        "/services/\n├── db\n└── web/\n    ├── 1\n    └── 2\n\n1 directory, 3 keys\n"
    );
    let flat = printed(etcdctl(&member.url(), &["tree", "--depth", "1"]));
    assert_eq!(
        flat,
        ".\n├── /a\n├── /a/\n├── /services/\n├── plain\n└── x/\n\n3 directories, 2 keys\n"
    );
}

#[test]
fn a_directory_of_many_keys_costs_one_line() {
    let member = Member::start();
    // More than a page, in a directory between two keys.
    for hundred in 0..25 {
        let puts: Vec<_> = (0..100).map(|n| format!("put d/{hundred:02}{n:02} v\n")).collect();
        let puts = puts.concat();
        let mut txn = etcdctl(&member.url(), &["txn"]);
        let output = run(&mut txn, &format!("\n{puts}\n\n"));
        assert!(output.stdout.starts_with("SUCCESS\n"), "{output:?}");
    }
    for key in ["a", "z"] {
        printed(etcdctl(&member.url(), &["put", key, "v"]));
    }
    assert_eq!(printed(etcdctl(&member.url(), &["ls"])), "a\nd/\nz\n");
    assert_eq!(printed(etcdctl(&member.url(), &["ls", "d"])).lines().count(), 2500);
    let all =
        printed(etcdctl(&member.url(), &["get", "--stream", "--prefix", "d/", "--keys-only"]));
    assert_eq!(all.lines().count(), 5000, "a key and an empty line each");
}

#[test]
fn endpoints_that_do_not_answer_are_passed_over_and_told_if_all_are_such() {
    let member = Member::start();
    let endpoints = format!("{},{}", nobody(), member.url());
    for arguments in [&["put", "k", "v"][..], &["get", "k"], &["del", "k"], &["get", "k"]] {
        printed(etcdctl(&endpoints, arguments));
    }
    let (first, second) = (nobody(), nobody());
    let mut put = etcdctl(&format!("{first},{second}"), &["put", "k", "v"]);
    let output = run(put.args(["--command-timeout", "500ms"]), "");
    let refused =
        |at, address| format!("error #{at}: dial tcp {address}: connect: connection refused\n");
    let said =
        format!("Error: context deadline exceeded\n{}{}", refused(0, &first), refused(1, &second));
    assert_eq!((output.exit, output.stderr), (Some(1), said));
}

#[test]
fn variables_stand_for_flags_and_flags_come_first() {
    let member = Member::start();
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(binaries::etcdctl());
        command.env_clear().env("ETCDCTL_API", "3").args(arguments);
        command.envs(variables.iter().copied());
        run(&mut command, "")
    };
    let url = member.url();
    let output =
        with(&[("ETCDCTL_ENDPOINTS", &url), ("ETCDCTL_WRITE_OUT", "json")], &["put", "k", "v"]);
    assert!(output.stdout.starts_with("{\"header\""), "{output:?}");
    let nowhere = nobody();
    let output = with(
        &[("ETCDCTL_ENDPOINTS", &nowhere), ("ETCDCTL_HEX", "true")],
        &["--endpoints", &url, "get", "k"],
    );
    assert_eq!(output.stdout, "\\x6b\n\\x76\n", "{output:?}");
    let output = with(&[("ETCDCTL_ENDPOINTS", &url), ("ETCDCTL_ENDPIONTS", "x")], &["get", "k"]);
    assert_eq!(output.stderr, "etcdctl: warning: the variable ETCDCTL_ENDPIONTS has no meaning\n");
    let output = with(
        &[("ETCDCTL_ENDPOINTS", &url), ("ETCDCTL_WATCH_KEY", "k")],
        &["watch", "--rev", "1", "--", "sh", "-c", "exit 3"],
    );
    assert_eq!((output.exit, output.stdout.as_str()), (Some(1), "PUT\nk\nv\n"), "{output:?}");
    assert_eq!(output.stderr, "command [\"sh\" \"-c\" \"exit 3\"] error (exit status 3)\n");
    let range = [("ETCDCTL_WATCH_KEY", "a"), ("ETCDCTL_WATCH_RANGE_END", "z")];
    let variables = [&[("ETCDCTL_ENDPOINTS", url.as_str())][..], &range].concat();
    let output = with(&variables, &["watch", "--rev", "1", "--", "sh", "-c", "exit 3"]);
    assert_eq!((output.exit, output.stdout.as_str()), (Some(1), "PUT\nk\nv\n"), "{output:?}");
    let output = with(&variables[..2], &["watch", "k"]);
    let said = "Error: bad number of arguments (found conflicting environment key)\n";
    assert_eq!((output.exit, output.stderr.as_str()), (Some(128), said));
    let output = with(&range[1..], &["watch"]);
    let said = "Error: ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=\"z\"\n";
    assert_eq!((output.exit, output.stderr.as_str()), (Some(128), said));
}

#[test]
fn a_watch_goes_on_when_its_member_dies() {
    let mut cluster = Cluster::start(3);
    let endpoints: Vec<_> = cluster.members.iter().map(Member::url).collect();
    let endpoints = endpoints.join(",");
    let watch = run::start(&mut etcdctl(&endpoints, &["watch", "--prefix", "k"]), "");
    let put = |key: &str| {
        eventually(PATIENCE, "a put", || {
            let output = run(&mut etcdctl(&endpoints, &["put", key, "v"]), "");
            (output.exit == Some(0)).then_some(())
        });
    };
    // The watch begins at some moment: what is put before is not told.
    eventually(PATIENCE, "the first event", || {
        put("k0");
        (!watch.stdout().is_empty()).then_some(())
    });
    for at in 0..3 {
        cluster.members[at].kill();
        put(&format!("k-without-{at}"));
        cluster.members[at].restart();
    }
    put("k-last");
    let told = eventually(PATIENCE, "the last event", || {
        let told = watch.stdout();
        (told.iter().any(|line| line == "k-last")).then_some(told)
    });
    let told: Vec<_> = told.iter().filter(|line| line.starts_with("k-")).collect();
    assert_eq!(told, ["k-without-0", "k-without-1", "k-without-2", "k-last"]);
    drop(watch);
    for member in &mut cluster.members {
        member.stop();
    }
}

#[test]
fn lines_on_stdin_begin_watches_and_ask_for_progress() {
    let member = Member::start();
    printed(etcdctl(&member.url(), &["put", "a", "1"]));
    printed(etcdctl(&member.url(), &["put", "b", "2"]));
    let mut command = etcdctl(&member.url(), &["watch", "-i"]);
    let output = run(&mut command, "watch a --rev 2\nfrob x\nwatch b --rev 3 -- echo told\n");
    // The end of stdin ends it, as in the original, whatever has been told by then.
    assert_eq!(output.exit, Some(3));
    assert!(output.stderr.contains("Invalid command frob x (only support watch)\n"), "{output:?}");
    assert!(
        output.stderr.ends_with("Error: error reading watch request line: EOF\n"),
        "{output:?}"
    );

    let mut shell = Command::new("sh");
    let line = format!(
        "(echo 'watch a --rev 2'; sleep 1; echo progress; sleep 2) | {} --endpoints {} watch -i",
        binaries::etcdctl().display(),
        member.url()
    );
    shell.env("ETCDCTL_API", "3").args(["-c", &line]);
    let output = run(&mut shell, "");
    assert_eq!(output.stdout, "PUT\na\n1\nprogress notify: 3\n", "{output:?}");
}

#[test]
fn a_lock_is_held_by_one_at_a_time_and_given_back() {
    let member = Member::start();
    let holder = start(&member, &["lock", "m"]);
    let key = wait_for(&holder, 1)[0].clone();
    assert!(key.starts_with("m/"), "{key}");
    let waiting = start(&member, &["lock", "m", "--", "sh", "-c", "echo $ETCD_LOCK_KEY; exit 7"]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.stdout().is_empty(), "two hold one lock");
    let ended = holder.interrupt();
    assert_eq!((ended.exit, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let ended = waiting.wait(PATIENCE);
    assert_eq!((ended.exit, ended.stderr.as_str()), (Some(7), "Error: exit status 7\n"));
    assert!(ended.stdout.starts_with("m/") && ended.stdout.trim() != key, "{ended:?}");
    // Neither key nor lease is left.
    assert_eq!(printed(etcdctl(&member.url(), &["get", "--prefix", "m"])), "");
    assert_eq!(printed(etcdctl(&member.url(), &["lease", "list"])), "found 0 leases\n");
    // A flag behind the program's name that is not ours is the program's.
    let echo = etcdctl(&member.url(), &["lock", "m", "echo", "-n", "a", "--ttl=20"]);
    assert_eq!(printed(echo), "a");
}

/// As with the original, also when a service manager stops the tool alone: the program has the lock
/// until it has ended, and who never had it does not say that all is well.
#[test]
fn whoever_is_interrupted_gives_the_lock_back_once_its_program_has_ended() {
    let member = Member::start();
    let script = "echo runs; sleep 1; echo done; exit 3";
    let holder = start(&member, &["lock", "m", "--", "sh", "-c", script]);
    assert_eq!(wait_for(&holder, 1), ["runs"]);
    holder.signal(Signal::SIGTERM);
    let waiting = start(&member, &["lock", "m"]);
    let leads = start(&member, &["elect", "e", "one"]);
    wait_for(&leads, 2);
    let second = start(&member, &["elect", "e", "two"]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.stdout().is_empty(), "two hold one lock");
    for waits in [waiting, second] {
        let ended = waits.interrupt();
        let told = (ended.exit, ended.stdout.as_str(), ended.stderr.as_str());
        assert_eq!(told, (Some(1), "", "Error: context canceled\n"));
    }
    let ended = holder.wait(PATIENCE);
    assert_eq!((ended.exit, ended.stdout.as_str()), (Some(3), "runs\ndone\n"));
    assert_eq!(printed(etcdctl(&member.url(), &["get", "--prefix", "m"])), "");
}

#[test]
fn leadership_goes_to_the_next_and_listeners_hear_of_it() {
    let member = Member::start();
    let listener = start(&member, &["elect", "-l", "e"]);
    let first = start(&member, &["elect", "e", "one"]);
    assert_eq!(wait_for(&first, 2)[1], "one");
    let second = start(&member, &["elect", "e", "two"]);
    assert_eq!(wait_for(&listener, 2)[1], "one");
    std::thread::sleep(Duration::from_millis(300));
    assert!(second.stdout().is_empty(), "two lead");
    assert_eq!(first.interrupt().exit, Some(0));
    assert_eq!(wait_for(&second, 2)[1], "two");
    assert_eq!(wait_for(&listener, 4)[3], "two");
    assert_eq!(second.interrupt().exit, Some(0));
    let ended = listener.interrupt();
    assert_eq!((ended.exit, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(printed(etcdctl(&member.url(), &["lease", "list"])), "found 0 leases\n");
}

#[test]
fn a_lease_is_granted_kept_and_revoked_with_its_keys() {
    let member = Member::start();
    let printed = |arguments: &[&str]| printed(etcdctl(&member.url(), arguments));
    let granted = printed(&["lease", "grant", "60"]);
    let id = granted.split(' ').nth(1).expect("an id").to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(60s)\n"));
    printed(&["put", "a", "1", "--lease", &id]);
    printed(&["put", "b", "1", "--lease", &id]);
    let left = printed(&["lease", "timetolive", &id, "--keys"]);
    assert!(left.starts_with(&format!("lease {id} granted with TTL(60s), remaining(")), "{left}");
    assert!(left.ends_with("s), attached keys([a b])\n"), "{left}");
    let once = printed(&["lease", "keep-alive", &id, "--once"]);
    assert_eq!(once, format!("lease {id} keepalived with TTL(60)\n"));
    let short = printed(&["lease", "grant", "2", "-w", "json"]);
    assert!(short.contains("\"TTL\":2,\"Error\":\"\"}"), "{short}");

    let short = printed(&["lease", "grant", "3"]);
    let short = short.split(' ').nth(1).expect("an id");
    let kept = start(&member, &["lease", "keep-alive", short]);
    // Beyond the time that it would have had.
    let line = format!("lease {short} keepalived with TTL(3)");
    assert_eq!(wait_for(&kept, 5)[..5], [line.as_str(); 5]);
    assert_eq!(printed(&["lease", "revoke", short]), format!("lease {short} revoked\n"));
    let ended = kept.wait(PATIENCE);
    let last = format!("lease {short} expired or revoked.\n");
    assert!(ended.exit == Some(0) && ended.stdout.ends_with(&last), "{ended:?}");

    assert_eq!(printed(&["lease", "revoke", &id]), format!("lease {id} revoked\n"));
    assert_eq!(printed(&["get", "--prefix", ""]), "");
}

#[test]
fn a_mirror_has_what_there_is_and_what_changes() {
    let (from, to) = (Member::start(), Member::start());
    for at in 0..30 {
        printed(etcdctl(&from.url(), &["put", &format!("a/{at:02}"), "old"]));
    }
    printed(etcdctl(&from.url(), &["put", "b/0", "other"]));
    let flags = [
        "make-mirror",
        &to.url(),
        "--prefix",
        "a/",
        "--dest-prefix",
        "copy/",
        "--max-txn-ops",
        "7",
    ];
    let mirror = start(&from, &flags);
    let copied = |count: usize| {
        eventually(PATIENCE, "the copy", || {
            let all = printed(etcdctl(&to.url(), &["get", "--prefix", "", "--keys-only"]));
            let keys: Vec<_> =
                all.split("\n\n").filter(|key| !key.is_empty()).map(str::to_owned).collect();
            (keys.len() == count).then_some(keys)
        })
    };
    assert!(copied(30).iter().all(|key| key.starts_with("copy/")));
    printed(etcdctl(&from.url(), &["put", "a/new", "new"]));
    copied(31);
    printed(etcdctl(&from.url(), &["del", "--prefix", "a/0"]));
    copied(21);
    let mut txn = etcdctl(&from.url(), &["txn"]);
    run(&mut txn, "\nput a/10 changed\nput a/11 changed\nput b/1 other\n\n\n");
    eventually(PATIENCE, "the change", || {
        let got = printed(etcdctl(&to.url(), &["get", "copy/10", "copy/12", "--print-value-only"]));
        (got == "changed\nchanged\n").then_some(())
    });
    drop(mirror);
    let refused = run(
        &mut etcdctl(&from.url(), &["make-mirror", "--dest-prefix", "x", "--no-dest-prefix", "y"]),
        "",
    );
    assert_eq!(refused.exit, Some(128));
}

#[test]
fn a_mirror_from_a_compacted_revision_is_refused() {
    let (from, to) = (Member::start(), Member::start());
    for value in ["1", "2", "3"] {
        printed(etcdctl(&from.url(), &["put", "a", value]));
    }
    printed(etcdctl(&from.url(), &["compaction", "4"]));
    let output = run(&mut etcdctl(&from.url(), &["make-mirror", "--rev", "2", &to.url()]), "");
    let said = "Error: etcdserver: mvcc: required revision has been compacted\n";
    assert_eq!((output.exit, output.stderr.as_str()), (Some(1), said));
}

#[test]
fn a_snapshot_is_whole_or_not_there() {
    let member = Member::start();
    snapshot_of(&member, "3.6.");
    let dir = TempDir::new().unwrap();
    let nowhere = dir.path().join("none/snapshot");
    let output =
        run(&mut etcdctl(&member.url(), &["snapshot", "save", &nowhere.display().to_string()]), "");
    assert_eq!(output.exit, Some(5), "{output:?}");
    assert!(
        output.stderr.contains("could not open") && output.stderr.contains("none/snapshot.part")
    );
}

#[test]
fn a_snapshot_of_real_etcd_is_saved_as_by_the_original() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("debian-etcd", original.is_some(), why_not) {
        return;
    }
    let member = Start::original(original.expect("it is installed")).start();
    snapshot_of(&member, "");
    let (dir, theirs) = (TempDir::new().unwrap(), binaries::real_etcdctl());
    if !rings::can_run("debian-etcdctl", theirs.is_some(), "apt-get install etcd-client") {
        return;
    }
    let file = dir.path().join("snapshot").display().to_string();
    printed(etcdctl(&member.url(), &["snapshot", "save", &file]));
    let mut status = run::etcdctl_v3(&theirs.expect("it is installed"), &member.url());
    let output = run(status.args(["snapshot", "status", &file]), "");
    assert_eq!(output.exit, Some(0), "{output:?}");
}

/// Saves one, and expects nothing but it in its directory.
fn snapshot_of(member: &Member, version: &str) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("snapshot");
    printed(etcdctl(&member.url(), &["put", "k", &"v".repeat(100_000)]));
    let said = printed(etcdctl(&member.url(), &["snapshot", "save", &file.display().to_string()]));
    let first = format!("Snapshot saved at {}\n", file.display());
    assert!(said.starts_with(&first) && said.contains(version), "{said}");
    assert!(fs::metadata(&file).unwrap().len() > 100_000);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_check_judges_the_cluster_and_cleans_up() {
    let member = Member::start();
    let mut check =
        etcdctl(&member.url(), &["check", "perf", "--duration", "2s", "--auto-compact"]);
    let output = run(&mut check, "");
    // A busy machine may fail it.
    let judged = if output.exit == Some(0) { "\nPASS\n" } else { "\nFAIL\n" };
    assert!(output.stdout.ends_with(judged), "{output:?}");
    assert!(output.stdout.contains("Throughput") && output.stderr.is_empty(), "{output:?}");
    assert_eq!(printed(etcdctl(&member.url(), &["get", "--prefix", "/etcdctl"])), "");

    printed(etcdctl(&member.url(), &["put", "/etcdctl-check-perf/mine", "v"]));
    let output = run(&mut etcdctl(&member.url(), &["check", "perf"]), "");
    assert_eq!(output.exit, Some(3), "{output:?}");
    let output = run(&mut etcdctl(&member.url(), &["check", "perf", "--load", "xxl"]), "");
    assert_eq!(
        (output.exit, output.stderr.as_str()),
        (Some(4), "Error: unknown load option xxl\n")
    );
}

#[test]
fn long_work_has_a_bar_on_a_terminal_and_none_in_a_pipe() {
    let has_script = Command::new("script").arg("--version").output().is_ok();
    if !rings::can_run("script", has_script, "apt-get install bsdutils") {
        return;
    }
    let member = Member::start();
    let check = format!(
        "{} --endpoints {} check perf --duration 2s",
        binaries::etcdctl().display(),
        member.url()
    );
    let mut terminal = Command::new("script");
    terminal.env("ETCDCTL_API", "3").env("TERM", "xterm").args(["-qec", &check, "/dev/null"]);
    let shown = run(&mut terminal, "").stdout;
    assert!(shown.contains("check perf (seconds) [") && shown.contains("1/2"), "{shown:?}");
    let mut pipe = Command::new("sh");
    pipe.env("ETCDCTL_API", "3").args(["-c", &format!("{check} 2>&1")]);
    let shown = run(&mut pipe, "").stdout;
    assert!(!shown.contains("check perf") && shown.contains("Throughput"), "{shown:?}");
}

#[test]
fn the_memory_that_keys_take_is_told() {
    let member = Member::start();
    // Ten thousand writes, on a machine that has other things to do.
    let output = start(&member, &["check", "datascale"]).wait(Duration::from_mins(5));
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert!(output.stdout.contains("PASS: Approximate system memory used : "), "{output:?}");
    assert_eq!(printed(etcdctl(&member.url(), &["get", "--prefix", "/etcdctl"])), "");
}

#[test]
fn an_answer_has_the_form_that_is_asked_for_or_nothing_is_done() {
    let member = Member::start();
    let printed = |arguments: &[&str]| printed(etcdctl(&member.url(), arguments));
    assert_eq!(printed(&["put", "k", "1"]), "OK\n");
    // Field 2 of the answer, a key with field 1 in it.
    assert!(printed(&["get", "k", "-w", "protobuf"]).contains("\u{a}\u{1}k"));
    let fields = printed(&["del", "k", "--prev-kv", "-w", "fields"]);
    assert!(fields.contains("\"Deleted\" : 1\n\"PrevKey\" : \"k\"\n"), "{fields}");
    printed(&["put", "k", "1"]);
    let refused = run(&mut etcdctl(&member.url(), &["del", "k", "-w", "table"]), "");
    let said = "Error: table not supported as output format\n";
    assert_eq!((refused.exit, refused.stderr.as_str()), (Some(4), said));
    assert_eq!(printed(&["get", "k"]), "k\n1\n", "what was refused was not done");
}

#[test]
fn a_cluster_is_looked_after_member_by_member() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let urls: Vec<_> = cluster.members.iter().map(Member::url).collect();
    let all = urls.join(",");
    let health = printed(etcdctl(&urls[0], &["endpoint", "health", "--cluster"]));
    assert_eq!(health.matches("is healthy").count(), 3, "{health}");
    let status = printed(etcdctl(&all, &["endpoint", "status", "-w", "json"]));
    assert_eq!(status.matches("\"Endpoint\":").count(), 3, "{status}");
    // In the order in which they were asked.
    let order: Vec<_> = urls.iter().map(|url| status.find(url.as_str()).unwrap()).collect();
    assert!(order.is_sorted(), "{status}");

    let members = printed(etcdctl(&all, &["member", "list"]));
    let next = (leader + 1) % 3;
    let line = members.lines().find(|line| line.contains(&urls[next])).expect("it is listed");
    let id = line.split(',').next().unwrap();
    let follower = run(&mut etcdctl(&urls[next], &["move-leader", id]), "");
    let said = format!("Error: no leader endpoint given at [{}]\n", urls[next]);
    assert_eq!((follower.exit, follower.stderr), (Some(128), said));
    let moved = printed(etcdctl(&all, &["move-leader", id]));
    assert!(moved.ends_with(&format!(" to {id}\n")), "{moved}");
    eventually(PATIENCE, "the new leader", || {
        let status = run(&mut etcdctl(&urls[next], &["endpoint", "status"]), "");
        status.stdout.contains(", true, false, ").then_some(())
    });

    cluster.members[leader].kill();
    let began = Instant::now();
    let sick = run(&mut etcdctl(&all, &["endpoint", "health", "--command-timeout", "2s"]), "");
    assert_eq!((sick.exit, sick.stdout.matches("is healthy").count()), (Some(1), 2), "{sick:?}");
    let gone = format!("{} is unhealthy: failed to commit proposal: ", urls[leader]);
    assert!(sick.stderr.contains(&gone) && sick.stderr.contains("connection refused"), "{sick:?}");
    assert!(sick.stderr.ends_with("Error: unhealthy cluster\n"), "{sick:?}");
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn a_reader_who_leaves_early_is_no_panic() {
    let member = Member::start();
    printed(etcdctl(&member.url(), &["put", "k", &"x".repeat(100_000)]));
    for arguments in [&["get", "k"][..], &["member", "list"], &["completion", "bash"]] {
        let mut command = etcdctl(&member.url(), arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("etcdctl ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.as_ref()), (Some(141), ""), "{arguments:?}");
    }
}

#[test]
fn a_request_that_is_too_large_is_told_before_it_is_sent() {
    let member = Member::start();
    let mut put = etcdctl(&member.url(), &["put", "k", "--max-request-bytes", "1000"]);
    let Output { exit, stderr, .. } = run(&mut put, &"x".repeat(2000));
    assert_eq!(exit, Some(1));
    assert!(stderr.contains("trying to send message larger than max (2006 vs. 1000)"), "{stderr}");
    let mut put = etcdctl(&member.url(), &["put", "k"]);
    let Output { exit, stderr, .. } = run(&mut put, &"x".repeat(1_900_000));
    assert_eq!((exit, stderr.as_str()), (Some(1), "Error: etcdserver: request is too large\n"));
}
