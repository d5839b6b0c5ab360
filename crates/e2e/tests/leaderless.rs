//! What members say of themselves while nobody leads, beside those of real etcd 3.4.23.

use std::time::Duration;

use e2e::{Request, binaries, cluster::Cluster, eventually, rings};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// Leaves one of three, which has been a follower.
fn leave_one(cluster: &mut Cluster) -> usize {
    cluster.put("/k", "x");
    let leader = cluster.leader();
    let stays = (leader + 1) % 3;
    (0..3).filter(|at| *at != stays).for_each(|at| cluster.members[at].kill());
    stays
}

fn ask(cluster: &Cluster, at: usize, target: &str) -> Value {
    cluster.members[at].ask(&Request::get(target)).expect(&[200]).json()
}

/// What it says while it campaigns: what raft calls it, in this word, and the statistics.
fn campaigning(cluster: &Cluster, at: usize, word: &str) -> Value {
    eventually(PATIENCE, "a member campaigns", || {
        let vars = ask(cluster, at, "/debug/vars");
        let (is_before, told) = (vars, ask(cluster, at, "/v2/stats/self"));
        // It still does.
        let is_after = ask(cluster, at, "/debug/vars");
        let state = |vars: &Value| vars["raft.status"]["raftState"] == word;
        (state(&is_before) && state(&is_after)).then_some(told)
    })
}

/// It serves no client, and nothing else would say why.
#[test]
fn a_member_that_is_started_without_the_others_says_who_is_missing() {
    let mut cluster = Cluster::start(3);
    let at = leave_one(&mut cluster);
    cluster.members[at].kill();
    cluster.members[at].launch();
    let others = (0..3).filter(|other| *other != at);
    let others: Vec<_> = others.map(|other| cluster.members[other].peer_url().to_owned()).collect();
    eventually(PATIENCE, "it says that there is no leader, and who is missing", || {
        let lines = cluster.members[at].log().lines();
        let mut said =
            lines.iter().filter(|line| line.contains("of 3 voting members 1 are in touch"));
        said.any(|line| others.iter().all(|url| line.contains(url.as_str()))).then_some(())
    });
    let other = (at + 1) % 3;
    cluster.members[other].launch();
    cluster.members[at].wait_until_ready();
}

#[test]
fn a_member_that_campaigns_is_a_follower_in_the_statistics_and_no_follower_to_raft() {
    let mut ours = Cluster::start(3);
    let at = leave_one(&mut ours);
    let told = campaigning(&ours, at, "StatePreCandidate");
    assert_eq!(told["state"], "StateFollower");
    // Nobody leads, so since it is there nobody does.
    let info = &told["leaderInfo"];
    assert_eq!((&info["leader"], &info["startTime"]), (&Value::from(""), &told["startTime"]));

    let why_not = "real etcd 3.4.23 is not installed";
    let original = binaries::real_etcd();
    if !rings::can_run("real-etcd", original.is_some(), why_not) {
        return;
    }
    let mut theirs = Cluster::start_original(original.expect("it is there"), 3);
    let at = leave_one(&mut theirs);
    let told = campaigning(&theirs, at, "StateCandidate");
    // A mistake of later versions, until an append comes; 2.3.8 says "StateFollower" too.
    assert_eq!(told["state"], "StateLeader");
}
