//! Networks that lose, slow down and split, under load and under watch.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use e2e::{
    Member, Request,
    cluster::{Cluster, SNAPSHOTS_SOON, account::Account, crowd::Crowd, forced::id},
    eventually,
};
use nix::sys::signal::Signal;

#[test]
fn an_isolated_follower_catches_up_and_its_watchers_miss_nothing() {
    let Some(mut cluster) = Cluster::start_apart_with(3, &SNAPSHOTS_SOON) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.isolate(away);
    account.load.goes_on(200);
    for number in 0..200 {
        cluster.members[leader].put(&format!("/k/{number}"), &"v".repeat(2_000));
    }
    // It may be the other one meanwhile, if a disk stood still.
    let others = [leader, (leader + 2) % 3];
    for keeps in [true, false] {
        eventually(Duration::from_secs(30), &format!("the leader keeps entries: {keeps}"), || {
            let leader = cluster.leader_among(&others);
            (cluster.members[leader].keeps_entries() == keeps).then_some(())
        });
    }
    cluster.heal();
    account.close(&cluster);
    assert!(cluster.members[away].took_a_snapshot(), "{}", cluster.members[away].log().text());
}

#[test]
fn a_leader_that_is_heard_but_does_not_hear_gives_way() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    for other in (0..3).filter(|at| *at != leader) {
        cluster.cut_one_way(other, leader);
    }
    account.load.recovers("the leader went deaf");
    account.load.goes_on(100);
    cluster.heal();
    account.close(&cluster);
}

/// What it sends to its clients still arrives: who asks it must not be told that a write is done, nor what
/// is no longer so.
#[test]
fn a_leader_that_hears_and_is_not_heard_gives_way() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    for other in &others {
        cluster.cut_one_way(leader, *other);
    }
    account.load.recovers("the leader went mute");
    cluster.leader_among(&others);
    account.load.goes_on(100);
    eventually(Duration::from_secs(10), "it has given way", || {
        let told = cluster.members[leader].get("/v2/stats/self").json();
        (told["state"] == "StateFollower").then_some(())
    });
    cluster.heal();
    account.close(&cluster);
}

/// The writes that wait at it when it is cut off are many, and clients come back to it until it is heard.
#[test]
fn a_crowd_at_a_leader_that_is_isolated_goes_on_with_the_next_one() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let crowd = Crowd::open(&mut cluster);
    let leader = cluster.leader();
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    cluster.isolate(leader);
    account.load.recovers("the leader was cut off");
    cluster.leader_among(&others);
    crowd.goes_on();
    cluster.heal();
    crowd.close(&cluster, account);
}

#[test]
fn a_follower_that_hears_nothing_and_is_heard_disturbs_nobody() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let deaf = (leader + 1) % 3;
    for other in (0..3).filter(|at| *at != deaf) {
        cluster.cut_one_way(other, deaf);
    }
    account.load.goes_on(300);
    let others: Vec<_> = (0..3).filter(|at| *at != deaf).collect();
    assert_eq!(cluster.leader_among(&others), leader, "the others kept their leader");
    cluster.heal();
    account.close(&cluster);
}

/// Two and two do not see one another, and the fifth sees all: with either kind of leader.
fn keep_going_with_a_bridge(leads: bool) {
    let Some(mut cluster) = Cluster::start_apart(5) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let [one, two, three, four] = [1, 2, 3, 4].map(|more| (leader + more) % 5);
    let (near, bridge, far) = if leads {
        ([one, two], leader, [three, four])
    } else {
        ([leader, one], two, [three, four])
    };
    cluster.cut(&near, &far);
    account.load.recovers("the halves were parted");
    account.load.goes_on(100);
    let quorum = [near[0], near[1], bridge];
    assert_eq!(cluster.leader_among(&quorum), leader, "they kept their leader");
    cluster.heal();
    account.close(&cluster);
}

#[test]
fn a_member_that_both_halves_see_keeps_the_cluster_going() {
    keep_going_with_a_bridge(false);
}

#[test]
fn a_leader_that_both_halves_see_keeps_the_cluster_going() {
    keep_going_with_a_bridge(true);
}

#[test]
fn the_half_without_a_quorum_acknowledges_nothing_and_follows_the_other_afterwards() {
    let Some(mut cluster) = Cluster::start_apart(5) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let minority = [leader, (leader + 1) % 5];
    let majority: Vec<_> = (0..5).filter(|at| !minority.contains(at)).collect();
    cluster.cut(&minority, &majority);
    cluster.leader_among(&majority);
    account.load.goes_on(100);
    cluster.heal();
    account.close(&cluster);
}

#[test]
fn a_network_that_loses_every_fifth_packet_loses_no_write() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    cluster.lose(20);
    println!("a hundred writes with losses: {:?}", account.load.goes_on(100));
    cluster.heal();
    account.close(&cluster);
}

#[test]
fn a_leader_on_a_thin_line_loses_no_write() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    cluster.throttle(leader, 200);
    println!("a hundred writes on a thin line: {:?}", account.load.goes_on(100));
    cluster.hasten(leader);
    account.close(&cluster);
}

/// What is on its way for long moves all the time: sent again and again, it would never arrive, and
/// nothing that comes after it.
#[test]
fn one_large_write_on_a_thin_line_holds_up_others_only_while_it_is_on_its_way() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    // To each of them it takes some twelve seconds.
    cluster.throttle(leader, 1_000);
    let large = "x".repeat(1_400_000);
    let answer = cluster.members[leader].ask(&Request::put("/v2/keys/large", &large));
    println!("the large write is answered with {}", answer.status);
    println!("ten writes behind a large one: {:?}", account.load.goes_on(10));
    cluster.hasten(leader);
    let tree = cluster.members[leader].get("/v2/keys/large?quorum=true").expect(&[200]).json();
    assert_eq!(tree["node"]["value"].as_str().map(str::len), Some(large.len()));
    account.close(&cluster);
}

