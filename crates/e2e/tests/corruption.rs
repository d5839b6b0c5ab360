//! Members whose data are not what they should be: found, fenced off, and rebuilt if asked.

use std::{path::Path, sync::Arc, time::Duration};

use backend::{Backend, Change, Table};
use base::OsDisk;
use bytes::Bytes;
use e2e::{Connection, Member, Request, binaries, cluster::Cluster, eventually, run, v3};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(1);

/// Changes what lies on the disk of a member that does not run, so that each row is whole.
fn tamper(data_dir: &Path, change: impl FnOnce(&Backend) -> Change) {
    let path = data_dir.join("member/keyspace");
    let options = backend::Options { cache_bytes: 1 << 20 };
    let backend = Backend::open(Arc::new(OsDisk), &path, options).expect("it was closed in order");
    backend.begin_writing().expect("nobody else has it");
    let change = change(&backend);
    backend.write(None, vec![change]);
    backend.flush().expect("the disk takes it");
    backend.close().expect("the disk takes it");
}

/// A row with its last byte changed.
fn altered(table: Table, key: &Bytes, value: &Bytes) -> Change {
    let mut value = value.to_vec();
    *value.last_mut().expect("it is not empty") ^= 1;
    Change { table, key: key.clone(), value: Some(value.into()) }
}

/// As one that has once written something else than the others for the same entry.
fn another_history(backend: &Backend) -> Change {
    let key = Bytes::from_static(b"mvcc.digest");
    let row = backend.get(Table::Meta, &key).expect("it can be read").expect("there is one");
    altered(Table::Meta, &key, &row)
}

fn first_of(backend: &Backend, table: Table) -> (Bytes, Bytes) {
    let rows = backend.scan(table, b"", None, 1).expect("it can be read");
    rows.into_iter().next().expect("there is one")
}

fn alarms(member: &Member) -> String {
    let mut etcdctl = run::etcdctl_v3(&binaries::etcdctl(), &member.url());
    let output = run::run(etcdctl.args(["alarm", "list"]), "");
    assert_eq!(output.exit, Some(0), "{output:?}");
    output.stdout
}

fn id(member: &Member) -> String {
    member.get("/v2/stats/self").json()["id"].as_str().expect("it has one").to_owned()
}

/// A cluster with keys, all of which is on disk.
fn filled() -> Cluster {
    let cluster = Cluster::start(3);
    for number in 0..20 {
        cluster.put(&format!("/k/{number}"), "x");
    }
    v3::put(&cluster.members[0], "large", &"x".repeat(5_000));
    cluster.agree();
    cluster
}

/// It answers nobody about keys, says why, and the others know and go on.
#[track_caller]
fn is_fenced_off(cluster: &Cluster, at: usize) {
    let (fenced, other) = (&cluster.members[at], &cluster.members[(at + 1) % 3]);
    let says = || fenced.log().contains("it answers no client").then_some(());
    eventually(PATIENCE, "it says that it answers no client", says);
    assert!(fenced.log().contains("--rebuild-corrupt"), "{}", fenced.log().text());
    let answer = eventually(PATIENCE, "it listens", || {
        Connection::open(fenced.address()).ok()?.ask(&Request::get("/v2/keys/k/1")).ok()
    });
    assert_eq!(
        (answer.status, &answer.json()["cause"]),
        (500, &"etcdserver: corrupt cluster".into())
    );
    let range =
        Request::json("POST", "/v3/kv/range", &json!({"key": v3::bytes("large")}).to_string());
    let answer = fenced.ask(&range);
    assert_eq!(answer.json()["message"], "etcdserver: corrupt cluster", "{}", answer.text());
    let put = Request::put("/v2/keys/k/1", "y");
    assert_eq!(fenced.ask(&put).status, 500);
    let said =
        format!("memberID:{} alarm:CORRUPT \n", u64::from_str_radix(&id(fenced), 16).unwrap());
    assert_eq!(alarms(other), said);
    assert_eq!(alarms(fenced), said, "what is wrong with it can be asked everywhere");
    // Whoever sends requests to the healthy ones sends none to it, and goes on with the others.
    for path in ["/health", "/health?serializable=true", "/readyz", "/readyz/data_corruption"] {
        assert_eq!((fenced.get(path).status, other.get(path).status), (503, 200), "{path}");
    }
    other.put("/k/1", "z");
}

