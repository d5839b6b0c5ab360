//! Disks that stop and disks that are full, under load and under watch.

use std::time::{Duration, Instant};

use e2e::{
    Member, Request,
    cluster::{Cluster, SNAPSHOTS_SOON, account::Account, crowd::Crowd, disk::Stutter},
    eventually, v3,
};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);
const DISK_MEBIBYTES: u64 = 160;
/// What a member says whose disk stands still for longer than an election timeout.
const STANDS_STILL: &str = "the disk of the log takes nothing";

/// How long a disk that stutters stands still each time.
const STOP: Duration = Duration::from_millis(300);

/// Waits until it has stopped several times.
fn stutters(slow: &Stutter) {
    eventually(PATIENCE, "the disk stutters", || (slow.stops() >= 5).then_some(()));
}

#[test]
fn a_follower_on_a_disk_that_stutters_does_not_hold_up_the_others() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let slow = cluster.disks[(leader + 1) % 3].stutter(STOP, &account.load);
    println!("200 writes beside a slow disk: {:?}", account.load.goes_on(200));
    stutters(&slow);
    // Nobody waits for the moments in which it goes on.
    let (acknowledged, stops) = (slow.acknowledged(), slow.stops());
    println!("{acknowledged} writes were acknowledged in the second halves of {stops} stops");
    assert!(acknowledged > 4 * stops, "{acknowledged} in {stops} stops");
    drop(slow);
    account.close(&cluster);
}

#[test]
fn a_leader_on_a_disk_that_stutters_loses_nothing() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let slow = cluster.disks[leader].stutter(STOP, &account.load);
    println!("50 writes on a slow disk: {:?}", account.load.goes_on(50));
    stutters(&slow);
    drop(slow);
    account.close(&cluster);
}

/// Writes gather at the leader, and what the others answer gathers behind its log.
#[test]
fn a_crowd_at_a_leader_on_a_disk_that_stutters_loses_nothing() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let crowd = Crowd::open(&mut cluster);
    let leader = cluster.leader();
    let slow = cluster.disks[leader].stutter(STOP, &account.load);
    stutters(&slow);
    crowd.goes_on();
    account.load.goes_on(50);
    drop(slow);
    crowd.close(&cluster, account);
}

/// Whoever waits at the leader waits in vain, until another one leads.
#[test]
fn a_crowd_at_a_leader_whose_disk_stands_still_goes_on_with_the_next_one() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let crowd = Crowd::open(&mut cluster);
    let before = cluster.leader();
    let others: Vec<_> = (0..3).filter(|at| *at != before).collect();
    for member in &mut cluster.members {
        member.allow(STANDS_STILL);
    }
    let still = cluster.disks[before].stutter(2 * PATIENCE, &account.load);
    cluster.leader_among(&others);
    crowd.goes_on();
    account.load.goes_on(50);
    drop(still);
    crowd.close(&cluster, account);
}

/// The term, and whom this member takes for the leader.
fn standing(member: &Member) -> (i64, String) {
    let told = v3::post(member, "maintenance/status", &json!({}));
    (v3::number(&told["raftTerm"]), told["leader"].to_string())
}

/// For so long a leader does not mind that its disk stands still, nor anybody else.
const PATIENT: [&str; 1] = ["--election-timeout=10000"];

#[test]
fn while_the_leaders_disk_stands_still_the_others_acknowledge_and_the_leader_does_not() {
    let started = Cluster::start_apart_on_disks_with(3, DISK_MEBIBYTES, &PATIENT);
    let Some(mut cluster) = started else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let before = standing(&cluster.members[leader]);
    cluster.members[leader].allow(STANDS_STILL);
    let still = cluster.disks[leader].stutter(PATIENCE, &account.load);
    let mut waiting = cluster.members[leader].connect();
    waiting.send(&Request::put("/v2/keys/still", "x")).expect("the leader listens");
    // For longer than with the usual timers.
    let (since, acknowledged) = (Instant::now(), account.load.acknowledged());
    while since.elapsed() < Duration::from_secs(3) {
        account.load.goes_on(50);
    }
    let acknowledged = account.load.acknowledged() - acknowledged;
    println!("{acknowledged} writes while the leader's disk stands still");
    assert!(waiting.is_silent(Duration::from_millis(200)), "it is not on the leader's disk");
    // It was this one, and no other, whose writes were acknowledged.
    for member in &cluster.members {
        assert_eq!(standing(member), before);
    }
    drop(still);
    waiting.receive().expect("an answer").expect(&[201]).index();
    assert_eq!(standing(&cluster.members[leader]), before);
    account.close(&cluster);
}

