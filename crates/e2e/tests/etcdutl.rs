//! `etcdutl`: snapshots that are looked into and become members, data directories that are checked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{
    Member, Request, Start, binaries,
    cluster::Cluster,
    eventually, ports, rings,
    run::{self, Output, run},
};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// Of a file that ends in a checksum.
const SUM_BYTES: usize = 32;

fn etcdctl(member: &Member, arguments: &[&str]) -> Output {
    run(run::etcdctl_v3(&binaries::etcdctl(), &member.url()).args(arguments), "")
}

/// What `etcdctl` prints, where it goes well.
#[track_caller]
fn printed(member: &Member, arguments: &[&str]) -> String {
    let output = etcdctl(member, arguments);
    assert_eq!(output.exit, Some(0), "{arguments:?}: {output:?}");
    output.stdout
}

#[track_caller]
fn json(member: &Member, arguments: &[&str]) -> Value {
    let printed = printed(member, &[arguments, &["-w", "json"]].concat());
    serde_json::from_str(&printed).expect(&printed)
}

fn revision(member: &Member) -> i64 {
    json(member, &["get", "none"])["header"]["revision"].as_i64().expect("a header has one")
}

fn etcdutl(arguments: &[&str]) -> Output {
    run(Command::new(binaries::etcdutl()).args(arguments), "")
}

/// What `etcdutl` prints, where it goes well.
#[track_caller]
fn done(arguments: &[&str]) -> Output {
    let output = etcdutl(arguments);
    assert_eq!(output.exit, Some(0), "{arguments:?}: {output:?}");
    output
}

/// Runs it in vain: nothing on stdout, and this on stderr.
#[track_caller]
fn refused(arguments: &[&str], exit: i32, said: &str) {
    let output = etcdutl(arguments);
    assert_eq!(
        (output.exit, output.stdout.as_str()),
        (Some(exit), ""),
        "{arguments:?}: {output:?}"
    );
    let is_said = output.stderr.starts_with("Error: ") && output.stderr.contains(said);
    assert!(is_said, "{arguments:?}: {output:?}");
}

/// A place for files, and paths in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("/tmp can be written"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("it is UTF-8").to_owned()
    }
}

/// A member that is to be.
struct Seat {
    name: &'static str,
    data_dir: PathBuf,
    peer_url: String,
}

impl Seat {
    fn new(place: &Place, name: &'static str) -> Self {
        let peer_url = format!("http://127.0.0.1:{}", ports::free());
        Self { name, data_dir: place.path(name).into(), peer_url }
    }

    fn row(&self) -> String {
        format!("{}={}", self.name, self.peer_url)
    }

    /// Restores it, as one of these; gives what stderr said.
    fn restore(&self, file: &str, all: &[Self], more: &[&str]) -> String {
        let rows = all.iter().map(Self::row).collect::<Vec<_>>().join(",");
        let data_dir = self.data_dir.to_str().expect("it is UTF-8");
        let output = done(
            &[
                &["snapshot", "restore", file, "--data-dir", data_dir, "--name", self.name][..],
                &["--initial-cluster", &rows, "--initial-cluster-token", "restored"],
                &["--initial-advertise-peer-urls", &self.peer_url],
                more,
            ]
            .concat(),
        );
        assert_eq!(output.stdout, "");
        output.stderr
    }

    fn spawn(&self) -> Member {
        let port = ports::free();
        let client = format!("http://127.0.0.1:{port}");
        let start = Start::new().bare().data_dir(&self.data_dir).client_port(port);
        let mut member = start
            .peer_url(&self.peer_url)
            .flag(&format!("--name={}", self.name))
            .flag(&format!("--listen-client-urls={client}"))
            .flag(&format!("--advertise-client-urls={client}"))
            .flag(&format!("--listen-peer-urls={}", self.peer_url))
            .flag(&format!("--initial-advertise-peer-urls={}", self.peer_url))
            .spawn();
        for complaint in ["cannot talk to a peer", "peer became inactive", "no leader"] {
            member.allow(complaint);
        }
        member
    }

    fn start(&self) -> Member {
        let mut member = self.spawn();
        member.wait_until_ready();
        member
    }
}

