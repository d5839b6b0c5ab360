//! `--heartbeat-interval` and `--election-timeout` count: two clusters side by side, with different ones.

use std::{collections::BTreeMap, time::Duration};

use e2e::{
    Member, Request, Start,
    cluster::{COMPLAINTS, Cluster, forced::id},
    eventually, far, ports,
};

const PATIENCE: Duration = Duration::from_mins(1);
/// So many take longer than any one with the default timers.
const ELECTIONS: usize = 5;

/// Messages that this leader has sent to each follower.
fn sent(leader: &Member) -> BTreeMap<String, u64> {
    let told = leader.get("/v2/stats/leader").expect(&[200]).json();
    let followers = told["followers"].as_object().expect("followers").clone();
    let count = |(id, follower): (String, serde_json::Value)| {
        (id, follower["counts"]["success"].as_u64().expect("a count"))
    };
    followers.into_iter().map(count).collect()
}

/// The fewest that have gone to a follower since.
fn fewest(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> u64 {
    before.iter().map(|(id, before)| now[id] - before).min().expect("there are followers")
}

fn most(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> u64 {
    before.iter().map(|(id, before)| now[id] - before).max().expect("there are followers")
}

#[test]
fn an_idle_leader_is_heard_as_often_as_its_heartbeat_interval_says() {
    let mut often = Cluster::start_with(3, &["--heartbeat-interval=50"]);
    let mut seldom =
        Cluster::start_with(3, &["--heartbeat-interval=500", "--election-timeout=5000"]);
    let leaders = [often.leader(), seldom.leader()];
    let now = || (sent(&often.members[leaders[0]]), sent(&seldom.members[leaders[1]]));
    let before = now();
    let after = eventually(PATIENCE, "ten are sent", || {
        let now = now();
        (fewest(&before.1, &now.1) >= 10).then_some(now)
    });
    let (many, few) = (fewest(&before.0, &after.0), most(&before.1, &after.1));
    println!("{many} messages while there were {few} of the other");
    // Ten for one, had both nothing else to say.
    assert!(many > 3 * few, "{many} and {few}");
}

/// Whom a member follows.
fn leader_of(member: &Member) -> String {
    let told = member.ask(&Request::get("/v2/stats/self")).expect(&[200]).json();
    told["leaderInfo"]["leader"].as_str().expect("an id, or nothing").to_owned()
}

#[test]
fn a_dead_leader_is_missed_for_as_long_as_the_election_timeout_says() {
    let others = |but: usize| (0..3).filter(move |at| *at != but).collect::<Vec<_>>();
    let mut hasty = Cluster::start_with(3, &["--election-timeout=500"]);
    // It has its leader already when its followers become patient.
    let mut patient = Cluster::start(3);
    let missed = patient.leader();
    for at in others(missed) {
        patient.members[at].kill();
        let slow = |start: Start| start.with("election-timeout", Some("50000"));
        patient.members[at].change(slow);
        patient.members[at].restart();
    }
    let dead = id(&patient.members[missed]);
    let follow = |patient: &Cluster| {
        others(missed).iter().all(|at| leader_of(&patient.members[*at]) == dead)
    };
    eventually(PATIENCE, "all follow", || follow(&patient).then_some(()));
    patient.members[missed].kill();
    for _ in 0..ELECTIONS {
        let gone = hasty.leader();
        hasty.members[gone].kill();
        hasty.leader_among(&others(gone));
        hasty.members[gone].restart();
    }
    assert!(follow(&patient), "they wait for it, while elsewhere there were {ELECTIONS} elections");
}

/// A satellite, or worse: one way. TLS alone takes longer over it than members in one place may take in all.
const FAR: Duration = Duration::from_millis(600);

#[test]
fn members_that_are_far_away_find_each_other_if_the_election_timeout_says_so() {
    let ports: Vec<u16> = (0..2).map(|_| ports::free()).collect();
    let urls: Vec<String> =
        ports.iter().map(|port| format!("https://{}", far::away(*port, FAR))).collect();
    let all = format!("m0={},m1={}", urls[0], urls[1]);
    let start = |at: usize| {
        let client = format!("http://127.0.0.1:{}", ports::free());
        let port = client.rsplit(':').next().expect("it ends with it").parse().expect("a port");
        Start::new()
            .bare()
            .client_port(port)
            .flag(&format!("--name=m{at}"))
            .flag(&format!("--listen-client-urls={client}"))
            .flag(&format!("--advertise-client-urls={client}"))
            .flag(&format!("--listen-peer-urls=https://127.0.0.1:{}", ports[at]))
            .flag(&format!("--initial-advertise-peer-urls={}", urls[at]))
            .flag(&format!("--initial-cluster={all}"))
            .flag("--peer-auto-tls")
            .flag("--heartbeat-interval=1000")
            .flag("--election-timeout=10000")
            .spawn()
    };
    let mut members: Vec<Member> = (0..2).map(start).collect();
    for member in &mut members {
        for complaint in COMPLAINTS {
            member.allow(complaint);
        }
        member.wait_until_ready();
    }
    members[0].put("/far", "away");
    assert_eq!(members[1].get("/v2/keys/far?quorum=true").json()["node"]["value"], "away");
    for member in &members {
        // One of them asks the other.
        assert_eq!(member.get("/health").status, 200);
    }
}