/// What a follower says to heartbeats does not wait for its disk: without the third member the leader
/// gives way where it hears from nobody for an election timeout.
#[test]
fn a_follower_whose_disk_stands_still_keeps_the_leader_that_has_nobody_else() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let (follower, third) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.members[third].kill();
    account.load.goes_on(50);
    assert_eq!(cluster.leader_among(&[leader, follower]), leader);
    let before = standing(&cluster.members[leader]);
    cluster.members[follower].allow(STANDS_STILL);
    let still = cluster.disks[follower].stutter(PATIENCE, &account.load);
    // What it had on its disk before that is told.
    std::thread::sleep(Duration::from_millis(300));
    let (since, acknowledged) = (Instant::now(), account.load.acknowledged());
    // Four elections, and to be the leader for a reader takes an answer to a heartbeat.
    while since.elapsed() < Duration::from_secs(4) {
        let read = json!({"key": v3::bytes("/first")});
        v3::post(&cluster.members[leader], "kv/range", &read);
        for at in [leader, follower] {
            assert_eq!(standing(&cluster.members[at]), before, "after {:?}", since.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(account.load.acknowledged(), acknowledged, "it is on one disk of three");
    drop(still);
    account.load.recovers("the disk stood still");
    account.load.goes_on(50);
    for at in [leader, follower] {
        assert_eq!(standing(&cluster.members[at]), before);
    }
    cluster.members[third].restart();
    account.close(&cluster);
}

/// Else nothing would expire, no lease could be kept, and after 64 MB nothing be written any more.
#[test]
fn a_leader_whose_disk_stands_still_for_long_gives_way_and_comes_back_as_a_follower() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let before = cluster.leader();
    let others: Vec<_> = (0..3).filter(|at| *at != before).collect();
    // Of the next leader too: the machine's own disk may do so for a second.
    for member in &mut cluster.members {
        member.allow(STANDS_STILL);
    }
    let still = cluster.disks[before].stutter(2 * PATIENCE, &account.load);
    cluster.members[before].connect().send(&Request::put("/v2/keys/still", "x")).expect("it hears");
    let leader = cluster.leader_among(&others);
    assert!(cluster.members[before].log().contains(STANDS_STILL));
    let key = "/v2/keys/short";
    let short = Request::put(key, "x").query(&[("ttl", "1")]);
    cluster.members[leader].ask(&short).expect(&[201]).index();
    let is_gone = || (cluster.members[leader].get(key).status == 404).then_some(());
    eventually(PATIENCE, "what has a time to live ends", is_gone);
    println!("200 writes beside the disk that stands still: {:?}", account.load.goes_on(200));
    drop(still);
    account.close(&cluster);
}

/// A member whose disk is full notices at its next flush, and says what is to be done.
fn stops_with_advice(member: &mut Member) {
    assert_eq!(member.reap(PATIENCE).code(), Some(1));
    let log = member.log();
    assert!(log.contains("free space on this disk, then start the member again"), "{}", log.text());
}

/// It goes on past its next flushes, which a full disk would end again.
fn stays(cluster: &mut Cluster, account: &Account, at: usize) {
    let back = Instant::now();
    while back.elapsed() < Duration::from_secs(4) {
        account.load.goes_on(20);
    }
    assert!(!cluster.members[at].has_ended(), "{}", cluster.members[at].log().text());
}

fn fill(cluster: &mut Cluster, at: usize) {
    cluster.members[at].allow("No space left on device");
    cluster.disks[at].fill();
}

#[test]
fn a_member_whose_disk_is_full_stops_with_a_reason_and_goes_on_once_there_is_room() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let full = (cluster.leader() + 1) % 3;
    fill(&mut cluster, full);
    println!("200 writes beside a full disk: {:?}", account.load.goes_on(200));
    stops_with_advice(&mut cluster.members[full]);
    account.load.goes_on(50);
    cluster.disks[full].clear();
    cluster.members[full].restart();
    stays(&mut cluster, &account, full);
    account.close(&cluster);
}