fn allow(cluster: &mut Cluster) {
    for member in &mut cluster.members {
        member.allow("alarm CORRUPT");
    }
}

#[test]
fn a_member_with_another_history_is_fenced_off_and_rebuilt_if_asked() {
    let mut cluster = filled();
    allow(&mut cluster);
    let at = (cluster.leader() + 1) % 3;
    cluster.members[at].stop();
    tamper(cluster.members[at].data_dir(), another_history);
    cluster.members[at].launch();
    is_fenced_off(&cluster, at);
    // It votes, so that the others can lose one of theirs; it does not lead for longer than it must.
    let leader = cluster.leader();
    let others: Vec<_> = (0..3).filter(|one| *one != at && *one != leader).collect();
    cluster.members[leader].kill();
    assert_eq!(cluster.leader_among(&others), others[0]);
    cluster.members[others[0]].put("/k/2", "z");
    cluster.members[leader].restart();
    // A restart alone changes nothing.
    cluster.members[at].stop();
    cluster.members[at].launch();
    is_fenced_off(&cluster, at);
    cluster.members[at].stop();
    cluster.members[at].change(|start| start.with("rebuild-corrupt", None));
    cluster.members[at].launch();
    eventually(PATIENCE, "it answers again", || {
        let mut connection = Connection::open(cluster.members[at].address()).ok()?;
        let answer = connection.ask(&Request::get("/v2/keys/k/2")).ok()?;
        (answer.status == 200).then_some(())
    });
    assert_eq!(alarms(&cluster.members[at]), "");
    cluster.put("/k/3", "z");
    cluster.agree();
    // Found to differ again, it is rebuilt again.
    let rebuilt = |cluster: &Cluster| {
        let log = cluster.members[at].log().text();
        log.matches("the keyspace is that of the snapshot now").count()
    };
    let before = rebuilt(&cluster);
    let member = u64::from_str_radix(&id(&cluster.members[at]), 16).expect("a number").to_string();
    let alarm = json!({"action": "ACTIVATE", "memberID": member, "alarm": "CORRUPT"});
    v3::post(&cluster.members[(at + 1) % 3], "maintenance/alarm", &alarm);
    eventually(PATIENCE, "it is rebuilt again", || (rebuilt(&cluster) > before).then_some(()));
    eventually(PATIENCE, "it answers again", || {
        (cluster.members[at].get("/v2/keys/k/2").status == 200).then_some(())
    });
    // What it has is on its disk, and its log goes on from there.
    cluster.members[at].kill();
    cluster.members[at].restart();
    cluster.put("/k/4", "z");
    cluster.agree();
}

/// Comparing what was written finds nothing: the disk has changed it since.
#[test]
fn a_value_that_has_changed_on_disk_is_found_where_hashes_are_compared() {
    let mut cluster = filled();
    allow(&mut cluster);
    let at = (cluster.leader() + 1) % 3;
    cluster.members[at].stop();
    tamper(cluster.members[at].data_dir(), |backend| {
        let (key, value) = first_of(backend, Table::Values);
        altered(Table::Values, &key, &value)
    });
    let gate = Some("InitialCorruptCheck=true");
    cluster.members[at].change(|start| start.with("feature-gates", gate));
    cluster.members[at].launch();
    is_fenced_off(&cluster, at);
    // Who is removed takes its alarm along.
    let removed = id(&cluster.members[at]);
    let path = format!("/v2/members/{removed}");
    let answer = cluster.members[(at + 1) % 3].ask(&Request::new("DELETE", &path));
    assert_eq!(answer.status, 204, "{}", answer.text());
    cluster.members[at].allow("permanently removed");
    drop(cluster.forget(at));
    eventually(PATIENCE, "the alarm has gone", || {
        alarms(&cluster.members[0]).is_empty().then_some(())
    });
}

/// A member with a value that has changed on its disk, which its start does not find; then, with these flags,
/// what `then` does finds it while it runs.
fn is_found_while_it_runs(flags: &[&str], then: impl FnOnce(&Cluster)) {
    let mut cluster = Cluster::start_with(3, flags);
    allow(&mut cluster);
    for number in 0..20 {
        cluster.put(&format!("/k/{number}"), "x");
    }
    v3::put(&cluster.members[0], "large", &"x".repeat(5_000));
    cluster.agree();
    let at = (cluster.leader() + 1) % 3;
    cluster.members[at].stop();
    tamper(cluster.members[at].data_dir(), |backend| {
        let (key, value) = first_of(backend, Table::Values);
        altered(Table::Values, &key, &value)
    });
    cluster.members[at].launch();
    cluster.members[at].wait_until_ready();
    then(&cluster);
    is_fenced_off(&cluster, at);
}

