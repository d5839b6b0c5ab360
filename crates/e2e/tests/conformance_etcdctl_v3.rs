//! The recorded runs of `etcdctl` with API 3, in order, against a fresh member.

use std::{path::Path, process::Command, thread::sleep, time::Duration};

use e2e::{
    Member, Start, binaries,
    records::{self, matches, text},
    rings,
    run::{self, Output},
};
use serde_json::Value;

/// Help and usage texts, which need not match.
fn is_help(argv: &[&str]) -> bool {
    matches!(argv, ["help" | "check" | "snapshot" | "downgrade"] | ["put", "--help"])
}

/// What our server does not do yet, with the reason. An entry goes when it is done: the test fails
/// for one that is answered as recorded.
fn not_yet(argv: &[&str]) -> Option<&'static str> {
    match argv {
        ["downgrade", "validate", "3.5.0"] => Some("no build of ours is older than 3.6"),
        _ => None,
    }
}

/// What real etcd 3.4 itself answers unlike the recorded 3.6, to our etcdctl.
fn server_3_4_differs(argv: &[&str]) -> bool {
    matches!(
        argv,
        ["endpoint", "status" | "hashkv", ..]
            | ["alarm", "list", "-w", ..]
            | ["downgrade", "validate", _]
            | ["downgrade", "cancel"]
            | [.., "auth", "status"]
            // 3.4 takes a range that ends before it begins.
            | ["role", "grant-permission", "r1", "write", "foo", "bar"]
            | ["role", "revoke-permission", ..]
            | ["role", "get", "r1", ..]
    )
}

/// Where Debian's etcdctl 3.4 differs from the recorded 3.6, whatever server it talks to.
fn etcdctl_3_4_differs(argv: &[&str]) -> bool {
    let flags = ["--count-only", "--min-mod-rev", "--range", "--consistency", "--hex"];
    let knows_flags = argv.iter().any(|word| flags.contains(word)) && argv.first() != Some(&"get");
    let new_of_get = argv.iter().any(|word| ["--count-only", "--min-mod-rev"].contains(word));
    knows_flags
        || new_of_get
        || matches!(
            argv,
            ["del", "foo2", "foo4"]
                | ["txn", "-w", "json"]
                | ["member", "list", "-w", "fields"]
                // `defrag` tells no time.
                | ["downgrade" | "snapshot" | "version" | "nonsense" | "defrag", ..]
                | [.., "auth", "status"]
                // Fewer columns.
                | ["endpoint", "status" | "hashkv", ..]
                // On stderr there.
                | ["endpoint", "nonsense" | "health"]
                | ["endpoint", "health", "--cluster"]
                | ["--command-timeout", "1ns", ..]
        )
}

/// What Debian's etcdctl 3.4 asks of one endpoint, with all that was given for it as the authority of
/// the request. `http://host:port` is none, and the HTTP/2 library of our server says so.
fn asks_for_one_endpoint(argv: &[&str]) -> bool {
    matches!(argv, ["endpoint", "status" | "hashkv", ..] | ["defrag", ..] | ["move-leader", _])
}

#[test]
fn every_recorded_run_is_answered_as_by_etcdctl() {
    let mut member = Member::start();
    member.allow("reject downgrade request");
    member.allow("invalid authentication was requested");
    let playing = Playing {
        member: &member,
        binary: &binaries::etcdctl(),
        is_debians: false,
        left_out: |_| false,
        not_yet,
    };
    playing.play(195);
}

#[test]
fn our_etcdctl_prints_of_real_etcd_what_the_original_prints() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("debian-etcd", original.is_some(), why_not) {
        return;
    }
    let member = Start::original(original.expect("it is installed")).start();
    let playing = Playing {
        member: &member,
        binary: &binaries::etcdctl(),
        is_debians: false,
        left_out: server_3_4_differs,
        not_yet: |_| None,
    };
    playing.play(174);
}

