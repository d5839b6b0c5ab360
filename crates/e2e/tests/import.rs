//! `etcdutl import`: what the original left is what a cluster of ours begins with.
//!
//! Real etcd is filled, asked everything, and stopped or killed; its data is imported; ours is asked
//! the same and answers the same.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{
    Answer, Member, Request, Start, binaries, ports, rings,
    run::{self, Output, run},
};
use serde_json::{Value, json};
use tempfile::TempDir;

mod import {
    pub(super) mod ask;
    pub(super) mod fill;
}

use import::{ask, fill};

/// A place for real etcd, and for what becomes of its data.
struct Place {
    dir: TempDir,
    original: PathBuf,
}

impl Place {
    /// `None`: real etcd is not there.
    fn new() -> Option<Self> {
        let original = binaries::real_etcd();
        let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
        if !rings::can_run("real-etcd", original.is_some(), why_not) || binaries::is_original() {
            return None;
        }
        let dir = tempfile::tempdir().expect("/tmp can be written");
        Some(Self { dir, original: original? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Real etcd, with its data in `original`.
    fn original(&self, flags: &[&str]) -> Member {
        let start = Start::original(self.original.clone()).data_dir(&self.path("original"));
        let start = start.peer_url(&format!("http://127.0.0.1:{}", ports::free()));
        flags.iter().fold(start, |start, flag| start.flag(flag)).start()
    }

    /// Imports `from` into `to`.
    fn import(&self, from: &Path, to: &str, flags: &[&str]) -> Output {
        let mut command = Command::new(binaries::etcdutl());
        command.arg("import").arg(from).arg("--data-dir").arg(self.path(to)).args(flags);
        run(&mut command, "")
    }

    /// Imports `from`, and starts a member on that.
    fn imported(&self, from: &Path, to: &str, flags: &[&str]) -> (Member, BTreeMap<String, i64>) {
        let output = self.import(from, to, flags);
        assert_eq!(output.exit, Some(0), "{output:?}");
        (self.start(to), summary(&output))
    }

    fn start(&self, data_dir: &str) -> Member {
        let start = Start::new().data_dir(&self.path(data_dir));
        start.peer_url(&format!("http://127.0.0.1:{}", ports::free())).start()
    }

    /// The import is refused with this text, and leaves nothing.
    #[track_caller]
    fn refused(&self, from: &Path, flags: &[&str], why: &str) {
        let output = self.import(from, "refused", flags);
        assert_eq!(output.exit, Some(1), "{output:?}");
        assert!(output.stderr.starts_with("Error: "), "{output:?}");
        assert!(output.stderr.contains(why), "{output:?}");
        assert!(!self.path("refused").exists(), "something is left");
    }
}

/// The line on stdout, `name=number` by `name=number`.
fn summary(output: &Output) -> BTreeMap<String, i64> {
    let line = output.stdout.strip_suffix('\n').expect("a line");
    line.split(' ')
        .map(|pair| {
            let (name, number) = pair.split_once('=').expect("a pair");
            (name.to_owned(), number.parse().expect("a number"))
        })
        .collect()
}

fn json_of(member: &Member, path: &str, body: &Value) -> Answer {
    member.ask(&Request::json("POST", path, &body.to_string()))
}

#[test]
fn v3_data_answers_as_it_did_from_a_snapshot_a_stopped_and_a_killed_member() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::v3(&original);
    let save = place.path("saved.db");
    let etcdctl = binaries::real_etcdctl().expect("it comes with real etcd");
    let mut command = run::etcdctl_v3(&etcdctl, &original.url());
    let saved = run(command.args(["snapshot", "save"]).arg(&save), "");
    assert_eq!(saved.exit, Some(0), "{saved:?}");
    let expected = ask::v3(&original);
    original.kill();
    let from = place.path("original");
    let (killed, summary) = place.imported(&from, "killed", &[]);
    let same = |member: &Member, what: &str| {
        let found = ask::v3(member);
        for (question, answer) in &expected {
            assert_eq!(found.get(question), Some(answer), "{what}: {question}");
        }
        assert_eq!(found.len(), expected.len());
    };
    same(&killed, "killed");
    assert_eq!(summary["leases"], 3, "{summary:?}");
    assert_eq!(summary["v2-nodes"], 0, "{summary:?}");
    // It goes on from there.
    let put = json_of(&killed, "/v3/kv/put", &json!({"key": "YQ==", "value": "Yg=="})).json();
    assert_eq!(put["header"]["revision"], (summary["revision"] + 1).to_string());
    drop(killed);
    original.restart();
    original.stop();
    let (stopped, summary) = place.imported(&from, "stopped", &[]);
    same(&stopped, "stopped");
    assert_eq!(summary["log-entries"], 0, "all was in the file: {summary:?}");
    drop(stopped);
    same(&place.imported(&save, "saved", &[]).0, "saved");
    // As somebody copied it, without a checksum.
    let copy = place.path("copy.db");
    fs::copy(from.join("member/snap/db"), &copy).expect("it can be copied");
    same(&place.imported(&copy, "copied", &[]).0, "copied");
}

#[test]
fn what_the_file_lacks_is_taken_from_the_log() {
    let Some(place) = Place::new() else { return };
    // Only what forces it writes to the file: the compaction in the middle.
    let flags = ["--backend-batch-interval=1h", "--backend-batch-limit=100000000"];
    let mut original = place.original(&flags);
    fill::v3(&original);
    let expected = ask::v3(&original);
    original.kill();
    let (ours, summary) = place.imported(&place.path("original"), "ours", &[]);
    assert!(summary["log-entries"] >= 5, "{summary:?}");
    let found = ask::v3(&ours);
    for (question, answer) in &expected {
        assert_eq!(found.get(question), Some(answer), "{question}");
    }
}

/// Wherever it is interrupted: there is no member, or a whole one.
#[test]
fn an_import_that_was_interrupted_left_no_member() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::v3(&original);
    original.stop();
    let from = place.path("original");
    let (mut whole, mut interrupted) = (0, 0);
    for round in 0..e2e::count("RETCD_INTERRUPTIONS", 12) {
        let name = format!("round{round}");
        let mut command = Command::new(binaries::etcdutl());
        command.arg("import").arg(&from).arg("--data-dir").arg(place.path(&name));
        let mut running =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(round * 15));
        drop(running.kill());
        drop(running.wait());
        if place.path(&name).join("member/keyspace").exists() {
            whole += 1;
            let ours = place.start(&name);
            assert_eq!(ask::keys(&ours).len(), 128);
            continue;
        }
        interrupted += 1;
        let start = Start::new().data_dir(&place.path(&name)).flag("--force-new-cluster");
        let mut member = start.spawn();
        member.allow("there is no member in");
        member.allow("the log");
        assert!(!member.reap(Duration::from_secs(30)).success(), "round {round}");
    }
    println!("{whole} whole, {interrupted} interrupted");
    assert!(interrupted > 0);
}

