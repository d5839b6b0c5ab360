//! Members stop and come back, all at once or one after the other, under load and under watch.

use std::time::{Duration, Instant};

use e2e::{
    Member,
    cluster::{Cluster, account::Account},
};
use nix::sys::signal::Signal;

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

#[test]
fn a_follower_that_sleeps_is_not_missed_and_catches_up() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    // For so long nobody minds; for so long the others give up the streams to it.
    for seconds in [1, 7] {
        let sleeps = (cluster.leader() + 1) % 3;
        cluster.members[sleeps].signal(Signal::SIGSTOP);
        let asleep = Instant::now();
        while asleep.elapsed() < Duration::from_secs(seconds) {
            account.load.goes_on(50);
        }
        cluster.members[sleeps].signal(Signal::SIGCONT);
        account.load.goes_on(50);
    }
    account.close(&cluster);
}