/// Restores a member of a cluster of its own, and starts it.
fn restored_alone(place: &Place, name: &'static str, file: &str, more: &[&str]) -> Member {
    let seat = Seat::new(place, name);
    seat.restore(file, std::slice::from_ref(&seat), more);
    seat.start()
}

fn save(member: &Member, place: &Place, name: &str) -> String {
    let file = place.path(name);
    printed(member, &["snapshot", "save", &file]);
    file
}

/// Writes through both APIs: history, a deletion, a lease, directories.
fn fill(member: &Member) -> String {
    for (key, value) in [("a", "1"), ("a", "2"), ("gone", "x"), ("b", "3")] {
        printed(member, &["put", key, value]);
    }
    printed(member, &["put", "large", &"l".repeat(50_000)]);
    printed(member, &["del", "gone"]);
    member.put("/dir/sub/k", "v2");
    member.put("/dir/other", "more");
    let ttl = Request::put("/v2/keys/dir/ends", "later").query(&[("ttl", "9000")]);
    assert_eq!(member.ask(&ttl).status, 201);
    let granted = printed(member, &["lease", "grant", "9000"]);
    let lease = granted.split(' ').nth(1).expect("lease ID granted").to_owned();
    printed(member, &["put", "leased", "y", "--lease", &lease]);
    lease
}

/// All that clients see of the keys, without what the cluster says of itself.
fn seen(member: &Member, lease: &str, past: i64) -> Vec<Value> {
    let kvs = |arguments: &[&str]| json(member, arguments)["kvs"].clone();
    let past = format!("--rev={past}");
    let ttl = printed(member, &["lease", "timetolive", lease, "--keys"]);
    let v2 = member.get("/v2/keys/?recursive=true&sorted=true").expect(&[200]).json();
    let mut node = v2["node"].clone();
    // What is left of a time to live is less every second.
    strip_ttl(&mut node);
    vec![
        kvs(&["get", "", "--prefix"]),
        kvs(&["get", "", "--prefix", &past]),
        json(member, &["lease", "list"])["leases"].clone(),
        Value::from(ttl.split("attached keys").nth(1).expect("it shows them")),
        node,
        member.get("/v2/keys/dir?wait=true&recursive=true&waitIndex=1").expect(&[200]).json(),
    ]
}

fn strip_ttl(node: &mut Value) {
    if let Some(fields) = node.as_object_mut() {
        fields.remove("ttl");
        fields.values_mut().for_each(strip_ttl);
    }
    node.as_array_mut().into_iter().flatten().for_each(strip_ttl);
}

/// The events since a revision, as many as there are.
fn events(member: &Member, from: i64, count: usize) -> Vec<String> {
    let from = format!("--rev={from}");
    let arguments = ["watch", "", "--prefix", &from, "-w", "fields"];
    let mut command = run::etcdctl_v3(&binaries::etcdctl(), &member.url());
    let watch = run::start(command.args(arguments), "");
    eventually(PATIENCE, "events", || {
        let lines = watch.stdout();
        let wanted = |line: &&String| {
            ["\"Type\"", "\"Key\"", "\"Value\"", "\"ModRevision\"", "\"Version\"", "\"Lease\""]
                .iter()
                .any(|name| line.starts_with(name))
        };
        let lines: Vec<_> = lines.iter().filter(wanted).cloned().collect();
        (lines.iter().filter(|line| line.starts_with("\"Type\"")).count() >= count).then_some(lines)
    })
}

fn hash_kv(member: &Member, revision: i64) -> (u64, i64, i64) {
    let asked = json(member, &["endpoint", "hashkv", &format!("--rev={revision}")]);
    let hash = &asked[0]["HashKV"];
    let number = |name: &str| hash[name].as_i64().unwrap_or(0);
    (
        hash["hash"].as_u64().expect("it has one"),
        number("hash_revision"),
        number("compact_revision"),
    )
}

/// What `etcdutl hashkv` shows, in the same order.
fn hash_of(path: &str, revision: i64) -> (u64, i64, i64) {
    let shown = done(&["hashkv", path, &format!("--rev={revision}"), "-w", "json"]).stdout;
    let hash: Value = serde_json::from_str(&shown).expect(&shown);
    let number = |name: &str| hash[name].as_i64().expect("it has one");
    (hash["hash"].as_u64().expect("it has one"), number("hashRevision"), number("compactRevision"))
}

