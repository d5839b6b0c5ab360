//! The recorded runs of `etcdctl` with API 2, in order, against a fresh member.

use std::{path::Path, thread::sleep, time::Duration};

use e2e::{
    Member, Start, binaries,
    cluster::others::Others,
    records::{self, matches, text},
    rings,
    run::{self, Output},
};
use serde_json::Value;

/// What the index was, in the recorded run, before the first write.
const RECORDED_FIRST: u64 = 3;

/// What is in the record and not in this issue, or is not to be matched, with the reason.
fn left_out(argv: &[&str]) -> Option<&'static str> {
    match argv {
        ["member" | "user"] => Some("a usage text, which need not match"),
        ["help", ..] => Some("a help text, which need not match"),
        ["--version"] => Some("the version is our own"),
        _ => None,
    }
}

/// What we do in the place of the original, where that is at fault; the others have no entry.
enum Instead {
    /// A flag that stands behind its command is taken: flags are good before and after arguments.
    As(&'static [&'static str]),
    /// An error and a usage text, in whatever words.
    Refused,
}

fn instead(argv: &[&str]) -> Option<Instead> {
    match argv {
        ["get", "-o", "extended", ..] | ["get", "--output=extended", ..] => {
            Some(Instead::As(&["--output", "extended", "get", "/k1"]))
        }
        ["unknown-command"] => Some(Instead::Refused),
        _ => None,
    }
}

/// Where etcdctl 3.4 itself differs from the recorded 2.3.8, whatever server it talks to.
fn differs_in_3_4(argv: &[&str]) -> bool {
    matches!(
        argv,
        ["get", "-o" | "--output=extended", ..]
            | ["-o", _, "ls", ..]
            | ["unknown-command"]
            // It names the flags that are missing with two dashes.
            | ["role", "grant", _, "--path", "/c"]
            | ["role", "grant", _, "--read"]
    )
}

#[test]
fn every_recorded_run_is_answered_as_by_etcdctl() {
    play(&Member::start());
}

#[test]
fn every_recorded_run_against_a_follower_is_answered_as_by_etcdctl() {
    play(&Start::new().follower().start());
}