#[test]
fn debians_etcdctl_gets_from_our_server_what_it_gets_from_etcd() {
    let original = binaries::real_etcdctl();
    let why_not = "/usr/bin/etcdctl 3.4 is not installed: apt-get install etcd-client";
    if !rings::can_run("debian-etcdctl", original.is_some(), why_not) {
        return;
    }
    let mut member = Member::start();
    member.allow("invalid authentication was requested");
    let playing = Playing {
        member: &member,
        binary: &original.expect("it is installed"),
        is_debians: true,
        left_out: etcdctl_3_4_differs,
        not_yet,
    };
    playing.play(162);
}

struct Playing<'a> {
    member: &'a Member,
    binary: &'a Path,
    is_debians: bool,
    left_out: fn(&[&str]) -> bool,
    not_yet: fn(&[&str]) -> Option<&'static str>,
}

impl Playing<'_> {
    /// Plays all, of which `count` must be answered as recorded.
    fn play(&self, count: usize) {
        let (mut failures, mut played) = (Vec::new(), 0);
        for entry in records::lines("etcdctl-v3.jsonl") {
            if let Some(seconds) = entry["sleep"].as_f64() {
                sleep(Duration::from_secs_f64(seconds));
                continue;
            }
            let argv: Vec<&str> =
                entry["argv"].as_array().expect("argv").iter().map(text).collect();
            if is_help(&argv) {
                continue;
            }
            if (self.left_out)(&argv) {
                // What it writes counts all the same.
                let mut command = run::etcdctl_v3(self.binary, &self.member.url());
                run::run(command.args(&argv), entry.get("stdin").map_or("", text));
                continue;
            }
            match (self.play_entry(&entry, &argv), (self.not_yet)(&argv)) {
                (Ok(()), None) => played += 1,
                (Err(_), Some(why)) => println!("not yet {argv:?}: {why}"),
                (Ok(()), Some(why)) => failures.push(format!("{argv:?}: no more true: {why}")),
                (Err(problem), None) => failures.push(format!("{argv:?}\n    {problem}")),
            }
        }
        assert!(failures.is_empty(), "{} runs differ:\n{}", failures.len(), failures.join("\n"));
        assert_eq!(played, count, "what the record has");
    }

    fn endpoint(&self, argv: &[&str]) -> String {
        let bare = self.is_debians && asks_for_one_endpoint(argv);
        if bare { self.member.address().to_string() } else { self.member.url() }
    }

    fn play_entry(&self, entry: &Value, argv: &[&str]) -> Result<(), String> {
        let mut command = run::etcdctl_v3(self.binary, &self.endpoint(argv));
        command.args(argv);
        if entry["blocks"] == true {
            return play_blocking(entry, &mut command);
        }
        let output = run::run(&mut command, entry.get("stdin").map_or("", text));
        if entry["crashes"] == true {
            let clear = output.stderr.starts_with("Error: ") && output.stderr.lines().count() == 1;
            let refused = clear && [Some(1), Some(3)].contains(&output.exit);
            return if refused { Ok(()) } else { Err(format!("{output:?}")) };
        }
        if *argv == ["endpoint", "nonsense"] {
            // The original shows its help and is content.
            let told = output.stderr.contains("unknown command \"nonsense\"");
            let refused = told && output.exit == Some(1) && output.stdout.is_empty();
            return if refused { Ok(()) } else { Err(format!("{output:?}")) };
        }
        self.compare(entry, argv, &output)
    }

    fn compare(&self, entry: &Value, argv: &[&str], output: &Output) -> Result<(), String> {
        let exit = entry["exit"].as_i64().and_then(|exit| i32::try_from(exit).ok());
        if output.exit != exit {
            return Err(format!("exit {:?} instead of {exit:?}: {output:?}", output.exit));
        }
        // The original's log.
        let lines = output.stderr.split_inclusive('\n');
        let stderr: String = lines.filter(|line| !line.starts_with("{\"level\":")).collect();
        for (name, got) in [("stdout", &output.stdout), ("stderr", &stderr)] {
            let expected = self.fill(argv, text(&entry[name]));
            let got = if argv.contains(&"table") { squeezed(got) } else { got.clone() };
            if !matches(&expected, &got) {
                return Err(format!("{name} {got:?} instead of {expected:?}"));
            }
        }
        Ok(())
    }

    /// The expected text, with what varies from run to run left open.
    fn fill(&self, argv: &[&str], expected: &str) -> String {
        let filled = expected
            .replace("<endpoint>", &self.endpoint(argv))
            .replace("http://127.0.0.1:23795", self.member.peer_url());
        let filled = without_times(&filled);
        let varying: &[(&str, &str)] = match argv {
            ["endpoint", "status", ..] => STATUS,
            ["version"] => &[("3.6.0", "<word>")],
            _ => &[],
        };
        let filled = varying.iter().fold(filled, |text, (from, to)| text.replace(from, to));
        if argv.contains(&"table") { squeezed(&filled) } else { filled }
    }
}

