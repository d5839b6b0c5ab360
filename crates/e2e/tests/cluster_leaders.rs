//! Leaders die, are cut off, or sleep; clients and watchers everywhere notice nothing but time.

use e2e::cluster::{Cluster, account::Account};
use nix::sys::signal::Signal;

#[test]
fn a_leader_killed_under_load_loses_nothing() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    cluster.members[leader].kill();
    println!("writes go on {:?} after the leader's death", account.load.goes_on(1));
    account.load.goes_on(100);
    cluster.members[leader].restart();
    account.close(&cluster);
}

#[test]
fn an_isolated_leader_acknowledges_nothing_that_is_lost_and_tells_nothing_stale() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    // Clients still reach it.
    cluster.isolate(leader);
    println!("writes go on {:?} after the leader was cut off", account.load.goes_on(1));
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    cluster.leader_among(&others);
    account.load.goes_on(100);
    cluster.heal();
    account.close(&cluster);
}

#[test]
fn a_leader_isolated_from_clients_too_is_replaced() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    cluster.isolate_from_all(leader);
    println!("writes go on {:?} after the leader was cut off", account.load.goes_on(1));
    account.load.goes_on(100);
    cluster.heal();
    account.close(&cluster);
}

#[test]
fn a_leader_that_sleeps_wakes_up_as_a_follower() {
    let Some(mut cluster) = Cluster::start_apart(3) else { return };
    let account = Account::open(&cluster);
    let leader = cluster.leader();
    cluster.members[leader].signal(Signal::SIGSTOP);
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    cluster.leader_among(&others);
    println!("writes go on {:?} after there is another leader", account.load.goes_on(1));
    account.load.goes_on(100);
    cluster.members[leader].signal(Signal::SIGCONT);
    account.close(&cluster);
}
