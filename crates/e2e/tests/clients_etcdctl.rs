//! Debian's `etcdctl` 3.4.23 with both APIs, every command: it prints of three members of ours what it
//! prints of three of real etcd 3.4.23.
//!
//! The recorded runs (`conformance_etcdctl.rs`, `conformance_etcdctl_v3.rs`) are the finer comb; this is
//! the wider one, and has what a record cannot have: commands that need several members.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{
    Member, binaries,
    cluster::Cluster,
    eventually, ports, rings,
    run::{self, Output, Running},
};
use serde_json::Value;

/// For so long after its start real etcd takes a cluster for unhealthy.
const WARM_UP: Duration = Duration::from_secs(6);

/// No command that ends by itself takes longer: one of them writes ten thousand keys.
const LIMIT: Duration = Duration::from_mins(2);

/// How what is printed is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// As it is.
    Exact,
    /// Without its numbers, which differ from server to server.
    Numbers,
    /// Line by line in any order: it has one for each member.
    Lines,
    /// Both.
    Loose,
    /// It goes on until this key is there.
    Until(&'static str),
    /// It goes on: after so many lines it is interrupted.
    GoesOn(usize),
}

use How::{Exact, GoesOn, Lines, Loose, Numbers, Until};

/// A command, and what it reads.
type Step = (How, &'static str, &'static str);