/// A command that goes on: it must print what the record has, and then still run.
fn play_blocking(entry: &Value, command: &mut Command) -> Result<(), String> {
    let mut running = run::start(command, "");
    let expected = text(&entry["stdout"]);
    let count = expected.lines().count();
    e2e::eventually(Duration::from_secs(10), "the recorded lines", || {
        (count <= running.stdout().len()).then_some(())
    });
    sleep(Duration::from_millis(300));
    let still_runs = running.is_running();
    let printed = running.interrupt().stdout;
    if still_runs && printed == expected {
        return Ok(());
    }
    Err(format!("printed {printed:?} instead of {expected:?}; goes on: {still_runs}"))
}

/// What differs in `endpoint status`: versions, sizes, indexes. The recorded 3.6.0 did not tell its
/// quota yet.
const STATUS: &[(&str, &str)] = &[
    (
        "3.6.0, 3.6.0, 25 kB, 16 kB, 34%, 0 B,",
        "<word>, <word>, <word> <word>, <word> <word>, <word>%, <word> <word>,",
    ),
    (", 38, 38,", ", <word>, <word>,"),
    (
        "3.6.0 |           3.6.0 |   25 kB |  16 kB |                   34% |   0 B |",
        "<word> | <word> | <word> <word> | <word> <word> | <word>% | <word> <word> |",
    ),
    ("        38 |                 38 |", " <word> | <word> |"),
    ("\"version\":\"3.6.0\",\"dbSize\":24576", "\"version\":\"<word>\",\"dbSize\":<word>"),
    (
        "\"raftIndex\":38,\"raftTerm\":2,\"raftAppliedIndex\":38,\"dbSizeInUse\":16384,\
         \"storageVersion\":\"3.6.0\",",
        "\"raftIndex\":<word>,\"raftTerm\":2,\"raftAppliedIndex\":<word>,\"dbSizeInUse\":<word>,\
         \"storageVersion\":\"<word>\",\"dbSizeQuota\":<word>,",
    ),
    ("\"Version\" : \"3.6.0\"", "\"Version\" : \"<word>\""),
    ("\"StorageVersion\" : \"3.6.0\"", "\"StorageVersion\" : \"<word>\""),
    (
        "\"DBSize\" : 24576\n\"DBSizeInUse\" : 16384",
        "\"DBSize\" : <word>\n\"DBSizeInUse\" : <word>\n\"DBSizeQuota\" : <word>",
    ),
    ("\"RaftIndex\" : 41", "\"RaftIndex\" : <word>"),
    ("\"RaftAppliedIndex\" : 41", "\"RaftAppliedIndex\" : <word>"),
];

/// Leaves durations open.
fn without_times(text: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == 'µ';
    let is_time = |word: &str| {
        word.starts_with(|letter: char| letter.is_ascii_digit())
            && (word.ends_with("ms") || word.ends_with("µs"))
    };
    let mut filled = String::new();
    let mut rest = text;
    while let Some(from) = rest.find(is_part) {
        let (before, word_on) = rest.split_at(from);
        let end = word_on.find(|letter| !is_part(letter)).unwrap_or(word_on.len());
        let (word, after) = word_on.split_at(end);
        filled += before;
        filled += if is_time(word) { "<time>" } else { word };
        rest = after;
    }
    filled + rest
}

/// A table without its widths.
fn squeezed(table: &str) -> String {
    let mut squeezed = String::new();
    for letter in table.chars() {
        let repeats = squeezed.ends_with(letter) && (letter == ' ' || letter == '-');
        if !repeats {
            squeezed.push(letter);
        }
    }
    squeezed
}