#[test]
fn three_members_are_restored_with_keys_history_and_leases_of_both_apis() {
    let place = Place::new();
    let cluster = Cluster::start(3);
    let old = &cluster.members[0];
    let lease = fill(old);
    let last = revision(old);
    let file = save(old, &place, "saved.db");
    // What is written later is not in it.
    let (before, told) = (seen(old, &lease, 4), events(old, 2, 10));
    assert!(told.len() > 30, "{told:?}");
    let old_cluster = json(old, &["member", "list"])["header"]["cluster_id"].clone();
    printed(old, &["put", "late", "1"]);
    drop(cluster);

    let seats = ["x", "y", "z"].map(|name| Seat::new(&place, name));
    let said: Vec<_> = seats.iter().map(|seat| seat.restore(&file, &seats, &[])).collect();
    assert!(said[0].contains(&format!("at revision {last}")), "{said:?}");
    let mut members: Vec<_> = seats.iter().map(Seat::spawn).collect();
    members.iter_mut().for_each(Member::wait_until_ready);
    for member in &members {
        assert_eq!(revision(member), last);
        assert_eq!(seen(member, &lease, 4), before);
        assert_eq!(events(member, 2, 10), told);
    }
    let listed = json(&members[0], &["member", "list"]);
    let mut names: Vec<_> =
        listed["members"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["x", "y", "z"]);
    assert_ne!(listed["header"]["cluster_id"], old_cluster);
    // The flags alone say who they are.
    let again = Seat { data_dir: place.path("again").into(), ..Seat::new(&place, "x") };
    let again = Seat { peer_url: seats[0].peer_url.clone(), ..again };
    let end = |text: &str| text.split(": member").nth(1).map(str::to_owned).expect("it says so");
    assert_eq!(end(&again.restore(&file, &seats, &[])), end(&said[0]));

    printed(&members[1], &["put", "new", "1"]);
    members[2].put("/dir/new", "2");
    assert_eq!(revision(&members[0]), last + 2);
    let hashes: Vec<_> = members
        .iter()
        .map(|member| {
            // It may lag.
            assert_eq!(revision(member), last + 2);
            hash_kv(member, last + 2)
        })
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    // They are ordinary members: after another start too.
    for member in &mut members {
        member.stop();
    }
    members.iter_mut().for_each(Member::launch);
    members.iter_mut().for_each(Member::wait_until_ready);
    assert_eq!(printed(&members[2], &["get", "new", "--print-value-only"]), "1\n");
    printed(&members[0], &["lease", "revoke", &lease]);
    assert_eq!(printed(&members[1], &["get", "leased"]), "");
}

/// With the flags of the old cluster, its token too, and one of its members that still runs: its log goes
/// on where the snapshot's ends.
#[test]
fn a_member_of_the_old_cluster_is_a_stranger_to_those_that_are_restored() {
    let place = Place::new();
    let member = Member::start();
    let file = save(&member, &place, "first.db");
    drop(member);
    let seats = ["x", "y", "z"].map(|name| Seat::new(&place, name));
    for seat in &seats {
        seat.restore(&file, &seats, &[]);
    }
    let mut members: Vec<_> = seats.iter().map(Seat::spawn).collect();
    members.iter_mut().for_each(Member::wait_until_ready);
    let saved = save(&members[0], &place, "second.db");
    for number in 0..5 {
        printed(&members[0], &["put", &format!("after{number}"), "1"]);
    }
    assert_eq!(printed(&members[2], &["get", "after4", "--print-value-only"]), "1\n");
    let mut old = members.pop().expect("there are three");
    drop(members);
    for seat in &seats[..2] {
        fs::remove_dir_all(&seat.data_dir).expect("it is there");
        seat.restore(&saved, &seats, &[]);
    }
    old.allow("cluster ID mismatch");
    // It may have led those that are gone.
    old.allow("stepped down to follower since quorum is not active");
    let mut restored: Vec<_> = seats[..2].iter().map(Seat::spawn).collect();
    for member in &mut restored {
        member.allow("cluster ID mismatch");
        member.wait_until_ready();
    }
    printed(&restored[0], &["put", "other", "1"]);
    assert_eq!(printed(&restored[1], &["get", "after", "--prefix"]), "");
    for member in restored.iter().chain([&old]) {
        let says = || member.log().contains("cluster ID mismatch").then_some(());
        eventually(PATIENCE, "it says that they are strangers", says);
    }
    // Alone it is no majority, and neither takes anything from the others nor gives them any.
    let keys = printed(&old, &["get", "", "--prefix", "--keys-only", "--consistency=s"]);
    assert!(keys.contains("after4") && !keys.contains("other"), "{keys}");
    let read = etcdctl(&old, &["get", "after4", "--command-timeout=3s"]);
    assert_eq!(read.exit, Some(1), "{read:?}");
}

