//! Members come, go and are replaced under load and under watch.

use std::{path::Path, process::Command, time::Duration};

use e2e::{
    Member, Request,
    cluster::{Cluster, SNAPSHOTS_SOON, account::Account},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn id(member: &Member) -> String {
    member.get("/v2/stats/self").json()["id"].as_str().expect("a member has an id").to_owned()
}

fn remove(through: &Member, id: &str) {
    let removed = through.ask(&Request::new("DELETE", &format!("/v2/members/{id}")));
    assert_eq!(removed.status, 204, "{}", removed.text());
}

#[test]
fn members_that_join_under_load_know_all_that_was_before_them() {
    let Some(mut cluster) = Cluster::start_apart_with(3, &SNAPSHOTS_SOON) else { return };
    let mut account = Account::open(&cluster);
    account.load.goes_on(100);
    for _ in 0..2 {
        let joined = cluster.add();
        account.watch(joined);
        account.load.goes_on(50);
    }
    for joined in &cluster.members[3..] {
        assert!(joined.took_a_snapshot(), "{}", joined.log().text());
    }
    // Now two may be cut off.
    let leader = cluster.leader();
    let (some, others): (Vec<_>, Vec<_>) =
        (0..5).partition(|at| [leader, (leader + 1) % 5].contains(at));
    cluster.cut(&some, &others);
    cluster.leader_among(&others);
    account.load.goes_on(50);
    cluster.heal();
    account.close(&cluster);
}

#[test]
fn a_leader_removed_under_load_hands_over_and_leaves() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let id = id(&cluster.members[leader]);
    remove(&cluster.members[(leader + 1) % 3], &id);
    let mut removed = cluster.forget(leader);
    removed.allow("permanently removed");
    assert_eq!(removed.reap(PATIENCE).code(), Some(0), "it leaves by itself");
    account.load.recovers("the leader has left");
    account.close(&cluster);
}

#[test]
fn a_member_that_lost_its_disk_is_replaced_by_a_new_one() {
    let Some(mut cluster) = Cluster::start_apart_with(3, &SNAPSHOTS_SOON) else { return };
    let mut account = Account::open(&cluster);
    let lost = (cluster.leader() + 1) % 3;
    let id = id(&cluster.members[lost]);
    cluster.members[lost].kill();
    std::fs::remove_dir_all(cluster.members[lost].data_dir()).expect("it is there");
    account.load.goes_on(50);
    remove(&cluster.members[(lost + 1) % 3], &id);
    drop(cluster.forget(lost));
    let joined = cluster.add();
    account.watch(joined);
    account.load.goes_on(50);
    assert!(cluster.members[2].took_a_snapshot(), "{}", cluster.members[2].log().text());
    account.close(&cluster);
}

/// Both start with less than they had said was on their disks.
fn loses_its_log(cluster: &mut Cluster, at: usize) {
    cluster.members[at].allow("its log was lost");
    cluster.members[at].allow("the log of this member was lost");
    cluster.members[at].launch();
}

/// It has been found out, and does not start again.
fn stays_away(cluster: &mut Cluster, at: usize) {
    for _ in 0..2 {
        assert_eq!(cluster.members[at].reap(PATIENCE).code(), Some(1));
        let log = cluster.members[at].log();
        assert!(log.contains("Remove the member and its data directory"), "{}", log.text());
        cluster.members[at].launch();
    }
    assert_eq!(cluster.members[at].reap(PATIENCE).code(), Some(1));
}

/// As after a virtual machine was put back to an earlier state. Etcd's member stops, too, and would lead
/// at its next start.
#[test]
fn a_member_with_an_older_copy_of_its_data_never_leads_without_what_was_acknowledged() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let (copied, away) = ((leader + 1) % 3, (leader + 2) % 3);
    let copy = tempfile::tempdir().expect("/tmp can be written");
    cluster.members[copied].stop();
    let data_dir = cluster.members[copied].data_dir().to_owned();
    let copies = |from: &Path, to: &Path| {
        let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.expect("cp runs").success());
    };
    copies(&data_dir, &copy.path().join("data"));
    cluster.members[copied].restart();
    cluster.members[away].kill();
    account.load.goes_on(50);
    // Nothing is acknowledged from now on, and so much need not be asked for.
    account.load.slows(Duration::from_millis(500));
    cluster.members[copied].kill();
    std::fs::remove_dir_all(&data_dir).expect("it is there");
    copies(&copy.path().join("data"), &data_dir);
    loses_its_log(&mut cluster, copied);
    stays_away(&mut cluster, copied);
    // With the one that has been away it would be a majority.
    cluster.members[leader].kill();
    cluster.members[away].launch();
    std::thread::sleep(Duration::from_secs(3));
    cluster.members[leader].restart();
    cluster.members[away].wait_until_ready();
    drop(cluster.forget(copied));
    account.close(&cluster);
}

/// It was out of reach of the others when it started, so nobody could tell it who it is.
#[test]
fn a_member_that_begins_anew_under_its_id_stops_and_is_replaced() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let mut account = Account::open(&cluster);
    let lost = (cluster.leader() + 1) % 3;
    cluster.isolate(lost);
    cluster.members[lost].kill();
    std::fs::remove_dir_all(cluster.members[lost].data_dir()).expect("it is there");
    loses_its_log(&mut cluster, lost);
    // It asks the others for two seconds.
    std::thread::sleep(Duration::from_secs(5));
    account.load.goes_on(50);
    cluster.heal();
    stays_away(&mut cluster, lost);
    // It is replaced, as it says.
    let told = cluster.members[(lost + 1) % 3].get("/v2/members").json();
    let peer_url = cluster.members[lost].peer_url().to_owned();
    let all = told["members"].as_array().expect("a list");
    let own = all.iter().find(|one| one["peerURLs"][0] == peer_url).expect("it is a member");
    remove(&cluster.members[(lost + 1) % 3], own["id"].as_str().expect("a member has an id"));
    cluster.members[lost].allow("permanently removed");
    drop(cluster.forget(lost));
    let joined = cluster.add();
    account.watch(joined);
    account.close(&cluster);
}
