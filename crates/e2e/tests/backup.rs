//! `etcdctl backup`, of members that run and of members that do not, and what becomes of it.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use e2e::{
    Connection, Member, Request, Start, binaries,
    cluster::{
        Cluster,
        account::Account,
        forced::{back_up, force, id, try_back_up},
    },
    eventually, ports, rings,
    run::{self, Output},
};
use linearizable::{Action, Change, Operation, Outcome};

const PATIENCE: Duration = Duration::from_secs(30);

fn value(member: &Member, key: &str) -> Option<String> {
    let answer = member.get(&format!("/v2/keys{key}?quorum=true"));
    let found = answer.expect(&[200, 404]);
    Some(found.json()["node"]["value"].as_str()?.to_owned())
}

fn etcdctl(member: &Member, arguments: &[&str]) -> Output {
    let mut command = run::etcdctl(&binaries::etcdctl(), &member.url());
    run::run(command.args(arguments), "")
}

/// Keys of their own that were written for certain before this time, with their values.
fn written_before(history: &[Operation], time: u64) -> Vec<(String, String)> {
    let done = history.iter().filter(|operation| operation.returned < time);
    let created = done.filter_map(|operation| match &operation.action {
        Action::Change(Change::Create(value), Outcome::Done { .. })
            if operation.key.starts_with("/journal/") =>
        {
            Some((operation.key.clone(), value.clone()))
        }
        _ => None,
    });
    created.collect()
}

#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_and_grows_into_a_cluster_of_its_own() {
    // The log is cut often.
    let mut cluster = Cluster::start_with(3, &["--snapshot-count=100"]);
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let account = Account::open(&cluster);
    let mut taken = Vec::new();
    for round in 0..6 {
        let leader = cluster.leader();
        let before = account.load.now();
        let backup = directory.path().join(format!("b{round}"));
        let output = back_up(cluster.members[leader].data_dir(), &backup);
        assert_eq!(output.stdout, "", "as the original");
        assert!(output.stderr.contains("up to revision"), "{output:?}");
        taken.push((before, backup));
        account.load.goes_on(30);
    }
    let old = id(&cluster.members[0]);
    let cluster_id = |member: &Member| {
        let answer = member.get("/v2/members");
        answer.header("X-Etcd-Cluster-Id").expect("it says so").to_owned()
    };
    let old_cluster = cluster_id(&cluster.members[0]);
    // It is as if nothing had been.
    let record = account.close(&cluster);
    let last = taken.pop();
    for (before, backup) in &taken {
        let member = force(backup, &[]);
        let expected = written_before(&record.history, *before);
        assert!(expected.len() > 10, "{} keys: this shows nothing", expected.len());
        for (key, text) in expected {
            assert_eq!(value(&member, &key), Some(text), "{key} of {}", backup.display());
        }
        assert_ne!(cluster_id(&member), old_cluster);
    }
    // The last one becomes a cluster again, in the way that the original's guide has it.
    let (before, backup) = last.expect("some were taken");
    let mut member = force(&backup, &[]);
    member.stop();
    member.restart();
    let new = id(&member);
    assert_ne!(new, old);
    let peer = member.peer_url().to_owned();
    let output = etcdctl(&member, &["member", "update", &new, &peer]);
    assert_eq!(output.stdout, format!("Updated member with ID {new} in cluster\n"), "{output:?}");
    let mut restored = Cluster::of(member, "default");
    restored.put("/after", "1");
    for _ in 0..2 {
        restored.add();
        restored.agree();
    }
    restored.members[0].kill();
    restored.put("/later", "1");
    for member in &restored.members[1..] {
        for (key, text) in written_before(&record.history, before) {
            assert_eq!(value(member, &key), Some(text), "{key}");
        }
        assert_eq!(value(member, "/after").as_deref(), Some("1"));
    }
}