fn play(member: &Member) {
    let original = std::env::var_os("RETCD_ETCDCTL").is_some();
    let command_line = if original { CommandLine::Debians } else { CommandLine::Ours };
    let failures = Playing::new(member, &binaries::etcdctl(), command_line).play();
    member.expect_role();
    assert!(failures.is_empty(), "{} runs differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn debians_etcdctl_gets_from_our_server_what_it_gets_from_etcd() {
    let original = binaries::real_etcdctl();
    let why_not = "/usr/bin/etcdctl 3.4 is not installed: apt-get install etcd-client";
    if !rings::can_run("debian-etcdctl", original.is_some(), why_not) {
        return;
    }
    let member = Member::start();
    let binary = original.expect("it is installed");
    let failures = Playing::new(&member, &binary, CommandLine::Debians).play();
    assert!(failures.is_empty(), "{} runs differ:\n{}", failures.len(), failures.join("\n"));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CommandLine {
    Ours,
    /// The original, 3.4.
    Debians,
}

struct Playing<'a> {
    member: &'a Member,
    binary: &'a Path,
    command_line: CommandLine,
    /// This server's index before the first write.
    first: u64,
    played: usize,
}

impl<'a> Playing<'a> {
    fn new(member: &'a Member, binary: &'a Path, command_line: CommandLine) -> Self {
        let first = member.get("/v2/keys/").index();
        Self { member, binary, command_line, first, played: 0 }
    }

    fn play(mut self) -> Vec<String> {
        let entries = records::lines("etcdctl-v2.jsonl");
        let problem = |entry| Some(format!("{}\n    {}", entry, self.play_entry(entry).err()?));
        let failures = entries.iter().filter_map(problem).collect();
        assert_eq!(self.played, 117, "what the record has");
        failures
    }

    fn play_entry(&mut self, entry: &Value) -> Result<(), String> {
        if let Some(seconds) = entry["sleep"].as_f64() {
            sleep(Duration::from_secs_f64(seconds));
            return Ok(());
        }
        let argv: Vec<&str> = entry["argv"].as_array().expect("argv").iter().map(text).collect();
        if let Some(reason) = left_out(&argv) {
            println!("left out {argv:?}: {reason}");
            return Ok(());
        }
        self.played += 1;
        if self.command_line == CommandLine::Debians && differs_in_3_4(&argv) {
            return Ok(());
        }
        let mut command = run::etcdctl(self.binary, &self.member.url());
        command.args(self.shifted_arguments(&argv));
        if entry["blocks"] == true {
            return self.play_blocking(entry, &mut command);
        }
        let stdin = entry.get("stdin").map_or("", text);
        let output = run::run(&mut command, stdin);
        if let (Some(others), ["member", "list"] | ["cluster-health"]) =
            (self.member.others(), &argv[..])
        {
            return self.compare_of_three(entry, &others.urls(), &output);
        }
        match instead(&argv) {
            Some(Instead::As(other)) if self.command_line == CommandLine::Ours => {
                let mut plain = run::etcdctl(self.binary, &self.member.url());
                same(&run::run(plain.args(other), ""), &output)
            }
            Some(Instead::Refused) if self.command_line == CommandLine::Ours => {
                let refused = output.exit == Some(1) && !output.stderr.is_empty();
                if refused { Ok(()) } else { Err(format!("not refused: {output:?}")) }
            }
            _ => self.compare(entry, &output),
        }
    }

    /// A command that goes on: it must print what the record has, and then still run.
    fn play_blocking(
        &self,
        entry: &Value,
        command: &mut std::process::Command,
    ) -> Result<(), String> {
        let mut running = run::start(command, "");
        let expected = self.shift(text(&entry["stdout"]));
        let count = expected.lines().count();
        e2e::eventually(Duration::from_secs(10), "the recorded lines", || {
            (count <= running.stdout().len()).then_some(())
        });
        sleep(Duration::from_millis(300));
        let still_runs = running.is_running();
        let printed = running.interrupt().stdout;
        if still_runs && printed == expected {
            Ok(())
        } else {
            Err(format!("printed {printed:?} instead of {expected:?}; goes on: {still_runs}"))
        }
    }

    fn compare(&self, entry: &Value, output: &Output) -> Result<(), String> {
        let expected_exit = entry["exit"].as_i64().and_then(|exit| i32::try_from(exit).ok());
        if output.exit != expected_exit {
            return Err(format!("exit {:?} instead of {expected_exit:?}: {output:?}", output.exit));
        }
        let unordered = entry["argv"].as_array().is_some_and(|argv| {
            argv.contains(&Value::from("ls")) && !argv.contains(&Value::from("--sort"))
        });
        let streams = [("stdout", &output.stdout), ("stderr", &output.stderr)];
        let streams = streams.map(|(name, got)| (name, self.without_others(got)));
        for (name, got) in &streams {
            let expected = self.fill(text(&entry[name]));
            let same = if unordered {
                sorted_lines(&expected) == sorted_lines(got)
            } else {
                matches(&expected, got)
            };
            if !same {
                return Err(format!("{name} {got:?} instead of {expected:?}"));
            }
        }
        Ok(())
    }

    /// A recorded output that has a line for the member: now for two others as well, of which one
    /// leads.
    fn compare_of_three(
        &self,
        entry: &Value,
        others: &[String],
        output: &Output,
    ) -> Result<(), String> {
        let expected = self.fill(text(&entry["stdout"]));
        let (ours, rest) = expected.split_at(expected.find('\n').map_or(0, |at| at + 1));
        let (leads, follows) = ("isLeader=true", "isLeader=false");
        let leaders = ours.matches(leads).count();
        let (ours, got) = (ours.replace(leads, follows), &output.stdout);
        let mut lines: Vec<_> = got.split_inclusive('\n').collect();
        lines.retain(|line| !matches(&ours, line) && !others.iter().any(|url| line.contains(url)));
        let count = got.lines().count() - rest.lines().count();
        let fits = lines.concat() == rest && count == 3 && got.matches(leads).count() == leaders;
        if fits && output.exit == Some(0) { Ok(()) } else { Err(format!("{output:?}")) }
    }

    /// Takes the endpoints of others out of lists.
    fn without_others(&self, text: &str) -> String {
        let others = self.member.others().map(Others::urls).unwrap_or_default();
        let lists = others.iter().flat_map(|url| {
            [format!(", {url}"), format!("{url}, "), format!(",{url}"), format!("{url},")]
        });
        lists.fold(text.to_owned(), |text, entry| text.replace(&entry, ""))
    }

    fn fill(&self, text: &str) -> String {
        let text = text.replace("<endpoint>", &self.member.url());
        let text = text.replace("http://127.0.0.1:23791", self.member.peer_url());
        self.shift(&text)
    }

    /// Moves the absolute indexes in an expected text to where this server stands.
    fn shift(&self, text: &str) -> String {
        let marks = [
            ("[", "]\n"),
            ("[", " != "),
            (" != ", "]"),
            ("Index: ", "\n"),
            ("Index\":", ","),
            ("Index\":", "}"),
            ("localhost:1111 ", "\n"),
        ];
        marks
            .iter()
            .fold(text.to_owned(), |text, (before, after)| self.shift_between(&text, before, after))
    }

    fn shift_between(&self, text: &str, before: &str, after: &str) -> String {
        let mut parts = text.split(before);
        let mut shifted = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            shifted += before;
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            match number.parse::<u64>() {
                Ok(number) if rest.starts_with(after) => shifted += &self.moved(number).to_string(),
                _ => shifted += number,
            }
            shifted += rest;
        }
        shifted
    }

    fn shifted_arguments(&self, argv: &[&str]) -> Vec<String> {
        let is_index = |at: usize| {
            let flag = at.checked_sub(1).and_then(|before| argv.get(before));
            flag.is_some_and(|flag| {
                ["--after-index", "--swap-with-index", "--with-index"].contains(flag)
            })
        };
        let shifted = |(at, argument): (usize, &&str)| match argument.parse::<u64>() {
            Ok(index) if is_index(at) => self.moved(index).to_string(),
            // How fast the recording machine was is no behaviour; this one may be busy.
            _ if *argument == "1ms" => "1s".to_owned(),
            _ => (*argument).to_owned(),
        };
        argv.iter().enumerate().map(shifted).collect()
    }

    /// An index of the recorded run, in this run. `1` and `3` of a compare that must fail stay in
    /// the past wherever this server began.
    fn moved(&self, recorded: u64) -> u64 {
        if recorded <= RECORDED_FIRST { recorded } else { recorded - RECORDED_FIRST + self.first }
    }
}

fn same(expected: &Output, got: &Output) -> Result<(), String> {
    if expected == got { Ok(()) } else { Err(format!("{got:?} instead of {expected:?}")) }
}

fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}