#[test]
fn v2_data_keeps_its_indexes_with_and_without_a_snapshot() {
    let Some(place) = Place::new() else { return };
    for (name, snapshots) in [("log", "--snapshot-count=100000"), ("snap", "--snapshot-count=25")] {
        let mut original = place.original(&[snapshots]);
        fill::v2(&original);
        let expected = ask::v2(&original);
        let since = 6;
        let events = ask::v2_events(&original, since);
        original.kill();
        drop(original);
        let files = fs::read_dir(place.path("original/member/snap")).expect("it is there");
        let is_snap = |file: &fs::DirEntry| file.path().extension().is_some_and(|is| is == "snap");
        let has_snap = files.map(|file| file.expect("it is listed")).any(|file| is_snap(&file));
        assert_eq!(has_snap, name == "snap");
        let (ours, summary) = place.imported(&place.path("original"), name, &[]);
        let found = ask::v2(&ours);
        for (question, answer) in expected.as_object().expect("answers") {
            assert_eq!(found.get(question), Some(answer), "{name}: {question}");
        }
        assert_eq!(
            summary["revision"].unsigned_abs(),
            expected["index"].as_u64().expect("a number")
        );
        assert!(summary["log-entries"] > 0, "{summary:?}");
        // In the log, and in what the store keeps of its events.
        assert_eq!(ask::v2_events(&ours, since), events, "{name}");
        let put = ours.put("/next", "1");
        assert_eq!(put, expected["index"].as_u64().expect("a number") + 1);
        drop(ours);
        fs::remove_dir_all(place.path("original")).expect("it is there");
    }
}

#[test]
fn of_two_number_spaces_v3_keeps_its_own_and_v2_comes_behind() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&["--snapshot-count=30"]);
    fill::v3(&original);
    fill::v2(&original);
    let (v3, v2) = (ask::v3(&original), ask::v2(&original));
    original.kill();
    let from = place.path("original");
    let (ours, summary) = place.imported(&from, "both", &[]);
    // At the old revisions there is nothing of v2.
    let found = ask::v3_history(&ours, &v3);
    for (question, answer) in found {
        assert_eq!(v3.get(&question), Some(&answer), "{question}");
    }
    let mut tree = ask::without_indexes(&ask::v2_tree(&ours));
    ask::only_v2(&mut tree);
    assert_eq!(tree, ask::without_indexes(&v2["tree"]));
    let larger =
        ask::revision(&v3).max(i64::try_from(v2["index"].as_u64().unwrap_or(0)).unwrap_or(0));
    assert!(summary["revision"] > larger, "{summary:?}");
    assert!(summary["v2-nodes"] > 10, "{summary:?}");
    let index = ours.get("/v2/keys/").index();
    assert_eq!(index, summary["revision"].unsigned_abs());
}

