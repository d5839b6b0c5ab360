//! Members stop and come back, all at once or one after the other, under load and under watch.

use std::time::{Duration, Instant};

use e2e::{
    Member,
    cluster::{Cluster, SNAPSHOTS_SOON, account::Account, crowd::Crowd, stubborn::Stubborn},
    eventually,
};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

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
    let stubborn = Stubborn::start(&cluster);
    for at in 0..3 {
        cluster.members[at].stop();
        account.load.goes_on(20);
        cluster.members[at].restart();
        account.load.goes_on(20);
    }
    stubborn.close(&cluster);
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

/// Writes and answers that had gathered go with it.
#[test]
fn a_leader_killed_in_a_crowd_loses_nothing() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let crowd = Crowd::open(&mut cluster);
    for _ in 0..2 {
        let leader = cluster.leader();
        cluster.members[leader].kill();
        account.load.recovers("the leader was killed");
        crowd.goes_on();
        cluster.members[leader].restart();
    }
    crowd.close(&cluster, account);
}

/// Kills who receives a snapshot while it comes, and then who sends it.
#[test]
fn killed_on_either_side_while_a_snapshot_comes_nothing_is_lost() {
    let Some(mut cluster) = Cluster::start_apart_with(3, &SNAPSHOTS_SOON) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.members[away].kill();
    let value = "v".repeat(1 << 20);
    for number in 0..20 {
        cluster.members[leader].put(&format!("/large/{number}"), &value);
    }
    eventually(PATIENCE, "the leader keeps nothing for it", || {
        (!cluster.members[leader].keeps_entries()).then_some(())
    });
    // The snapshot takes some five seconds.
    let address = cluster.members[away].address().ip();
    cluster.network().throttle(address, 40_000);
    let incoming = cluster.members[away].data_dir().join("member/keyspace.incoming");
    let comes = || {
        let length = || std::fs::metadata(&incoming).map_or(0, |file| file.len());
        eventually(PATIENCE, "a snapshot comes", || (length() > 1 << 20).then_some(()));
    };
    for _ in 0..2 {
        cluster.members[away].launch();
        comes();
        cluster.members[away].kill();
        assert!(!cluster.members[away].took_a_snapshot(), "it was killed too late");
    }
    cluster.members[away].launch();
    comes();
    let sender = cluster.leader_among(&[leader, (leader + 2) % 3]);
    cluster.members[sender].kill();
    assert!(!cluster.members[away].took_a_snapshot(), "it was killed too late");
    cluster.members[sender].restart();
    cluster.network().hasten(address);
    cluster.members[away].wait_until_ready();
    account.close(&cluster);
    assert!(cluster.members[away].took_a_snapshot());
    assert!(!incoming.exists());
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