/// Pages are used again all the time, and copying takes a while.
#[test]
fn a_large_keyspace_is_backed_up_while_it_changes_as_fast_as_it_can() {
    let mut member = Start::new().flag("--snapshot-count=100").start();
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let large = "x".repeat(200_000);
    for number in 0..200 {
        member.put(&format!("/large/{number}"), &large);
    }
    let (stops, address) = (AtomicBool::new(false), member.address());
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        let writer = |writer: u64| {
            let stops = &stops;
            scope.spawn(move || {
                let mut connection = Connection::open(address).expect("the member accepts");
                let mut last = 0;
                for number in 1.. {
                    if stops.load(SeqCst) {
                        break;
                    }
                    // One key of many, and one that tells how far it is.
                    let padding = "y".repeat(usize::try_from(number % 50).expect("few") * 400);
                    let keys = [format!("/w/{writer}/{}", number % 40), format!("/at/{writer}")];
                    for key in keys {
                        let text = format!("{number} {padding}");
                        let request = Request::put(&format!("/v2/keys{key}"), &text);
                        let answer = connection.ask(&request).expect("an answer");
                        drop(answer.expect(&[200, 201]));
                    }
                    last = number;
                }
                last
            })
        };
        let writers: Vec<_> = (0..4).map(writer).collect();
        for round in 0..4 {
            let backup = directory.path().join(format!("b{round}"));
            let before: Vec<u64> = (0..4).map(|writer| progress(&member, writer)).collect();
            back_up(member.data_dir(), &backup);
            reports.push((before, backup));
        }
        stops.store(true, SeqCst);
        let written: u64 = writers.into_iter().map(|writer| writer.join().expect("no panic")).sum();
        println!("{written} rounds of writes meanwhile");
        assert!(written > 100, "{written}: this shows nothing");
    });
    assert!(member.log().contains("somebody copies the data"));
    member.stop();
    for (before, backup) in reports {
        let restored = force(&backup, &[]);
        assert_eq!(value(&restored, "/large/199").as_deref(), Some(large.as_str()));
        for (writer, before) in (0..4).zip(before) {
            let at = progress(&restored, writer);
            assert!(before <= at, "writer {writer} was at {before}, and is at {at} in the backup");
            // What it wrote before is there, each with its own text.
            for number in at.saturating_sub(39).max(1)..=at {
                let found = value(&restored, &format!("/w/{writer}/{}", number % 40));
                let found = found.expect("it was written");
                let found: u64 = found.split(' ').next().expect("a number").parse().expect("one");
                // One more may have been written than was told.
                assert!(found == number || found == at + 1, "{found}, not {number} (at {at})");
            }
        }
    }
}

fn progress(member: &Member, writer: u64) -> u64 {
    let text = value(member, &format!("/at/{writer}"));
    text.map_or(0, |text| text.split(' ').next().expect("it").parse().expect("a number"))
}

#[test]
fn a_backup_and_its_former_cluster_want_nothing_of_each_other() {
    let mut cluster = Cluster::start(3);
    cluster.put("/before", "1");
    cluster.agree();
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let backup = directory.path().join("backup");
    back_up(cluster.members[2].data_dir(), &backup);
    let at = cluster.members[2].peer_url().to_owned();
    cluster.members[2].kill();
    cluster.put("/meanwhile", "1");
    // At the very place where the others look for the third.
    let start = Start::new().data_dir(&backup).with("force-new-cluster", None).peer_url(&at);
    let mut restored = start.spawn();
    restored.allow("refused a stream of a peer");
    restored.wait_until_ready();
    for member in [&restored, &cluster.members[0], &cluster.members[1]] {
        eventually(PATIENCE, "both say so", || {
            member.log().contains("cluster ID mismatch").then_some(())
        });
    }
    assert_eq!(value(&restored, "/before").as_deref(), Some("1"));
    assert_eq!(value(&restored, "/meanwhile"), None);
    restored.put("/own", "1");
    cluster.put("/still", "1");
    drop(restored);
    cluster.members[2].restart();
    cluster.agree();
    assert_eq!(value(&cluster.members[2], "/own"), None);
    assert_eq!(value(&cluster.members[2], "/still").as_deref(), Some("1"));
}

#[test]
fn a_backup_is_started_with_the_flag_or_not_at_all() {
    let mut member = Member::start();
    member.put("/a", "1");
    member.stop();
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let backup = directory.path().join("backup");
    back_up(member.data_dir(), &backup);
    let before = contents(&backup);
    let mut refused = Start::new().data_dir(&backup).spawn();
    refused.allow("this is a backup");
    assert_eq!(refused.reap(PATIENCE).code(), Some(1));
    let log = refused.log().text();
    assert!(log.contains("start it once with --force-new-cluster"), "{log}");
    drop(refused);
    assert!(contents(&backup) == before, "it was changed");
    // Where it is is what its flags say, by default that of the original.
    let restored = force(&backup, &[]);
    assert_eq!(value(&restored, "/a").as_deref(), Some("1"));
    let listed = etcdctl(&restored, &["member", "list"]).stdout;
    assert!(listed.contains(&format!("peerURLs={}", restored.peer_url())), "{listed}");
    let health = etcdctl(&restored, &["cluster-health"]);
    assert_eq!(health.exit, Some(0), "{health:?}");
}

/// All files below a directory, but for locks.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name() != Some(OsStr::new("lock")) {
            found.push((path.display().to_string(), fs::read(&path).expect("it can be read")));
        }
    }
    found.sort();
    found
}