/// What a member has sent to another one.
fn sent_bytes(from: &Member, to: &Member) -> u64 {
    let metrics = from.get("/metrics").expect(&[200]).text();
    let name = format!("etcd_network_peer_sent_bytes_total{{To=\"{}\"}} ", id(to));
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.expect("it is counted").parse().expect("a number")
}

/// The stream to it breaks, and the leader does not know what it has: what is sent again until it says
/// so is not sent again in many copies.
#[test]
fn a_follower_that_slept_while_a_large_write_came_over_a_thin_line_catches_up_soon() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    // Twelve clients, some fifty writes a second: a fifth of a line.
    account.load.slows(Duration::from_millis(150));
    cluster.throttle(leader, 1_000);
    let large = "x".repeat(1_400_000);
    let sent = sent_bytes(&cluster.members[leader], &cluster.members[follower]);
    std::thread::scope(|scope| {
        let (leader, follower) = (&cluster.members[leader], &cluster.members[follower]);
        scope.spawn(|| leader.ask(&Request::put("/v2/keys/large", &large)));
        std::thread::sleep(Duration::from_secs(1));
        follower.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_secs(7));
        follower.signal(Signal::SIGCONT);
    });
    let index = cluster.put("/after", "x");
    let started = Instant::now();
    eventually(Duration::from_secs(30), "the follower has caught up", || {
        let found = cluster.members[follower].get("/v2/keys/after");
        (found.status == 200 && found.index() >= index).then_some(())
    });
    println!("the follower has caught up within {:?}", started.elapsed());
    let sent = sent_bytes(&cluster.members[leader], &cluster.members[follower]) - sent;
    println!("{sent} bytes were sent to it");
    // One copy was lost with the stream. The third is for all that the load has written meanwhile.
    assert!(sent < 3 * large.len() as u64, "{sent} bytes were sent");
    cluster.hasten(leader);
    account.close(&cluster);
}

/// Its client was told that it took too long, and others have written since.
#[test]
fn a_write_that_was_refused_for_want_of_a_leader_is_not_carried_out_when_there_is_one() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let leader = cluster.leader();
    let alone = (leader + 1) % 3;
    cluster.isolate(alone);
    // Before it misses its leader, and then: the one is on its way, the other waits at home.
    let refused = std::thread::scope(|scope| {
        let member = &cluster.members[alone];
        let ask = move || member.ask(&Request::put("/v2/keys/x", "refused"));
        let early = scope.spawn(ask);
        std::thread::sleep(Duration::from_secs(3));
        let late = scope.spawn(ask);
        [early, late].map(|asked| asked.join().expect("an answer"))
    });
    for answer in refused {
        let error = answer.expect(&[500]).json();
        assert!(error["cause"].as_str().is_some_and(|why| why.contains("timed out")), "{error}");
    }
    cluster.members[leader].put("/x", "acknowledged");
    cluster.heal();
    cluster.members[alone].put("/y", "the leader is heard again");
    std::thread::sleep(Duration::from_secs(2));
    let now = cluster.members[leader].get("/v2/keys/x?quorum=true").expect(&[200]).json();
    assert_eq!(now["node"]["value"], "acknowledged");
}

/// Connections that this member has opened, or tries to open, to the peer port of another one: how many of
/// them are in this state, as the kernel numbers it.
fn streams(from: &Member, to: &Member, state: &str) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", from.pid())).expect("it runs");
    let IpAddr::V4(host) = to.address().ip() else { panic!("members are at IPv4 addresses") };
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(host.octets()), 2380);
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(2) == Some(&&*remote) && row.get(3) == Some(&state)).count()
}

/// What was lost is sent again later and later the longer the cut lasts: a member that would wait for that,
/// or until it gives a stream up, would be out of touch for long after the line is whole.
#[test]
fn members_begin_anew_while_a_line_is_cut_long_before_they_give_a_stream_up() {
    const ESTABLISHED: &str = "01";
    const UNANSWERED: &str = "02";
    let patient = ["--raft-read-timeout=10m", "--raft-write-timeout=10m"];
    let Some(mut cluster) = Cluster::start_apart_with(3, &patient) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    let ways = [(leader, away), (away, leader)];
    let count = |cluster: &Cluster, (from, to): (usize, usize), state| {
        streams(&cluster.members[from], &cluster.members[to], state)
    };
    cluster.isolate(away);
    for way in ways {
        eventually(Duration::from_secs(30), "it begins anew", || {
            (count(&cluster, way, UNANSWERED) > 0).then_some(())
        });
        let streams = count(&cluster, way, ESTABLISHED);
        assert!(streams >= 2, "the old ones may yet be heard, and {streams} are left");
    }
    // No more however long it takes: four attempts for each of two streams.
    for _ in 0..100 {
        for way in ways {
            let tries = count(&cluster, way, UNANSWERED);
            assert!(tries <= 8, "{tries} connections are begun at once");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    cluster.heal();
    let healed = Instant::now();
    cluster.hears_the_leader(away);
    println!("in touch {:?} after the line is whole", healed.elapsed());
    for way in ways {
        eventually(Duration::from_secs(30), "only what is needed is left", || {
            (count(&cluster, way, UNANSWERED) == 0).then_some(())
        });
    }
    account.close(&cluster);
}