#[test]
fn a_leader_whose_disk_is_full_stops_with_a_reason_and_the_others_go_on() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    let full = cluster.leader();
    fill(&mut cluster, full);
    stops_with_advice(&mut cluster.members[full]);
    account.load.recovers("the leader's disk was full");
    account.load.goes_on(100);
    cluster.disks[full].clear();
    cluster.members[full].restart();
    stays(&mut cluster, &account, full);
    account.close(&cluster);
}

#[test]
fn members_whose_disks_are_all_full_lose_nothing_and_go_on_once_there_is_room() {
    let Some(mut cluster) = Cluster::start_apart_on_disks(3, DISK_MEBIBYTES) else { return };
    let account = Account::open(&cluster);
    (0..3).for_each(|at| fill(&mut cluster, at));
    let ended = |cluster: &mut Cluster| -> Vec<usize> {
        (0..3).filter(|at| cluster.members[*at].has_ended()).collect()
    };
    let have_stopped = || Some(ended(&mut cluster)).filter(|ended| ended.len() >= 2);
    eventually(PATIENCE, "two members stop", have_stopped);
    // What the third had not flushed before the others stopped it tries to flush within a second; if
    // there was nothing, it waits for the others.
    std::thread::sleep(Duration::from_secs(4));
    let stopped = ended(&mut cluster);
    for at in &stopped {
        stops_with_advice(&mut cluster.members[*at]);
    }
    (0..3).for_each(|at| cluster.disks[at].clear());
    for at in &stopped {
        cluster.members[*at].launch();
    }
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    (0..3).for_each(|at| stays(&mut cluster, &account, at));
    account.close(&cluster);
}

/// Half of a snapshot in the way of everything else would stop the member; and again with every try.
#[test]
fn a_member_without_room_for_a_snapshot_says_so_and_goes_on_and_takes_it_once_there_is() {
    let started = Cluster::start_apart_on_disks_with(3, 400, &SNAPSHOTS_SOON);
    let Some(mut cluster) = started else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.members[away].kill();
    let value = "v".repeat(1 << 20);
    for number in 0..30 {
        cluster.members[leader].put(&format!("/large/{number}"), &value);
    }
    // For so long its leader keeps what it lacks.
    eventually(PATIENCE, "the leader keeps nothing for it", || {
        (!cluster.members[leader].keeps_entries()).then_some(())
    });
    cluster.disks[away].fill_but(20);
    cluster.members[away].allow("no room for it");
    cluster.members[away].launch();
    let incoming = cluster.members[away].data_dir().join("member/keyspace.incoming");
    let told = format!("no room for it: {} would take about ", incoming.display());
    eventually(PATIENCE, "it has no room", || {
        cluster.members[away].log().contains(&told).then_some(())
    });
    // Several tries.
    let tried = |log: &e2e::logs::Log| {
        log.text().matches("sending a snapshot to a member that lags").count()
    };
    eventually(PATIENCE, "it is tried again", || {
        (tried(cluster.members[leader].log()) >= 3).then_some(())
    });
    assert!(!incoming.exists());
    assert!(!cluster.members[away].has_ended(), "{}", cluster.members[away].log().text());
    cluster.disks[away].clear();
    cluster.members[away].wait_until_ready();
    account.close(&cluster);
    assert!(cluster.members[away].took_a_snapshot());
}