#[test]
fn a_name_that_both_have_needs_a_word() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    original.put("/both", "of v2");
    original.put("/dir/below", "of v2");
    original.put("/only", "of v2");
    for name in ["/both", "/dir"] {
        fill::put(&original, name.as_bytes(), b"of v3", 0);
    }
    original.stop();
    let from = place.path("original");
    place.refused(
        &from,
        &[],
        "2 names are both keys of v3 and nodes of v2: /both, /dir. Say which",
    );
    let value = |member: &Member, name: &str| {
        let answer = member.get(&format!("/v2/keys{name}"));
        answer.json()["node"]["value"].as_str().map(str::to_owned)
    };
    let (ours, summary) = place.imported(&from, "v2", &["--prefer", "v2"]);
    assert_eq!(value(&ours, "/both").as_deref(), Some("of v2"));
    assert_eq!(value(&ours, "/dir/below").as_deref(), Some("of v2"));
    assert_eq!(value(&ours, "/only").as_deref(), Some("of v2"));
    assert_eq!(ask::keys(&ours), ["/both", "/dir/below", "/only"]);
    assert_eq!((summary["keys"], summary["directories"]), (3, 1));
    drop(ours);
    let output = place.import(&from, "v3", &["--prefer=v3"]);
    assert!(output.stderr.contains("3 v2 nodes were left out"), "{output:?}");
    let ours = place.start("v3");
    assert_eq!(value(&ours, "/both").as_deref(), Some("of v3"));
    assert_eq!(value(&ours, "/dir").as_deref(), Some("of v3"));
    assert_eq!(ask::keys(&ours), ["/both", "/dir", "/only"]);
}

#[test]
fn what_cannot_be_imported_is_refused_and_nothing_is_left() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::put(&original, b"a", b"b", 0);
    let from = place.path("original");
    place.refused(&from, &[], "is in use: stop its etcd");
    place.refused(&place.path("nowhere"), &[], "there is nothing of etcd in");
    let empty = place.path("empty");
    fs::create_dir(&empty).expect("it can be made");
    place.refused(&empty, &[], "there is nothing of etcd in");
    original.stop();
    let output = place.import(&from, "once", &[]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "no progress in a pipe: {output:?}");
    let before = fs::read(place.path("once/member/keyspace")).expect("it is there");
    let again = place.import(&from, "once", &[]);
    assert_eq!(again.exit, Some(1), "{again:?}");
    assert!(again.stderr.contains("not empty"), "{again:?}");
    assert_eq!(fs::read(place.path("once/member/keyspace")).expect("it is there"), before);
    place.refused(&place.path("once"), &[], "is of this etcd and needs no import");
    place.refused(&from, &["--initial-cluster", "other=http://a:1"], "couldn't find local name");
}

#[test]
fn permissions_are_not_dropped_without_a_word() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::put(&original, b"a", b"b", 0);
    for (path, body) in [
        ("user/add", json!({"name": "root", "password": "p"})),
        ("role/add", json!({"name": "root"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("enable", json!({})),
    ] {
        drop(json_of(&original, &format!("/v3/auth/{path}"), &body).expect(&[200]));
    }
    original.stop();
    let from = place.path("original");
    place.refused(&from, &[], "auth is enabled");
    let (ours, _) = place.imported(&from, "open", &["--without-auth"]);
    assert_eq!(ask::keys(&ours), ["a"]);
}

/// Of both files, cut off and with flipped bits: an error that names the file, or another value; no
/// panic, and nothing that starts.
#[test]
fn damaged_data_is_refused() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    fill::v3(&original);
    original.put("/v2", "1");
    original.kill();
    let from = place.path("original");
    let wal = from.join("member/wal/0000000000000000-0000000000000000.wal");
    let db = from.join("member/snap/db");
    let mut dice = fastrand::Rng::with_seed(3);
    let mut refused = 0;
    for file in [&db, &wal] {
        let sound = fs::read(file).expect("it is there");
        let used = sound.iter().rposition(|byte| *byte != 0).expect("it is not empty") + 1;
        for round in 0..e2e::count("RETCD_DAMAGES", 25) {
            let mut bytes = sound.clone();
            if round % 3 == 0 {
                bytes.truncate(dice.usize(..used));
            } else {
                bytes[dice.usize(..used)] ^= 1 << dice.u8(..8);
            }
            fs::write(file, &bytes).expect("it can be written");
            let output = place.import(&from, "damaged", &[]);
            assert!(!output.stderr.contains("panicked"), "{output:?}");
            let started = place.path("damaged");
            if output.exit == Some(0) {
                fs::remove_dir_all(&started).expect("it is there");
                continue;
            }
            assert_eq!(output.exit, Some(1), "{output:?}");
            assert!(!started.exists(), "something is left: {output:?}");
            refused += 1;
        }
        fs::write(file, &sound).expect("it can be written");
    }
    assert!(refused > 20, "{refused}");
    // Behind its checksum nothing is let pass.
    let etcdctl = binaries::real_etcdctl().expect("it comes with real etcd");
    original.restart();
    let save = place.path("saved.db");
    let mut command = run::etcdctl_v3(&etcdctl, &original.url());
    let saved = run(command.args(["snapshot", "save"]).arg(&save), "");
    assert_eq!(saved.exit, Some(0), "{saved:?}");
    let mut bytes = fs::read(&save).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&save, &bytes).expect("it can be written");
    place.refused(&save, &[], "its SHA-256 does not match");
}