/// Words in braces stand for what differs between the two clusters: `{client0}` to `{client2}`, `{all}`,
/// `{peer0}` to `{peer4}`, the ids `{id0}` to `{id3}`, `{lease1}` on (as they were granted), `{dir}`. The
/// first member leads.
const API_3: &[Step] = &[
    (Exact, "put foo bar", ""),
    (Exact, "put foo bar2 --prev-kv", ""),
    (Exact, "put foo", "from\nstdin\n"),
    (Exact, "put foo bar3 -w json", ""),
    (Exact, "put foo bar3 -w fields --prev-kv", ""),
    (Exact, "put foo1 x", ""),
    (Exact, "put foo2 y", ""),
    (Exact, "put foo2 --ignore-value", ""),
    (Exact, "put none --ignore-value", ""),
    (Exact, "put foo2 z --ignore-lease", ""),
    (Exact, "put foo2 z --ignore-value", ""),
    (Exact, "put", ""),
    (Exact, "put foo3 z --lease=zz", ""),
    (Exact, "put foo3 z --lease=1234", ""),
    (Exact, "put '' z", ""),
    (Exact, "get foo", ""),
    (Exact, "get foo -w json", ""),
    (Exact, "get foo -w fields", ""),
    (Exact, "get foo -w table", ""),
    (Exact, "get foo --hex", ""),
    (Exact, "get foo --hex --print-value-only", ""),
    (Exact, "get foo --print-value-only", ""),
    (Exact, "get foo --keys-only", ""),
    (Exact, "get foo --prefix", ""),
    (Exact, "get foo --prefix --limit 2 -w json", ""),
    (Exact, "get foo --prefix --order=DESCEND", ""),
    (Exact, "get foo --prefix --sort-by=MODIFY --order=DESCEND --keys-only", ""),
    (Exact, "get foo --prefix --sort-by=VERSION --order=ASCEND -w fields", ""),
    (Exact, "get foo --prefix --sort-by=nonsense", ""),
    (Exact, "get foo --prefix --order=nonsense", ""),
    (Exact, "get foo1 --from-key", ""),
    (Exact, "get foo1 --from-key --prefix", ""),
    (Exact, "get foo foo2", ""),
    (Exact, "get foo foo2 foo3", ""),
    (Exact, "get '' --prefix --keys-only", ""),
    (Exact, "get foo --rev 2", ""),
    (Exact, "get foo --rev 1000", ""),
    (Exact, "get foo --consistency=s", ""),
    (Exact, "get foo --consistency=x", ""),
    (Exact, "get nothing -w json", ""),
    (Exact, "get nothing", ""),
    (Exact, "get", ""),
    (Exact, "txn", "value(\"foo\") = \"bar3\"\n\nput foo t1\nget foo\n\nget foo\n\n"),
    (Exact, "txn -w json", "mod(\"foo\") > \"1\"\n\ndel foo1\nget foo --prefix\n\nput no 1\n\n"),
    (Exact, "txn -w fields", "create(\"none\") = \"0\"\n\nput new 1\n\n\n"),
    (Exact, "txn", "version(\"foo\") < \"1\"\n\nput no 1\n\nget foo\nput yes 1\n\n"),
    (Exact, "txn", "\nput same 1\nput same 2\n\n\n"),
    (Exact, "txn", "nonsense\n\n\n\n"),
    (Exact, "del foo2", ""),
    (Exact, "del foo2", ""),
    (Exact, "del n --prefix --prev-kv", ""),
    (Exact, "del yes -w json", ""),
    (Exact, "del", ""),
    (Exact, "del a b c", ""),
    (Exact, "get '' --from-key -w fields", ""),
    (GoesOn(9), "watch foo --rev 2", ""),
    (GoesOn(14), "watch foo --prefix --rev 2 --prev-kv", ""),
    (Exact, "watch", ""),
    (Exact, "compaction 5", ""),
    (Exact, "compaction 5", ""),
    (Exact, "compaction 100000", ""),
    (Exact, "compaction nonsense", ""),
    (Exact, "compaction", ""),
    (Exact, "compaction 8 --physical", ""),
    (Exact, "get foo --rev 2", ""),
    (Exact, "watch foo --rev 2", ""),
    (Exact, "lease list", ""),
    (Exact, "lease grant 500", ""),
    (Exact, "lease grant", ""),
    (Exact, "lease grant nonsense", ""),
    (Exact, "lease grant -- -1", ""),
    (Exact, "lease grant 9000000001", ""),
    (Exact, "put leased 1 --lease={lease1}", ""),
    (Exact, "get leased --prefix -w fields", ""),
    (Exact, "put leased 2 --ignore-lease", ""),
    (Numbers, "lease timetolive {lease1}", ""),
    (Numbers, "lease timetolive {lease1} --keys", ""),
    (Numbers, "lease timetolive {lease1} --keys -w json", ""),
    (Exact, "put leased/2 2 --lease={lease1}", ""),
    (Exact, "lease timetolive 1234", ""),
    (Exact, "lease timetolive zz", ""),
    (Exact, "lease list", ""),
    (Exact, "lease keep-alive --once {lease1}", ""),
    (Exact, "lease keep-alive --once 1234", ""),
    (GoesOn(1), "lease keep-alive {lease1}", ""),
    (Exact, "lease revoke {lease1}", ""),
    (Exact, "lease revoke {lease1}", ""),
    (Exact, "lease revoke", ""),
    (Exact, "lease timetolive {lease1}", ""),
    (Exact, "get leased --prefix", ""),
    (Exact, "lock L echo held", ""),
    (Exact, "lock L sh -c 'exit 3'", ""),
    (Exact, "lock", ""),
    (GoesOn(1), "lock L", ""),
    (GoesOn(2), "elect E first", ""),
    (Exact, "elect", ""),
    (Lines, "member list", ""),
    (Lines, "member list -w table", ""),
    (Exact, "member add", ""),
    (Exact, "member add n3", ""),
    (Exact, "member add n3 --peer-urls=nonsense", ""),
    (Exact, "member add n3 --peer-urls={peer1}", ""),
    (Lines, "member add n3 --peer-urls={peer3} --learner", ""),
    (Lines, "member list", ""),
    (Exact, "member add n4 --peer-urls={peer4} --learner", ""),
    (Exact, "member promote {id3}", ""),
    (Exact, "member promote {id0}", ""),
    (Exact, "member promote 1234", ""),
    (Exact, "member promote", ""),
    (Exact, "member update {id3} --peer-urls={peer4}", ""),
    (Exact, "member update {id3}", ""),
    (Exact, "member update 1234 --peer-urls={peer4}", ""),
    (Exact, "member remove {id3}", ""),
    (Exact, "member remove {id3}", ""),
    (Exact, "member remove zz", ""),
    (Exact, "member remove", ""),
    (Numbers, "endpoint health", ""),
    (Loose, "endpoint health --cluster", ""),
    (Loose, "endpoint status --cluster", ""),
    (Loose, "endpoint hashkv --cluster", ""),
    (Loose, "--endpoints={all},http://127.0.0.1:1 --dial-timeout=300ms endpoint health", ""),
    (Numbers, "endpoint status", ""),
    (Numbers, "endpoint status -w json", ""),
    (Numbers, "endpoint status -w fields", ""),
    (Numbers, "endpoint hashkv", ""),
    (Numbers, "endpoint hashkv -w json", ""),
    (Exact, "--endpoints={client1} move-leader {id1}", ""),
    (Exact, "move-leader {id1}", ""),
    (Exact, "move-leader", ""),
    (Exact, "move-leader zz", ""),
    (Numbers, "defrag", ""),
    (Exact, "alarm list", ""),
    (Exact, "alarm disarm", ""),
    (Exact, "snapshot save {dir}/saved.db", ""),
    (Exact, "snapshot save", ""),
    (Exact, "snapshot status {dir}/none.db", ""),
    (Exact, "--endpoints={all} snapshot save {dir}/other.db", ""),
    (Exact, "--endpoints={all} get foo", ""),
    (Until("mirrored/foo"), "make-mirror --prefix foo --dest-prefix mirrored/foo {bare0}", ""),
    (Exact, "get mirrored/ --prefix", ""),
    (Numbers, "check datascale", ""),
    (
        Exact,
        "--endpoints=http://127.0.0.1:1 --dial-timeout=300ms --command-timeout=300ms get foo",
        "",
    ),
    (Exact, "get foo --nonsense", ""),
    (Exact, "nonsense", ""),
];

