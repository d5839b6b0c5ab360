//! Members come, go and are replaced under load and under watch.

use std::time::Duration;

use e2e::{
    Member, Request,
    cluster::{Cluster, account::Account},
    eventually,
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
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let mut account = Account::open(&cluster);
    for _ in 0..2 {
        let joined = cluster.add();
        account.watch(joined);
        account.load.goes_on(50);
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
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
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
    account.close(&cluster);
}

/// It was out of reach of the others when it started, so nobody could tell it who it is.
#[test]
fn a_member_that_begins_anew_under_its_id_is_refused_in_one_line_and_not_ten_a_second() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    for number in 0..20 {
        cluster.put(&format!("/k/{number}"), "x");
    }
    cluster.agree();
    let lost = (cluster.leader() + 1) % 3;
    cluster.isolate(lost);
    cluster.members[lost].kill();
    std::fs::remove_dir_all(cluster.members[lost].data_dir()).expect("it is there");
    let said = |cluster: &Cluster| {
        let log = cluster.members[lost].log().text();
        log.lines().filter(|line| line.contains("its log was lost, remove the member")).count()
    };
    cluster.members[lost].launch();
    // It asks the others for two seconds.
    std::thread::sleep(Duration::from_secs(5));
    cluster.heal();
    eventually(PATIENCE, "it says what is wrong", || (said(&cluster) > 0).then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(said(&cluster), 1, "{}", cluster.members[lost].log().text());
    // It is replaced, as it says.
    let told = cluster.members[(lost + 1) % 3].get("/v2/members").json();
    let peer_url = cluster.members[lost].peer_url().to_owned();
    let all = told["members"].as_array().expect("a list");
    let own = all.iter().find(|one| one["peerURLs"][0] == peer_url).expect("it is a member");
    remove(&cluster.members[(lost + 1) % 3], own["id"].as_str().expect("a member has an id"));
    cluster.members[lost].allow("permanently removed");
    drop(cluster.forget(lost));
    cluster.add();
    cluster.agree();
}
