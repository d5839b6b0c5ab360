//! Watches of `etcdctl`: over restarts, until Ctrl-C, and with programs to run.

use std::{process::Command, time::Duration};

use e2e::{
    Member, binaries, eventually,
    run::{self, Running, run},
};

fn etcdctl(member: &Member, arguments: &[&str]) -> Command {
    let mut command = run::etcdctl(&binaries::etcdctl(), &member.url());
    command.args(arguments);
    command
}

fn start(member: &Member, arguments: &[&str]) -> Running {
    run::start(&mut etcdctl(member, arguments), "")
}

/// Waits for these lines and no others.
fn expect(running: &Running, lines: &[&str]) {
    eventually(Duration::from_secs(20), "the lines of the watch", || {
        let seen = running.stdout();
        assert!(
            lines.starts_with(&seen.iter().map(String::as_str).collect::<Vec<_>>()),
            "{seen:?}"
        );
        (seen.len() == lines.len()).then_some(())
    });
}

fn index(member: &Member) -> String {
    member.get("/v2/keys/").index().to_string()
}

#[test]
fn a_watch_goes_on_over_a_restart_and_loses_nothing() {
    let mut member = Member::start();
    member.put("/w/a", "0");
    let after = index(&member);
    let arguments = ["watch", "--forever", "--recursive", "--after-index", &after, "/w"];
    let watch = start(&member, &arguments);
    member.put("/w/a", "1");
    expect(&watch, &["[set] /w/a", "1"]);
    member.kill();
    // Long enough for the watch to find nobody there.
    std::thread::sleep(Duration::from_millis(700));
    member.restart();
    member.put("/w/b", "2");
    member.put("/w/c", "3");
    run(&mut etcdctl(&member, &["rm", "/w/b"]), "");
    let all = [
        "[set] /w/a",
        "1",
        "[set] /w/b",
        "2",
        "[set] /w/c",
        "3",
        "[delete] /w/b",
        "PrevNode.Value: 2",
    ];
    expect(&watch, &all);
    let output = watch.interrupt();
    assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_watch_without_forever_ends_with_the_first_value() {
    let member = Member::start();
    let after = index(&member);
    run(&mut etcdctl(&member, &["mkdir", "/d/sub"]), "");
    member.put("/d/k", "v");
    member.put("/d/k", "w");
    // The directory's own event is passed over.
    let arguments = ["watch", "-recursive", "-after-index", &after, "/d", "-o", "json"];
    let output = run(&mut etcdctl(&member, &arguments), "");
    let stdout = &output.stdout;
    assert!(stdout.starts_with("[set] /d/k\n{\"action\":\"set\","), "{stdout}");
    assert_eq!((stdout.lines().count(), output.exit), (2, Some(0)));
}

#[test]
fn history_beyond_a_thousand_events_is_there_where_the_original_has_an_error() {
    let member = Member::start();
    let after = index(&member);
    for count in 0..1_100 {
        member.put("/k", &count.to_string());
    }
    let output = run(&mut etcdctl(&member, &["watch", "--after-index", &after, "/k"]), "");
    if binaries::is_original() {
        let text = "Error:  401: The event in requested index is outdated and cleared";
        assert!(output.stderr.starts_with(text), "{output:?}");
        assert_eq!(output.exit, Some(4));
    } else {
        assert_eq!((output.stdout.as_str(), output.exit), ("0\n", Some(0)), "{output:?}");
    }
}

#[test]
fn exec_watch_runs_a_program_for_each_change() {
    let member = Member::start();
    member.put("/x/a", "start");
    let (after, base) = (index(&member), index(&member));
    let script = "echo $OWN $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE \
                  $((ETCD_WATCH_MODIFIED_INDEX - $1))";
    let flags = ["exec-watch", "/x", "--recursive", "--after-index", &after, "--"];
    let program = ["env", "OWN=-o", "sh", "-c", script, "--", &base];
    let watch = start(&member, &[&flags[..], &program[..]].concat());
    member.put("/x/a", "one");
    expect(&watch, &["-o set /x/a one 1"]);
    member.put("/x/b", "two");
    expect(&watch, &["-o set /x/a one 1", "-o set /x/b two 2"]);
    // What no environment can hold is passed over, and the watch goes on.
    member.put("/x/c", "a\0b");
    member.put("/x/d", "three");
    expect(&watch, &["-o set /x/a one 1", "-o set /x/b two 2", "-o set /x/d three 4"]);
    let output = watch.interrupt();
    assert_eq!(output.exit, Some(0));
    assert!(output.stderr.starts_with("Error:  run env for the change of /x/c: "), "{output:?}");
}

#[test]
fn exec_watch_ends_when_its_program_cannot_be_run() {
    let member = Member::start();
    let after = index(&member);
    member.put("/x", "v");
    let arguments = ["exec-watch", "--after-index", &after, "/x", "--", "/no/such/program"];
    let output = run(&mut etcdctl(&member, &arguments), "");
    assert!(output.stderr.starts_with("Error:  run /no/such/program: "), "{output:?}");
    assert_eq!(output.exit, Some(1));
}

#[test]
fn ctrl_c_ends_what_waits_in_good_order() {
    let member = Member::start();
    for arguments in
        [&["watch", "/k"][..], &["exec-watch", "/k", "true"], &["cluster-health", "--forever"]]
    {
        let mut running = start(&member, arguments);
        std::thread::sleep(Duration::from_millis(500));
        assert!(running.is_running(), "{arguments:?}");
        assert_eq!(running.interrupt().exit, Some(0), "{arguments:?}");
    }
}