/// What a v2 tree goes through; the indexes differ, since real etcd counts its own writes.
const API_2: &[Step] = &[
    (Exact, "set /message Hello", ""),
    (Exact, "set /message", "from stdin"),
    (Exact, "set /message Hi --ttl 500", ""),
    (Exact, "set /message Ho --swap-with-value Hi", ""),
    (Numbers, "set /message Ho --swap-with-value Hi", ""),
    (Numbers, "set /message Ho --swap-with-index 1", ""),
    (Exact, "set", ""),
    (Exact, "get /message", ""),
    (Exact, "get /message --quorum", ""),
    (Numbers, "-o extended get /message", ""),
    (Numbers, "-o json get /message", ""),
    (Numbers, "get /none", ""),
    (Exact, "get", ""),
    (Exact, "mk /made one", ""),
    (Numbers, "mk /made one", ""),
    (Exact, "mk --in-order /queue one", ""),
    (Exact, "mk --in-order /queue two --ttl 100", ""),
    (Exact, "mkdir /dir", ""),
    (Numbers, "mkdir /dir", ""),
    (Exact, "mkdir /dir/sub --ttl 100", ""),
    (Exact, "set /dir/sub/a 1", ""),
    (Exact, "set /dir/b 2", ""),
    (Exact, "set /dir/_hidden 3", ""),
    (Numbers, "set /dir 1", ""),
    (Numbers, "set /message/below 1", ""),
    (Lines, "ls", ""),
    (Lines, "ls /dir", ""),
    (Lines, "ls --recursive /", ""),
    (Exact, "ls -p --sort --recursive /dir", ""),
    (Exact, "ls /dir/b", ""),
    (Numbers, "ls /none", ""),
    (Numbers, "-o json ls --sort /dir", ""),
    (Numbers, "get /dir", ""),
    (Exact, "update /made two", ""),
    (Exact, "update /made three --ttl 100", ""),
    (Numbers, "update /none two", ""),
    (Exact, "updatedir /dir --ttl 300", ""),
    (Numbers, "updatedir /none --ttl 300", ""),
    (Exact, "setdir /dir2 --ttl 100", ""),
    (Numbers, "setdir /dir2", ""),
    (Numbers, "rmdir /dir", ""),
    (Exact, "rmdir /dir2", ""),
    (Numbers, "rmdir /none", ""),
    (Numbers, "rm /dir", ""),
    (Numbers, "rm --dir /dir", ""),
    (Exact, "rm --recursive /dir", ""),
    (Exact, "rm /message", ""),
    (Numbers, "rm /message", ""),
    (Numbers, "rm /made --with-value nonsense", ""),
    (Numbers, "rm /made --with-index 1", ""),
    (Exact, "rm /made --with-value three", ""),
    (Exact, "rm", ""),
    (Exact, "set /w 1", ""),
    (Exact, "set /w 2", ""),
    (Exact, "watch --after-index 1 /message", ""),
    (Numbers, "-o json watch --after-index 1 /dir --recursive", ""),
    (GoesOn(6), "watch --forever --after-index 1 --recursive /dir", ""),
    (
        GoesOn(2),
        "exec-watch --after-index 1 --recursive /w -- sh -c 'echo $ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE'",
        "",
    ),
    (Exact, "watch", ""),
    (Exact, "exec-watch", ""),
    (Lines, "member list", ""),
    (Lines, "cluster-health", ""),
    (Lines, "member add n3 {peer3}", ""),
    (Exact, "member update {id3} {peer4}", ""),
    (Lines, "member list", ""),
    (Exact, "member remove {id3}", ""),
    (Numbers, "member remove {id3}", ""),
    (Exact, "--no-sync get /w", ""),
    (Exact, "--endpoints http://127.0.0.1:1,{client1} get /w", ""),
    (Numbers, "--debug --no-sync get /w", ""),
    (Exact, "-o nonsense get /w", ""),
    (Exact, "nonsense", ""),
];