#[test]
fn a_value_that_has_changed_on_disk_is_found_by_the_clock() {
    is_found_while_it_runs(&["--corrupt-check-time=2s"], |_| {});
}

#[test]
fn a_value_that_has_changed_on_disk_is_found_by_what_a_compaction_hashes() {
    let flags = ["--feature-gates=CompactHashCheck=true", "--compact-hash-check-time=1s"];
    is_found_while_it_runs(&flags, |cluster| {
        let revision = v3::put(&cluster.members[0], "another", "x");
        v3::post(&cluster.members[0], "kv/compaction", &json!({ "revision": revision }));
    });
}

#[test]
fn a_record_that_is_missing_is_found_when_the_member_starts() {
    let mut cluster = filled();
    let at = (cluster.leader() + 1) % 3;
    cluster.members[at].stop();
    tamper(cluster.members[at].data_dir(), |backend| {
        let (key, _) = first_of(backend, Table::Records);
        Change { table: Table::Records, key, value: None }
    });
    cluster.members[at].allow("records are missing");
    cluster.members[at].launch();
    assert_eq!(cluster.members[at].reap(PATIENCE).code(), Some(1));
    let log = cluster.members[at].log();
    assert!(log.contains("records are missing, or not those that were written"), "{}", log.text());
}

/// What waits at it would wait for ever, or hear what is wrong.
#[test]
fn what_waits_at_a_member_ends_when_it_is_fenced_off() {
    let mut cluster = Cluster::start(3);
    allow(&mut cluster);
    cluster.put("/a", "x");
    let leader = cluster.leader();
    let [fenced, other] = [leader, (leader + 1) % 3].map(|at| &cluster.members[at]);
    let mut polling = fenced.connect();
    polling.send(&Request::get("/v2/keys/a?wait=true")).expect("it listens");
    let create = json!({"create_request": {"key": v3::bytes("/a")}}).to_string();
    let mut watching = fenced.connect();
    watching.send(&Request::json("POST", "/v3/watch", &create)).expect("it listens");
    // Both have begun.
    std::thread::sleep(Duration::from_millis(500));
    let member = u64::from_str_radix(&id(fenced), 16).expect("an id is a number").to_string();
    let alarm = |action| json!({"action": action, "memberID": member, "alarm": "CORRUPT"});
    v3::post(other, "maintenance/alarm", &alarm("ACTIVATE"));
    let ended = polling.receive().expect("the answer ends in order");
    assert_eq!((ended.status, ended.text().trim()), (200, ""));
    let ended = watching.receive().expect("the stream ends in order").text();
    assert!(ended.contains("etcdserver: corrupt cluster"), "{ended}");
    let led_by = || other.get("/v2/stats/self").json()["leaderInfo"]["leader"].clone();
    eventually(PATIENCE, "another leads", || (led_by() != id(fenced).as_str()).then_some(()));
    other.put("/a", "y");
    v3::post(other, "maintenance/alarm", &alarm("DEACTIVATE"));
    eventually(PATIENCE, "it answers again", || {
        (fenced.get("/v2/keys/a").status == 200).then_some(())
    });
    cluster.agree();
}

/// Etcd's alarm, raised by hand for nobody in particular, stops all.
#[test]
fn the_alarm_of_nobody_stops_all_until_it_is_disarmed() {
    let cluster = Cluster::start(3);
    cluster.put("/a", "x");
    let alarm = json!({"action": "ACTIVATE", "memberID": "0", "alarm": "CORRUPT"});
    v3::post(&cluster.members[0], "maintenance/alarm", &alarm);
    let refused = cluster.members[1].ask(&Request::put("/v2/keys/a", "y"));
    assert_eq!(refused.status, 500, "{}", refused.text());
    for path in ["/health", "/readyz"] {
        assert_eq!(cluster.members[1].get(path).status, 503, "{path}");
    }
    let disarm = json!({"action": "DEACTIVATE", "memberID": "0", "alarm": "CORRUPT"});
    v3::post(&cluster.members[0], "maintenance/alarm", &disarm);
    cluster.put("/a", "y");
}
