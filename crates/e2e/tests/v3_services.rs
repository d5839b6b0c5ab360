//! Three members, as Debian's own etcdctl finds them through API 3: leases, locks, members, alarms,
//! snapshots.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    Member, Request, Start, binaries,
    cluster::Cluster,
    eventually, rings,
    run::{self, Output, Running},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// Debian's etcdctl, if it is installed.
fn original() -> Option<std::path::PathBuf> {
    let original = binaries::real_etcdctl();
    let why_not = "/usr/bin/etcdctl 3.4 is not installed: apt-get install etcd-client";
    rings::can_run("debian-etcdctl", original.is_some(), why_not).then_some(())?;
    original
}

/// That etcdctl, at one member.
struct Ctl<'a> {
    binary: &'a Path,
    url: String,
}

impl<'a> Ctl<'a> {
    fn at(binary: &'a Path, member: &Member) -> Self {
        Self { binary, url: member.url() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = run::etcdctl_v3(self.binary, &self.url);
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run::run(&mut self.command(arguments), "")
    }

    /// What it prints, if all is well.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let Output { stdout, stderr, exit } = self.run(arguments);
        assert_eq!(exit, Some(0), "{arguments:?}: {stdout}{stderr}");
        stdout
    }

    /// What it complains of.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let Output { stdout, stderr, exit } = self.run(arguments);
        assert_ne!(exit, Some(0), "{arguments:?}: {stdout}{stderr}");
        stderr
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[&["-w", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    }

    fn start(&self, arguments: &[&str]) -> Running {
        run::start(&mut self.command(arguments), "")
    }
}

/// The lease's id, in hex, of what `lease grant` prints.
fn granted(printed: &str) -> String {
    let id = printed.split_whitespace().nth(1).expect("lease ID granted with ...");
    id.to_owned()
}

/// The JSON of a call through the gateway of this member.
#[track_caller]
fn post(member: &Member, path: &str, body: &Value) -> Value {
    let answer = member.ask(&Request::json("POST", path, &body.to_string()));
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[test]
fn a_lease_is_kept_through_a_follower_and_outlives_its_leader() {
    let Some(original) = original() else { return };
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let (follower, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let ctl = Ctl::at(&original, &cluster.members[follower]);
    let id = granted(&ctl.ok(&["lease", "grant", "4"]));
    ctl.ok(&["put", "--lease", &id, "kept", "1"]);
    let short = granted(&ctl.ok(&["lease", "grant", "4"]));
    ctl.ok(&["put", "--lease", &short, "left", "1"]);
    let keeping = ctl.start(&["lease", "keep-alive", &id]);
    // Only the leader knows; who is asked does not matter.
    for at in [leader, follower, other] {
        let ctl = Ctl::at(&original, &cluster.members[at]);
        let told = ctl.json(&["lease", "timetolive", &id, "--keys"]);
        assert_eq!(told["granted-ttl"], 4);
        assert!((0..=4).contains(&told["ttl"].as_i64().expect("a number")), "{told}");
        assert_eq!(told["keys"], json!(["a2VwdA=="]));
    }
    let began = Instant::now();
    eventually(PATIENCE, "the other lease ends", || {
        ctl.ok(&["get", "left"]).is_empty().then_some(())
    });
    cluster.members[leader].kill();
    cluster.leader_among(&[follower, other]);
    // Three of its lives, over two leaders.
    while began.elapsed() < Duration::from_secs(12) {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(ctl.ok(&["get", "--print-value-only", "kept"]), "1\n");
    }
    let kept = keeping.stdout().len();
    assert!(kept >= 4, "kept {kept} times: {:?}", keeping.stdout());
    let expected = format!("lease {id} keepalived with TTL(4)");
    assert!(keeping.stdout().iter().all(|line| *line == expected), "{:?}", keeping.stdout());
    keeping.interrupt();
    eventually(PATIENCE, "it ends when nobody keeps it", || {
        ctl.ok(&["get", "kept"]).is_empty().then_some(())
    });
    assert_eq!(ctl.json(&["lease", "timetolive", &id])["ttl"], -1);
    for arguments in [&["lease", "keep-alive", "--once", &id][..], &["lease", "revoke", &id]] {
        let gone = ctl.refused(arguments);
        assert!(gone.contains("etcdserver: requested lease not found"), "{gone}");
    }
    assert_eq!(ctl.ok(&["lease", "list"]), "found 0 leases\n");
}

/// What a member has sent to others, in bytes.
fn sent(member: &Member) -> f64 {
    let metrics = member.get("/metrics").text();
    let sent =
        metrics.lines().filter(|line| line.starts_with("etcd_network_peer_sent_bytes_total"));
    sent.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Clients of Go keep all the leases of a process on one stream.
#[test]
fn keep_alives_of_one_stream_share_the_rounds_of_the_leader() {
    const KEPT: usize = 400;
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let leader = &cluster.members[leader];
    post(leader, "/v3/lease/grant", &json!({"ID": 7, "TTL": 600}));
    let keep = json!({"ID": 7}).to_string();
    let ask = |body: &str| {
        let answer = leader.ask(&Request::json("POST", "/v3/lease/keepalive", body));
        answer.expect(&[200]).text().matches("\"TTL\":\"600\"").count()
    };
    let before = sent(leader);
    assert_eq!((0..KEPT).map(|_| ask(&keep)).sum::<usize>(), KEPT);
    let alone = sent(leader) - before;
    let before = sent(leader);
    assert_eq!(ask(&keep.repeat(KEPT)), KEPT);
    let together = sent(leader) - before;
    assert!(together < alone / 4.0, "{together} of {alone} bytes");
}

/// A leader that is cut off must not tell a client that its lease lives on.
#[test]
fn a_leader_without_a_quorum_keeps_no_lease() {
    let Some(original) = original() else { return };
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let ctl = Ctl::at(&original, &cluster.members[leader]);
    let id = granted(&ctl.ok(&["lease", "grant", "60"]));
    for at in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.members[at].kill();
    }
    let Output { stdout, stderr, .. } =
        ctl.run(&["--command-timeout=20s", "lease", "keep-alive", "--once", &id]);
    assert!(!stdout.contains("keepalived"), "{stdout}{stderr}");
}

#[test]
fn locks_and_elections_hold_across_members() {
    let Some(original) = original() else { return };
    let cluster = Cluster::start(3);
    let ctls: Vec<_> = cluster.members.iter().map(|one| Ctl::at(&original, one)).collect();
    // Each reads, waits, and writes: without the lock some of the sum would be lost.
    let script = format!(
        "n=$({0} --endpoints {1} get --print-value-only n); sleep 0.05; \
         {0} --endpoints {1} put n $((${{n:-0}}+1))",
        original.display(),
        ctls[0].url
    );
    let running: Vec<_> =
        (0..6).map(|at| ctls[at % 3].start(&["lock", "l", "--", "sh", "-c", &script])).collect();
    for one in running {
        let Output { exit, stderr, .. } = one.wait(PATIENCE);
        assert_eq!(exit, Some(0), "{stderr}");
    }
    assert_eq!(ctls[1].ok(&["get", "--print-value-only", "n"]), "6\n");
    assert_eq!(ctls[2].ok(&["get", "--prefix", "l/"]), "", "all have gone");
    // The server's own locks stand in the same queue.
    let held = ctls[0].start(&["lock", "m"]);
    let key = eventually(PATIENCE, "it is held", || held.stdout().first().cloned());
    let waiting = std::thread::scope(|scope| {
        let asked =
            scope.spawn(|| post(&cluster.members[1], "/v3/lock/lock", &json!({"name": "bQ=="})));
        eventually(PATIENCE, "the other waits", || {
            let keys = ctls[2].ok(&["get", "--prefix", "--keys-only", "m/"]);
            (keys.split_whitespace().count() == 2).then_some(())
        });
        assert!(!asked.is_finished());
        held.interrupt();
        asked.join().expect("it is given the lock")
    });
    assert_ne!(waiting["key"].as_str().expect("a key"), key);
    // One is elected, and the next when that one has gone.
    let first = ctls[0].start(&["elect", "e", "one"]);
    let won = eventually(PATIENCE, "one is elected", || {
        (first.stdout().len() >= 2).then(|| first.stdout())
    });
    assert_eq!(won[1], "one");
    let mut second = ctls[1].start(&["elect", "e", "two"]);
    let watching = ctls[2].start(&["elect", "--listen", "e"]);
    eventually(PATIENCE, "it is observed", || (watching.stdout().get(1)? == "one").then_some(()));
    assert!(second.is_running() && second.stdout().is_empty());
    first.interrupt();
    eventually(PATIENCE, "the other is elected", || {
        (second.stdout().get(1)? == "two").then_some(())
    });
    eventually(PATIENCE, "that is observed", || (watching.stdout().get(3)? == "two").then_some(()));
}

#[test]
fn a_learner_comes_learns_refuses_and_is_promoted() {
    let Some(original) = original() else { return };
    let mut cluster = Cluster::start(3);
    for member in &mut cluster.members {
        member.allow("failed to promote a member");
    }
    let follower = (cluster.leader() + 1) % 3;
    let url = cluster.members[follower].url();
    let ctl = Ctl { binary: &original, url };
    for key in 0..20 {
        ctl.ok(&["put", &format!("k{key}"), "1"]);
    }
    let mut id = String::new();
    let learner = cluster.add_by(|_, name, peer_url| {
        let added = ctl.ok(&["member", "add", name, "--learner", "--peer-urls", peer_url]);
        let line = added.lines().next().expect("a line").to_owned();
        // Member ID added to cluster CLUSTER
        id = line.split_whitespace().nth(1).expect("an id").to_owned();
    });
    let at_learner = Ctl::at(&original, learner);
    let again =
        ctl.refused(&["member", "add", "x", "--learner", "--peer-urls", "http://127.0.0.1:1"]);
    assert!(again.contains("etcdserver: too many learner members in cluster"), "{again}");
    let members = ctl.ok(&["member", "list"]);
    let line = members.lines().find(|line| line.starts_with(&id)).expect("it is listed");
    assert!(line.ends_with(", true"), "{line}");
    // What a learner is asked it answers from what it has, or not at all.
    eventually(PATIENCE, "it has learned", || {
        let keys = at_learner.ok(&["get", "--consistency=s", "--keys-only", "--prefix", "k"]);
        (keys.split_whitespace().count() == 20).then_some(())
    });
    let refusal = "etcdserver: rpc not supported for learner";
    for arguments in
        [&["get", "k1"][..], &["put", "a", "1"], &["lease", "grant", "9"], &["member", "list"]]
    {
        let text = at_learner.refused(arguments);
        assert!(text.contains(refusal), "{arguments:?}: {text}");
    }
    let body = json!({"key": "YQ==", "value": "MQ=="}).to_string();
    let through_gateway = learner.ask(&Request::json("POST", "/v3/kv/put", &body));
    assert_eq!(through_gateway.status, 400);
    assert_eq!(through_gateway.json()["message"], refusal);
    let status = at_learner.json(&["endpoint", "status"]);
    assert_eq!(status[0]["Status"]["isLearner"], true);
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let file = dir.path().join("of-a-learner");
    at_learner.ok(&["snapshot", "save", file.to_str().expect("UTF-8")]);
    // Through a follower: the leader decides.
    eventually(PATIENCE, "it is in sync", || {
        let Output { exit, stderr, .. } = ctl.run(&["member", "promote", &id]);
        let expected = "can only promote a learner member which is in sync with leader";
        assert!(exit == Some(0) || stderr.contains(expected), "{stderr}");
        (exit == Some(0)).then_some(())
    });
    let again = ctl.refused(&["member", "promote", &id]);
    assert!(again.contains("etcdserver: can only promote a learner member"), "{again}");
    let unknown = ctl.refused(&["member", "promote", "12345"]);
    assert!(unknown.contains("etcdserver: member not found"), "{unknown}");
    at_learner.ok(&["put", "a", "1"]);
    assert_eq!(at_learner.json(&["endpoint", "status"])[0]["Status"]["isLearner"], Value::Null);
    // It may lead.
    let leader = cluster.leader();
    let at_leader = Ctl::at(&original, &cluster.members[leader]);
    at_leader.ok(&["move-leader", &id]);
    assert_eq!(cluster.leader(), 3);
}

#[test]
fn the_lead_is_given_to_whom_the_operator_says() {
    let Some(original) = original() else { return };
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let heir = (leader + 1) % 3;
    let id = |member: &Member| {
        member.get("/v2/stats/self").json()["id"].as_str().expect("an id").to_owned()
    };
    let to = id(&cluster.members[heir]);
    let at_follower = Ctl::at(&original, &cluster.members[heir]);
    let refused = at_follower.refused(&["move-leader", &to]);
    assert!(refused.contains("no leader endpoint given at"), "{refused}");
    let own = id(&cluster.members[leader]);
    let at_leader = Ctl::at(&original, &cluster.members[leader]);
    let unknown = at_leader.refused(&["move-leader", "12345"]);
    assert!(unknown.contains("etcdserver: bad leader transferee"), "{unknown}");
    let moved = at_leader.ok(&["move-leader", &to]);
    assert_eq!(moved, format!("Leadership transferred from {own} to {to}\n"));
    assert_eq!(cluster.leader(), heir);
}

#[test]
fn what_operators_ask_is_answered_alike_by_all_members() {
    let Some(original) = original() else { return };
    let cluster = Cluster::start(3);
    let ctl = Ctl::at(&original, &cluster.members[0]);
    for round in 0..50 {
        ctl.ok(&["put", &format!("k{}", round % 20), &round.to_string()]);
    }
    ctl.ok(&["del", "k3"]);
    ctl.ok(&["compact", "--physical", "30"]);
    let revision = ctl.json(&["get", "k1"])["header"]["revision"].clone();
    let hashes = eventually(PATIENCE, "all have applied it", || {
        let hashes = ctl.json(&["endpoint", "hashkv", "--cluster", "--rev", &revision.to_string()]);
        let hashes: Vec<_> = hashes.as_array()?.iter().map(|one| one["HashKV"].clone()).collect();
        hashes.iter().all(|one| one["compact_revision"] == 30).then_some(hashes)
    });
    assert_eq!(hashes.len(), 3);
    assert!(hashes.iter().all(|one| one["hash"] == hashes[0]["hash"]), "{hashes:?}");
    let status = ctl.json(&["endpoint", "status", "--cluster"]);
    let status = status.as_array().expect("a list");
    let leaders: Vec<_> = status.iter().map(|one| &one["Status"]["leader"]).collect();
    assert!(leaders.len() == 3 && leaders.iter().all(|one| *one == leaders[0]), "{status:?}");
    assert_eq!(
        ctl.ok(&["endpoint", "health", "--cluster"]).lines().count(),
        0,
        "it goes to stderr"
    );
    assert!(ctl.ok(&["defrag", "--cluster"]).lines().all(|line| line.starts_with("Finished")));
    assert_eq!(ctl.ok(&["alarm", "list"]), "");
    assert_eq!(ctl.ok(&["user", "list"]), "");
}

#[test]
fn a_snapshot_that_is_saved_ends_in_its_checksum() {
    let Some(original) = original() else { return };
    let cluster = Cluster::start(1);
    let ctl = Ctl::at(&original, &cluster.members[0]);
    let large = "x".repeat(100_000);
    for key in 0..30 {
        ctl.ok(&["put", &format!("k{key}"), &large]);
    }
    let dir = tempfile::tempdir().expect("/tmp can be written");
    let path = dir.path().join("saved");
    ctl.ok(&["snapshot", "save", path.to_str().expect("UTF-8")]);
    let file = std::fs::read(&path).expect("it is there");
    assert_eq!(file.len() % 512, 32, "by this the original tells whether there is one");
    assert!(file.len() > 3_000_000 && file.starts_with(b"retcdsnp"));
    let sum = run::run(
        Command::new("sh").arg("-c").arg(format!("head -c -32 {} | sha256sum", path.display())),
        "",
    );
    let hex = |hex: String, byte: &u8| format!("{hex}{byte:02x}");
    let expected = file[file.len() - 32..].iter().fold(String::new(), hex);
    assert!(sum.stdout.starts_with(&expected), "{sum:?}");
}

#[test]
fn a_full_keyspace_takes_deletions_and_goes_on_after_compaction() {
    let Some(original) = original() else { return };
    let mut member = Start::new().flag("--quota-backend-bytes=400000").start();
    member.allow("the space quota is used up");
    let ctl = Ctl::at(&original, &member);
    let value = "x".repeat(50_000);
    let full = (0..20).find(|key| {
        let Output { exit, stderr, .. } = ctl.run(&["put", &format!("k{key}"), &value]);
        assert!(exit == Some(0) || stderr.contains("etcdserver: mvcc: database space exceeded"));
        exit != Some(0)
    });
    assert_eq!(full, Some(7), "at some 8 times 50,000");
    let alarms = ctl.ok(&["alarm", "list"]);
    assert!(alarms.starts_with("memberID:") && alarms.ends_with(" alarm:NOSPACE \n"), "{alarms}");
    assert!(ctl.refused(&["put", "small", "1"]).contains("database space exceeded"));
    assert!(ctl.refused(&["lease", "grant", "9"]).contains("database space exceeded"));
    assert_eq!(ctl.ok(&["get", "--keys-only", "k1"]).trim(), "k1", "reads go on");
    let refused = member.ask(&Request::put("/v2/keys/a", "1"));
    assert!(refused.text().contains("database space exceeded"), "{}", refused.text());
    // Deleting alone frees nothing: history keeps it.
    ctl.ok(&["del", "--prefix", "k"]);
    ctl.ok(&["alarm", "disarm"]);
    assert!(ctl.refused(&["put", "k", &value]).contains("database space exceeded"));
    let revision = ctl.json(&["get", "x"])["header"]["revision"].to_string();
    ctl.ok(&["compact", "--physical", &revision]);
    let disarmed = ctl.ok(&["alarm", "disarm"]);
    assert!(disarmed.ends_with(" alarm:NOSPACE \n"), "{disarmed}");
    for key in 0..7 {
        ctl.ok(&["put", &format!("k{key}"), &value]);
    }
    assert_eq!(ctl.ok(&["alarm", "list"]), "");
}

#[test]
fn history_is_compacted_by_the_clock_if_the_operator_says_so() {
    let Some(original) = original() else { return };
    let mut cluster = Cluster::start_with(3, &["--auto-compaction-retention=1s"]);
    let leader = cluster.leader();
    let ctl = Ctl::at(&original, &cluster.members[(leader + 1) % 3]);
    ctl.ok(&["put", "a", "1"]);
    ctl.ok(&["put", "a", "2"]);
    eventually(PATIENCE, "the first value is gone", || {
        ctl.ok(&["put", "a", "again"]);
        let Output { exit, stderr, .. } = ctl.run(&["get", "--rev", "2", "a"]);
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert!(exit == Some(0) || stderr.contains(compacted), "{stderr}");
        (exit != Some(0)).then_some(())
    });
    let told = |at: usize, line: &str| cluster.members[at].log().text().contains(line);
    assert!(told(leader, "completed auto compaction"));
    assert!(!told((leader + 1) % 3, "auto compaction"), "that is the leader's");
}

#[test]
fn who_wants_a_leader_is_told_when_there_is_none() {
    let mut cluster = Cluster::start(3);
    let at = (cluster.leader() + 1) % 3;
    let watch = |wants_leader: &str| {
        let body = json!({"create_request": {"key": "YQ=="}}).to_string();
        let request = Request::json("POST", "/v3/watch", &body)
            .header("Grpc-Metadata-Hasleader", wants_leader);
        let mut watching = cluster.members[at].connect();
        watching.send(&request).expect("it is read");
        watching.receive_head().expect("it begins");
        let created = watching.receive_chunk().expect("it is created").expect("a line");
        assert!(String::from_utf8_lossy(&created).contains("created"), "{created:?}");
        watching
    };
    let (mut strict, mut patient) = (watch("true"), watch("false"));
    for other in [(at + 1) % 3, (at + 2) % 3] {
        cluster.members[other].kill();
    }
    let range = |wants_leader: &str| {
        let body = json!({"key": "YQ==", "serializable": true}).to_string();
        let request = Request::json("POST", "/v3/kv/range", &body)
            .header("Grpc-Metadata-Hasleader", wants_leader);
        cluster.members[at].ask(&request)
    };
    eventually(PATIENCE, "a read is refused that wants a leader", || {
        let refused = range("true");
        (refused.status == 503)
            .then(|| assert_eq!(refused.json()["message"], "etcdserver: no leader"))
    });
    assert_eq!(range("false").status, 200);
    strict.set_patience(PATIENCE);
    let ended = strict.receive_chunk().expect("it ends in order").expect("with a line");
    let ended: Value = serde_json::from_slice(&ended).expect("JSON");
    assert_eq!(ended["error"]["message"], "etcdserver: no leader");
    assert!(patient.is_silent(Duration::from_millis(200)), "who does not mind goes on");
}
