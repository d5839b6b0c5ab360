//! Disks that stop and disks that are full, each of one member only, under load and under watch.

use std::time::Duration;

use e2e::{
    Request,
    cluster::{Cluster, account::Account},
};

const PATIENCE: Duration = Duration::from_secs(30);
const DISK_MEBIBYTES: u64 = 160;

#[test]
fn a_follower_on_a_disk_that_stutters_does_not_hold_up_the_others() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let slow = cluster.disks[(leader + 1) % 3].stutter(Duration::from_millis(300));
    println!("200 writes beside a slow disk: {:?}", account.load.goes_on(200));
    drop(slow);
    account.close(&cluster);
}

#[test]
fn a_leader_on_a_disk_that_stutters_loses_nothing() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let slow = cluster.disks[leader].stutter(Duration::from_millis(300));
    println!("50 writes on a slow disk: {:?}", account.load.goes_on(50));
    drop(slow);
    account.close(&cluster);
}

#[test]
fn while_the_leaders_disk_stands_still_the_others_acknowledge_and_the_leader_does_not() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let still = cluster.disks[leader].stutter(PATIENCE);
    let mut waiting = cluster.members[leader].connect();
    waiting.send(&Request::put("/v2/keys/still", "x")).expect("the leader listens");
    println!("50 writes while the leader's disk stands still: {:?}", account.load.goes_on(50));
    assert!(waiting.is_silent(Duration::from_millis(200)), "it is not on the leader's disk");
    drop(still);
    waiting.receive().expect("an answer").expect(&[201]).index();
    account.close(&cluster);
}

#[test]
fn a_member_whose_disk_is_full_stops_with_a_reason_and_goes_on_once_there_is_room() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let full = (cluster.leader() + 1) % 3;
    cluster.members[full].allow("No space left on device");
    cluster.disks[full].fill();
    println!("200 writes beside a full disk: {:?}", account.load.goes_on(200));
    // It notices at its next flush.
    let status = cluster.members[full].reap(PATIENCE);
    assert_eq!(status.code(), Some(1));
    let log = cluster.members[full].log();
    assert!(log.contains("free space on this disk, then start the member again"), "{}", log.text());
    account.load.goes_on(50);
    cluster.disks[full].clear();
    cluster.members[full].restart();
    account.close(&cluster);
}