#[test]
fn what_a_file_holds_is_what_its_server_says() {
    let place = Place::new();
    let member = Member::start();
    fill(&member);
    let last = revision(&member);
    printed(&member, &["compaction", "4"]);
    let count = json(&member, &["get", "", "--prefix"])["count"].clone();
    let hash = || {
        let asked = member.ask(&Request::json("POST", "/v3/maintenance/hash", "{}"));
        asked.expect(&[200]).json()["hash"].as_u64().expect("it has one")
    };
    // What is compacted is removed meanwhile.
    let (hash, file) = eventually(PATIENCE, "the same hash before and after", || {
        let before = hash();
        let file = save(&member, &place, "saved.db");
        (hash() == before).then_some((before, file))
    });
    let size = fs::metadata(&file).unwrap().len() - SUM_BYTES as u64;

    let shown = done(&["snapshot", "status", &file, "-w", "json"]).stdout;
    let expected = format!(
        "{{\"hash\":{hash},\"revision\":{last},\"totalKey\":{count},\"totalSize\":{size},\
         \"version\":\"3.6.0\"}}\n"
    );
    assert_eq!(shown, expected);
    let shown = done(&["snapshot", "status", &file]).stdout;
    assert!(shown.starts_with(&format!("{hash:x}, {last}, {count}, ")), "{shown}");
    let shown = done(&["-w", "fields", "snapshot", "status", &file]).stdout;
    assert!(shown.contains(&format!("\"Keys\" : {count}\n")), "{shown}");
    let shown = done(&["snapshot", "status", "-wtable", &file]).stdout;
    assert!(shown.contains("| TOTAL KEYS |") && shown.lines().count() == 5, "{shown}");
    // `etcdctl` has it as up to 3.5.
    let old = etcdctl(&member, &["snapshot", "status", &file, "-w", "json"]);
    assert_eq!((old.stdout, old.exit), (expected, Some(0)));
    assert_eq!(old.stderr, "Deprecated: Use `etcdutl snapshot status` instead.\n\n");

    for revision in [0, 5, last] {
        let asked = hash_kv(&member, revision);
        assert_eq!(hash_of(&file, revision), asked, "up to {revision}");
        assert_ne!(asked.0, 0);
    }
    let shown = done(&["hashkv", &file]).stdout;
    let (hash, up_to, compacted) = hash_kv(&member, 0);
    assert_eq!(shown, format!("{hash}, {up_to}, {compacted}\n"));
    refused(&["hashkv", &file, "--rev", "999"], 1, "mvcc: required revision is a future revision");
    refused(&["hashkv", &file, "--rev", "2"], 1, "mvcc: required revision has been compacted");
}

#[test]
fn a_bump_raises_the_revision_and_tells_watchers_that_history_is_gone() {
    let place = Place::new();
    let member = Member::start();
    fill(&member);
    let last = revision(&member);
    let kvs = json(&member, &["get", "", "--prefix"])["kvs"].clone();
    let file = save(&member, &place, "saved.db");
    drop(member);
    let bump = ["--bump-revision", "1000000000", "--mark-compacted"];
    let mut member = restored_alone(&place, "bumped", &file, &bump);
    for _ in 0..2 {
        let now = revision(&member);
        assert!(now >= last + 1_000_000_000, "{now}");
        assert_eq!(json(&member, &["get", "", "--prefix"])["kvs"], kvs);
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        let old = etcdctl(&member, &["get", "a", &format!("--rev={last}")]);
        assert!(old.exit == Some(1) && old.stderr.contains(compacted), "{old:?}");
        let watch = etcdctl(&member, &["watch", "a", &format!("--rev={last}")]);
        assert!(watch.exit != Some(0) && watch.stderr.contains(compacted), "{watch:?}");
        assert_eq!(member.get("/v2/keys/dir?wait=true&waitIndex=2").status, 400);
        printed(&member, &["put", "new", "1"]);
        assert_eq!(revision(&member), now + 1);
        printed(&member, &["del", "new"]);
        member.stop();
        member.launch();
        member.wait_until_ready();
    }
}