#[test]
fn etcdctl_with_api_3_prints_of_ours_what_it_prints_of_real_etcd() {
    compare("3", API_3);
}

#[test]
fn etcdctl_with_api_2_prints_of_ours_what_it_prints_of_real_etcd() {
    compare("2", API_2);
}

fn installed() -> Option<(PathBuf, PathBuf)> {
    let found = binaries::real_etcd().zip(binaries::real_etcdctl());
    let why_not = "etcd 3.4 is not installed: apt-get install etcd-server etcd-client";
    rings::can_run("real-etcd", found.is_some(), why_not).then_some(())?;
    found
}

/// Takes all steps on both sides.
fn compare(api: &'static str, steps: &[Step]) {
    let Some((etcd, etcdctl)) = installed() else { return };
    let mut original = Side::new(Cluster::start_original(etcd, 3), &etcdctl, api);
    std::thread::sleep(WARM_UP);
    let mut ours = Side::new(Cluster::start(3), &etcdctl, api);
    let mut wrong = Vec::new();
    for (how, line, stdin) in steps {
        let (theirs, ours) = (original.take(*how, line, stdin), ours.take(*how, line, stdin));
        if theirs != ours {
            wrong.push(format!("{line}\n--- theirs\n{theirs}\n--- ours\n{ours}\n"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), steps.len(), wrong.join("\n"));
}

/// A cluster, and what words stand for there.
struct Side {
    cluster: Cluster,
    etcdctl: PathBuf,
    api: &'static str,
    words: Vec<(String, String)>,
    leases: usize,
    _dir: tempfile::TempDir,
}

impl Side {
    fn new(cluster: Cluster, etcdctl: &Path, api: &'static str) -> Self {
        let mut words = Vec::new();
        let all: Vec<_> = cluster.members.iter().map(Member::url).collect();
        words.push(("{all}".to_owned(), all.join(",")));
        for (at, member) in cluster.members.iter().enumerate() {
            words.push((format!("{{client{at}}}"), member.url()));
            words.push((format!("{{peer{at}}}"), member.peer_url().to_owned()));
            words.push((format!("{{bare{at}}}"), member.address().to_string()));
        }
        for at in 3..5 {
            words.push((format!("{{peer{at}}}"), format!("http://127.0.0.1:{}", ports::free())));
        }
        let dir = tempfile::tempdir().expect("/tmp can be written");
        words.push(("{dir}".to_owned(), dir.path().display().to_string()));
        let etcdctl = etcdctl.to_owned();
        let mut side = Self { cluster, etcdctl, api, words, leases: 0, _dir: dir };
        side.learn_members();
        side.let_the_first_lead();
        side
    }

    fn let_the_first_lead(&mut self) {
        let leader = self.cluster.leader();
        if leader != 0 {
            let mut command = run::etcdctl_v3(&self.etcdctl, &self.cluster.members[leader].url());
            let moved = run::run(command.args(["move-leader", &self.fill("{id0}")]), "");
            assert_eq!(moved.exit, Some(0), "{moved:?}");
        }
        assert_eq!(self.cluster.leader(), 0);
    }

    /// Remembers the ids of members, by where they are.
    fn learn_members(&mut self) {
        let told = self.cluster.members[0].get("/v2/members").expect(&[200]).json();
        for member in told["members"].as_array().expect("a list") {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let (id, url) = (text(&member["id"]), text(&member["peerURLs"][0]));
            if self.words.iter().any(|(_, stands_for)| *stands_for == id) {
                continue;
            }
            let word = self.words.iter().find(|(_, stands_for)| *stands_for == url);
            let Some(word) = word.map(|(word, _)| word.replace("peer", "id")) else { continue };
            self.words.push((word, id));
        }
    }

    fn fill(&self, text: &str) -> String {
        let words = self.words.iter().rev();
        words.fold(text.to_owned(), |text, (word, stands_for)| text.replace(word, stands_for))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = run::bare_etcdctl(&self.etcdctl, self.api);
        // Given twice, both count.
        if !line.contains("--endpoints") {
            command.args(["--endpoints", &self.fill("{client0}")]);
        }
        command.args(split(line).iter().map(|word| self.fill(word)));
        command
    }

    fn take(&mut self, how: How, line: &str, stdin: &str) -> String {
        let mut command = self.command(line);
        let output = match how {
            GoesOn(lines) => go_on(&mut command, stdin, |running| lines <= running.stdout().len()),
            Until(key) => go_on(&mut command, stdin, |_| self.has(key)),
            Exact | Numbers | Lines | Loose => run::start(&mut command, stdin).wait(LIMIT),
        };
        if self.api == "3" && line.starts_with("lease grant") && output.exit == Some(0) {
            let id = output.stdout.split(' ').nth(1).expect("lease ID granted with").to_owned();
            self.leases += 1;
            self.words.push((format!("{{lease{}}}", self.leases), id));
        }
        if line.starts_with("member") {
            self.learn_members();
        }
        let (stdout, stderr) =
            (self.masked(how, line, &output.stdout), self.masked(how, line, &output.stderr));
        format!("exit: {:?}\n{stdout}\nstderr:\n{stderr}", output.exit)
    }

    fn has(&self, key: &str) -> bool {
        let output = run::run(&mut self.command(&format!("get {key}")), "");
        output.exit == Some(0) && !output.stdout.is_empty()
    }

    /// The text without what differs from cluster to cluster and from run to run.
    fn masked(&self, how: How, line: &str, text: &str) -> String {
        let text = text.lines().map(unpadded).collect::<Vec<_>>().join("\n");
        let masked = self.words.iter().fold(text, |text, (word, stands_for)| {
            let text = text.replace(stands_for.as_str(), word);
            // The same id in JSON and in fields.
            match u64::from_str_radix(stands_for, 16) {
                Ok(number) if stands_for.len() >= 14 => text.replace(&number.to_string(), word),
                _ => text,
            }
        });
        // The client's own log has times and places in its source; how often a bar moves is chance.
        let is_chance = |line: &str| line.starts_with("{\"level\":") || line.contains('\r');
        let lines = masked.lines().filter(|line| !is_chance(line));
        let mut lines: Vec<_> = lines.map(|line| mask(&sorted_rows(line), how)).collect();
        // Each event starts a program of its own: they race.
        if [Lines, Loose].contains(&how) || line.starts_with("exec-watch") {
            lines.sort_unstable();
        }
        lines.join("\n")
    }
}

/// A line without durations, terms, long ids and, if so asked, all numbers.
fn mask(line: &str, how: How) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while let Some(from) = rest.find(|letter: char| letter.is_ascii_alphanumeric()) {
        let (before, word_on) = rest.split_at(from);
        masked += before;
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "._µ".contains(letter);
        let end = word_on.find(|letter| !is_part(letter)).unwrap_or(word_on.len());
        let (word, after) = word_on.split_at(end);
        let is_number = word.starts_with(|letter: char| letter.is_ascii_digit());
        let is_time = is_number && word.ends_with('s');
        let is_id = word.len() >= 14 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let lowered = masked.to_ascii_lowercase();
        let is_term = ["raft_term\":", "raftterm\" : ", "raftterm\":"];
        let is_term = is_term.iter().any(|name| lowered.ends_with(name));
        let hidden = is_time || is_id || is_term || ([Numbers, Loose].contains(&how) && is_number);
        masked += if hidden { "#" } else { word };
        rest = after;
    }
    masked + rest
}

/// The rows of `ETCD_INITIAL_CLUSTER` come in order of ids.
fn sorted_rows(line: &str) -> String {
    let Some(rows) = line.strip_prefix("ETCD_INITIAL_CLUSTER=") else { return line.to_owned() };
    let mut rows: Vec<_> = rows.trim_matches('"').split(',').collect();
    rows.sort_unstable();
    format!("ETCD_INITIAL_CLUSTER=\"{}\"", rows.join(","))
}

/// The line without the blanks in the place of zeros that an id begins with: whether it does is chance.
fn unpadded(line: &str) -> String {
    let missing = |word: &str| {
        let digits = word.trim_end_matches([',', ':']);
        let is_id = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id && (14..16).contains(&digits.len()) { 16 - digits.len() } else { 0 }
    };
    if line.starts_with('|') {
        let cell = |cell: &str| match missing(cell.trim()) {
            0 => cell.to_owned(),
            _ => format!(" {} ", cell.trim()),
        };
        return line.split('|').map(cell).collect::<Vec<_>>().join("|");
    }
    let mut words: Vec<&str> = Vec::new();
    for word in line.split(' ') {
        for _ in 0..missing(word) {
            words.pop_if(|before| before.is_empty());
        }
        words.push(word);
    }
    words.join(" ")
}

#[test]
fn only_the_padding_of_an_id_is_chance() {
    let id = "abcdef012345678";
    for (line, same) in [
        (format!("Member  {id} added"), format!("Member {id} added")),
        (format!("  {id}, started"), format!(" {id}, started")),
        (format!("|  {id} |  m0 |"), format!("| {id} |  m0 |")),
        (format!("a, {id}, b"), format!("a, {id}, b")),
        (format!("Member  {id}0  added"), format!("Member  {id}0  added")),
        ("OK  2".to_owned(), "OK  2".to_owned()),
    ] {
        assert_eq!(unpadded(&line), same);
    }
}

/// Words at spaces; what is within single quotes is one.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Runs a command that does not end by itself until it has done so much.
fn go_on(command: &mut Command, stdin: &str, done: impl Fn(&Running) -> bool) -> Output {
    let mut running = run::start(command, stdin);
    eventually(Duration::from_secs(20), &format!("{command:?} does its work"), || {
        (done(&running) || !running.is_running()).then_some(())
    });
    if running.is_running() {
        return Output { exit: None, ..running.interrupt() };
    }
    running.wait(Duration::ZERO)
}