#[test]
fn logs_in_places_of_their_own_are_found_and_made() {
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let path = |name: &str| directory.path().join(name);
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let start = Start::new().data_dir(&path("data")).flag(&flag("wal-dir", &path("wal")));
    let mut member = start.start();
    member.put("/a", "1");
    let arguments = [
        flag("data-dir", &path("data")),
        flag("wal-dir", &path("wal")),
        flag("backup-dir", &path("backup")),
        flag("backup-wal-dir", &path("backup-wal")),
    ];
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let output = try_back_up(&arguments);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert!(path("backup-wal/0000000000000001.log").exists());
    assert!(!path("backup/member/wal").exists());
    let restored = force(&path("backup"), &[&flag("wal-dir", &path("backup-wal"))]);
    assert_eq!(value(&restored, "/a").as_deref(), Some("1"));
    member.stop();
}

#[test]
fn what_cannot_be_backed_up_is_refused_in_a_line_that_helps() {
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let path = |name: &str| directory.path().join(name);
    let refused = |from: &Path, to: &Path, hint: &str| {
        let output = try_back_up(&[
            OsStr::new("--data-dir"),
            from.as_os_str(),
            OsStr::new("--backup-dir"),
            to.as_os_str(),
        ]);
        assert_eq!(output.exit, Some(1), "{output:?}");
        assert_eq!((output.stdout.as_str(), output.stderr.lines().count()), ("", 1), "{output:?}");
        assert!(output.stderr.contains(hint), "{output:?}");
    };
    let mut member = Start::new().data_dir(&path("data")).start();
    member.put("/a", &"x".repeat(100_000));
    member.stop();
    let data = path("data");
    refused(&path("nowhere"), &path("b"), "check --data-dir");
    refused(&data, &data, "is not empty");
    fs::create_dir(path("taken")).expect("it can be made");
    fs::write(path("taken/note"), "mine").expect("it can be written");
    refused(&data, &path("taken"), "is not empty");
    assert_eq!(fs::read(path("taken/note")).expect("it is there"), b"mine");
    fs::write(path("file"), "mine").expect("it can be written");
    refused(&data, &path("file"), "file");
    refused(&data, &path("file/below"), "file/below");
    // Rot, wherever it is.
    let keyspace = data.join("member/keyspace");
    let whole = fs::read(&keyspace).expect("it can be read");
    let at = whole.windows(64).rposition(|piece| piece == [b'x'; 64]).expect("the value is there");
    let mut rotten = whole.clone();
    rotten[at] ^= 1;
    fs::write(&keyspace, &rotten).expect("it can be written");
    refused(&data, &path("b"), "cannot be copied");
    fs::write(&keyspace, "no keyspace").expect("it can be written");
    refused(&data, &path("b"), "no keyspace");
    fs::write(&keyspace, &whole).expect("it can be written");
    let wal = data.join("member/wal/0000000000000001.log");
    let sound = fs::read(&wal).expect("it can be read");
    let mut rotten = sound.clone();
    rotten[600] ^= 1;
    fs::write(&wal, &rotten).expect("it can be written");
    refused(&data, &path("b"), "the log is damaged at byte");
    fs::remove_file(&wal).expect("it is there");
    refused(&data, &path("b"), "there is no member");
    fs::write(&wal, &sound).expect("it can be written");
    assert!(!path("b").exists(), "what failed left something");
    let output = try_back_up(&[OsStr::new("--data-dir"), data.as_os_str()]);
    assert_eq!(output.exit, Some(1));
    assert!(output.stderr.contains("--backup-dir"), "{output:?}");
    // An empty directory will do, as one that is mounted there.
    fs::create_dir(path("empty")).expect("it can be made");
    back_up(&data, &path("empty"));
    assert_eq!(value(&force(&path("empty"), &[]), "/a").map(|text| text.len()), Some(100_000));
}

#[test]
fn data_of_the_original_is_left_to_the_original() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) {
        return;
    }
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let data = directory.path().join("data");
    let original = Start::original(original.expect("it is installed")).data_dir(&data);
    let mut original = original.peer_url(&format!("http://127.0.0.1:{}", ports::free())).start();
    original.put("/a", "1");
    original.stop();
    let backup = directory.path().join("backup");
    let arguments = [
        OsStr::new("--data-dir"),
        data.as_os_str(),
        OsStr::new("--backup-dir"),
        backup.as_os_str(),
    ];
    let output = try_back_up(&arguments);
    assert_eq!(output.exit, Some(1), "{output:?}");
    assert!(output.stderr.contains("a log of the original etcd"), "{output:?}");
    assert!(!backup.exists());
}