#[test]
fn what_cannot_be_restored_is_refused_as_by_the_original_and_leaves_nothing() {
    let place = Place::new();
    let member = Member::start();
    fill(&member);
    let file = save(&member, &place, "saved.db");
    let whole = fs::read(&file).unwrap();
    let with = |name: &str, content: &[u8]| {
        let path = place.path(name);
        fs::write(&path, content).unwrap();
        path
    };
    let dir = place.path("restored");
    let restore = |file: &str, more: &[&str], exit, said: &str| {
        let arguments = ["snapshot", "restore", file, "--data-dir", &dir];
        refused(&[&arguments, more].concat(), exit, said);
        assert!(!Path::new(&dir).exists(), "{said}: it left something");
    };
    let mut rotten = whole.clone();
    let at = whole.windows(9).position(|found| found == b"lllllllll").unwrap() + 1_000;
    rotten[at] ^= 1;
    let rotten = with("rotten.db", &rotten);
    restore(&rotten, &[], 1, "expected sha256 [");
    refused(&["snapshot", "status", &rotten], 1, "snapshot file integrity check failed. ");
    let bare = with("bare.db", &whole[..whole.len() - SUM_BYTES]);
    restore(&bare, &[], 1, "snapshot missing hash but --skip-hash-check=false");
    let cut = with("cut.db", &whole[..whole.len() / 2]);
    restore(&cut, &[], 1, "it ends too soon");
    restore(&cut, &["--skip-hash-check"], 1, "it ends too soon");
    restore(&with("none", b"nothing at all"), &[], 1, "is no snapshot, and no keyspace");
    let none = place.path("nowhere.db");
    restore(&none, &[], 1, &format!("Error: open {none}: no such file or directory"));
    refused(
        &["snapshot", "status", &none],
        1,
        &format!("Error: stat {none}: no such file or directory"),
    );
    let compacted = "--mark-compacted required if --revision-bump > 0";
    restore(&file, &["--bump-revision", "3"], 128, compacted);
    restore(&file, &["--mark-compacted"], 128, compacted);
    let far = ["--mark-compacted", "--bump-revision", "9223372036854775807"];
    restore(&file, &far, 1, "cannot be raised by 9223372036854775807");
    let local = "couldn't find local name \"x\" in the initial cluster configuration";
    restore(&file, &["--name", "x"], 1, local);
    let other = ["--initial-advertise-peer-urls", "http://10.0.0.1:2380"];
    let missing = "but missing from --initial-advertise-peer-urls=http://10.0.0.1:2380";
    restore(&file, &other, 1, missing);
    restore(&file, &["--initial-cluster", "default"], 1, "is no name=URL");
    refused(&["snapshot", "restore"], 128, "snapshot restore requires exactly one argument");
    refused(&["snapshot", "status"], 128, "snapshot status requires exactly one argument");
    let wal = place.path("wal");
    fs::create_dir(&wal).unwrap();
    restore(&file, &["--wal-dir", &wal], 1, &format!("wal-dir \"{wal}\" exists"));
    let full = place.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(Path::new(&full).join("mine"), "mine").unwrap();
    let said = format!("data-dir \"{full}\" not empty or could not be read");
    refused(&["snapshot", "restore", &file, "--data-dir", &full], 1, &said);
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);

    // Where its checksum is ignored, all is taken that can be read.
    for (name, file) in [("r", &rotten), ("s", &bare)] {
        let restored = restored_alone(&place, name, file, &["--skip-hash-check"]);
        assert_eq!(printed(&restored, &["get", "a", "--print-value-only"]), "2\n");
    }
}

