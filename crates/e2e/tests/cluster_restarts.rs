//! Members stop and come back, all at once or one after the other, under load and under watch.

use e2e::{
    Member,
    cluster::{Cluster, account::Account},
};

#[test]
fn all_members_killed_at_once_under_load_lose_nothing() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    cluster.members.iter_mut().for_each(Member::kill);
    cluster.members.iter_mut().for_each(Member::launch);
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    account.close(&cluster);
}

#[test]
fn members_rolled_under_load_strand_no_client_that_asks_another() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    for at in 0..3 {
        cluster.members[at].stop();
        account.load.goes_on(20);
        cluster.members[at].restart();
        account.load.goes_on(20);
    }
    let record = account.close(&cluster);
    assert_eq!(record.stranded, 0, "a client went twice around and nobody answered");
}

#[test]
fn members_killed_again_and_again_lose_nothing() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    for round in 0..6 {
        let at = round % 3;
        cluster.members[at].kill();
        account.load.goes_on(20);
        cluster.members[at].restart();
    }
    account.close(&cluster);
}
