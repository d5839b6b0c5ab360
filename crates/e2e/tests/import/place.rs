//! Real etcd, its data, and what becomes of that.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{
    Answer, Member, Request, Start, binaries,
    clients::etcd35::Etcd35,
    ports, rings,
    run::{self, Output, run},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ask, fill};

/// A place for real etcd, and for what becomes of its data.
pub(crate) struct Place {
    dir: TempDir,
    pub(crate) etcd: PathBuf,
    pub(crate) etcdctl: PathBuf,
}

impl Place {
    /// With real etcd 3.4. `None`: it is not there.
    pub(crate) fn new() -> Option<Self> {
        let (etcd, etcdctl) = (binaries::real_etcd(), binaries::real_etcdctl());
        let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server etcd-client";
        let has_both = etcd.is_some() && etcdctl.is_some();
        if !rings::can_run("real-etcd", has_both, why_not) || binaries::is_original() {
            return None;
        }
        Some(Self::of(etcd?, etcdctl?))
    }

    fn of(etcd: PathBuf, etcdctl: PathBuf) -> Self {
        Self { dir: tempfile::tempdir().expect("/tmp can be written"), etcd, etcdctl }
    }

    /// With real etcd 3.5, beside which 3.4's `etcdctl` asks.
    pub(crate) fn of_3_5() -> Option<(Self, Etcd35)> {
        Self::new()?;
        let original = Etcd35::install()?;
        Some((Self::of(original.etcd.clone(), original.etcdctl.clone()), original))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Real etcd, with its data in `original`.
    pub(crate) fn original(&self, flags: &[&str]) -> Member {
        let start = Start::original(self.etcd.clone()).data_dir(&self.path("original"));
        let start = start.peer_url(&format!("http://127.0.0.1:{}", ports::free()));
        flags.iter().fold(start, |start, flag| start.flag(flag)).start()
    }

    /// Imports `from` into `to`.
    pub(crate) fn import(&self, from: &Path, to: &str, flags: &[&str]) -> Output {
        run(self.command(from, to).args(flags), "")
    }

    pub(crate) fn command(&self, from: &Path, to: &str) -> Command {
        let mut command = Command::new(binaries::etcdutl());
        command.arg("import").arg(from).arg("--data-dir").arg(self.path(to));
        command
    }

    /// Takes a snapshot of a member.
    #[track_caller]
    pub(crate) fn save(&self, member: &Member, name: &str) -> PathBuf {
        let path = self.path(name);
        let mut command = run::etcdctl_v3(&self.etcdctl, &member.url());
        let saved = run(command.args(["snapshot", "save"]).arg(&path), "");
        assert_eq!(saved.exit, Some(0), "{saved:?}");
        path
    }

    /// Imports `from`, and starts a member on that.
    pub(crate) fn imported(
        &self,
        from: &Path,
        to: &str,
        flags: &[&str],
    ) -> (Member, BTreeMap<String, i64>) {
        let output = self.import(from, to, flags);
        assert_eq!(output.exit, Some(0), "{output:?}");
        (self.start(to), summary(&output))
    }

    pub(crate) fn start(&self, data_dir: &str) -> Member {
        let start = Start::new().data_dir(&self.path(data_dir));
        start.peer_url(&format!("http://127.0.0.1:{}", ports::free())).start()
    }

    /// The import is refused with this text, and leaves nothing.
    #[track_caller]
    pub(crate) fn refused(&self, from: &Path, flags: &[&str], why: &str) {
        let output = self.import(from, "refused", flags);
        assert_eq!(output.exit, Some(1), "{output:?}");
        assert!(output.stderr.starts_with("Error: "), "{output:?}");
        assert!(output.stderr.contains(why), "{output:?}");
        assert!(!self.path("refused").exists(), "something is left");
    }
}

/// The line on stdout, `name=number` by `name=number`.
pub(crate) fn summary(output: &Output) -> BTreeMap<String, i64> {
    let line = output.stdout.strip_suffix('\n').expect("a line");
    line.split(' ')
        .map(|pair| {
            let (name, number) = pair.split_once('=').expect("a pair");
            (name.to_owned(), number.parse().expect("a number"))
        })
        .collect()
}

pub(crate) fn json_of(member: &Member, path: &str, body: &Value) -> Answer {
    member.ask(&Request::json("POST", path, &body.to_string()))
}

/// A member answers so.
#[track_caller]
pub(crate) fn same(member: &Member, expected: &ask::Answers, what: &str) {
    let found = ask::v3(member);
    for (question, answer) in expected {
        assert_eq!(found.get(question), Some(answer), "{what}: {question}");
    }
    assert_eq!(found.len(), expected.len());
}

/// From a snapshot, a copy, and the directory of a member that was stopped or killed.
pub(crate) fn v3_answers_as_it_did(place: &Place) {
    // So that there are snapshots of the v2 store as well, and a log behind them.
    let mut original = place.original(&["--snapshot-count=100"]);
    fill::v3(&original);
    let save = place.save(&original, "saved.db");
    let expected = ask::v3(&original);
    original.kill();
    let from = place.path("original");
    let (killed, summary) = place.imported(&from, "killed", &[]);
    let same = |member: &Member, what: &str| same(member, &expected, what);
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

/// With a snapshot and without one.
pub(crate) fn v2_keeps_its_indexes(place: &Place) {
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