#[test]
fn etcdctl_restores_as_up_to_3_5() {
    let place = Place::new();
    let mut member = Member::start();
    fill(&member);
    let file = save(&member, &place, "saved.db");
    member.stop();
    let (dir, wal) = (place.path("default.etcd"), place.path("log"));
    let restored = run(
        run::etcdctl_v3(&binaries::etcdctl(), "http://127.0.0.1:1")
            .args(["snapshot", "restore", &file, "--wal-dir", &wal])
            .current_dir(place.0.path()),
        "",
    );
    assert_eq!((restored.exit, restored.stdout.as_str()), (Some(0), ""), "{restored:?}");
    let notice = "Deprecated: Use `etcdutl snapshot restore` instead.\n\n";
    assert!(restored.stderr.starts_with(notice), "{restored:?}");
    let start = Start::new().data_dir(Path::new(&dir)).flag(&format!("--wal-dir={wal}"));
    let member = start.start();
    assert_eq!(printed(&member, &["get", "a", "--print-value-only"]), "2\n");
    assert!(Path::new(&wal).read_dir().unwrap().count() > 0);
}

#[test]
fn the_data_of_a_member_is_looked_into_where_the_original_has_its_file_and_not_while_it_runs() {
    let mut member = Member::start();
    fill(&member);
    let (asked, last) = (hash_kv(&member, 0), revision(&member));
    let dir = member.data_dir().to_str().expect("it is UTF-8").to_owned();
    let file = format!("{dir}/member/snap/db");
    let runs = "runs: stop it first";
    let waits = ["--timeout", "100ms"];
    refused(
        &[&["defrag", "--data-dir", &dir][..], &waits].concat(),
        1,
        &format!("Failed to defragment etcd data[{dir}] (the member in "),
    );
    refused(&[&["hashkv", &file][..], &waits].concat(), 1, runs);
    let to = ["migrate", "--data-dir", &dir, "--target-version", "3.6"];
    refused(&[&to[..], &waits].concat(), 1, runs);
    // It waits for the member to stop, and says so.
    let mut command = Command::new(binaries::etcdutl());
    let waiting = run::start(command.args(["defrag", "--data-dir", &dir]), "");
    let told = format!(
        "waiting for etcd to close and release its lock on \"{dir}\". To defrag a running etcd \
         instance, use `etcdctl defrag` instead."
    );
    eventually(PATIENCE, "a hint", || waiting.stderr().contains(&told).then_some(()));
    member.stop();
    let ended = waiting.wait(PATIENCE);
    assert_eq!((ended.exit, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stderr.ends_with("is used again\n"), "{ended:?}");

    for path in [&dir, &file, &format!("{dir}/member/keyspace")] {
        assert_eq!(hash_of(path, 0), asked, "{path}");
        let shown = done(&["snapshot", "status", path]).stdout;
        assert!(shown.contains(&format!(", {last}, ")) && shown.contains("3.6.0"), "{shown}");
    }
    assert!(done(&to).stderr.contains("storage version up-to-date"));
    refused(
        &["migrate", "--data-dir", &dir, "--target-version", "3.5", "--force"],
        1,
        "cannot migrate storage from 3.6 to 3.5",
    );
    refused(
        &["migrate", "--data-dir", &dir, "--target-version", "3.4"],
        128,
        "target version \"3.4\" not supported. Minimal \"3.5\"",
    );
    refused(&["defrag"], 1, "required flag(s) \"data-dir\" not set");
    refused(&["defrag", "--data-dir", "/nowhere"], 1, "no such file or directory");
    // As files that were copied from a data directory.
    let place = Place::new();
    let restored = restored_alone(&place, "copied", &file, &["--skip-hash-check"]);
    assert_eq!((hash_kv(&restored, 0), revision(&restored)), (asked, last));
    // It was left as it was.
    member.launch();
    member.wait_until_ready();
    assert_eq!(hash_kv(&member, last).0, asked.0);
}

#[test]
fn a_snapshot_of_the_original_is_told_from_ours() {
    let real = binaries::real_etcd();
    let why_not = "etcd 3.4 of Debian is not installed";
    let Some(real) = rings::can_run("real etcd", real.is_some(), why_not).then_some(real).flatten()
    else {
        return;
    };
    let place = Place::new();
    let original = Start::original(real).start();
    printed(&original, &["put", "a", "1"]);
    let file = save(&original, &place, "original.db");
    let dir = place.path("restored");
    let said = "is of the original etcd, which has another format: etcdutl import";
    refused(&["snapshot", "status", &file], 1, said);
    refused(&["snapshot", "restore", &file, "--data-dir", &dir], 1, said);
    refused(&["hashkv", &file], 1, said);
    assert!(!Path::new(&dir).exists());
}
