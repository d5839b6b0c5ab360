//! A cluster that has lost its quorum for good: `--force-new-cluster` on who is left.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use e2e::{
    Connection, Member, Request, Start,
    cluster::{Cluster, forced::id},
    eventually,
};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

/// Launches it with the flag, for this one time.
fn launch_forced(member: &mut Member) {
    member.change(|start| start.with("force-new-cluster", None));
    member.launch();
    member.change(|start| start.without("force-new-cluster"));
}

fn names(member: &Member) -> Vec<String> {
    let told = member.get("/v2/members").expect(&[200]).json();
    let members = told["members"].as_array().expect("a list");
    members.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

/// Writes through this member until it stops answering; gives the keys that it acknowledged.
fn write_until_lost(member: &Member, lose: impl FnOnce()) -> Vec<String> {
    let (address, lost) = (member.address(), AtomicBool::new(false));
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (acknowledged, lost) = (&acknowledged, &lost);
            scope.spawn(move || {
                let mut connection = Connection::open(address).expect("the member accepts");
                for number in 0.. {
                    let key = format!("/w/{writer}/{number}");
                    let request = Request::put(&format!("/v2/keys{key}"), "x");
                    match connection.ask(&request) {
                        Ok(answer) if answer.status == 201 => {
                            acknowledged.lock().expect("no panic").push(key);
                        }
                        _ => return,
                    }
                    if lost.load(SeqCst) {
                        return;
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(500));
        lose();
        lost.store(true, SeqCst);
    });
    acknowledged.into_inner().expect("no panic")
}

fn holds_all(member: &Member, keys: &[String]) {
    let tree = member.get("/v2/keys/w?recursive=true&quorum=true").expect(&[200]).text();
    for key in keys {
        assert!(tree.contains(&format!("\"{key}\"")), "{key} is lost");
    }
}

/// A cluster of three that has lost two in the middle of writes; what the third had acknowledged,
/// and the two that are lost, which do not run.
fn lose_two() -> (Cluster, Vec<String>, Vec<Member>) {
    let mut cluster = Cluster::start(3);
    let survivor = (cluster.leader() + 1) % 3;
    let mut lost = Vec::new();
    let mut survivor = cluster.forget(survivor);
    let keys = write_until_lost(&survivor, || {
        cluster.members.iter_mut().for_each(Member::kill);
    });
    assert!(keys.len() > 20, "{} writes: this shows nothing", keys.len());
    lost.append(&mut cluster.members);
    survivor.kill();
    let name = format!("m{}", if lost[0].log().contains("name=m0") { 2 } else { 0 });
    let name = if survivor.log().contains("name=m1") { "m1".to_owned() } else { name };
    cluster = Cluster::of(survivor, &name);
    (cluster, keys, lost)
}

#[test]
fn a_survivor_goes_on_alone_with_all_that_it_acknowledged_and_grows_again() {
    let (mut cluster, keys, mut lost) = lose_two();
    let survivor = &mut cluster.members[0];
    let own = {
        launch_forced(survivor);
        survivor.wait_until_ready();
        id(survivor)
    };
    holds_all(survivor, &keys);
    assert_eq!(names(survivor).len(), 1);
    survivor.put("/alone", "1");
    // As any other from now on.
    survivor.kill();
    survivor.restart();
    assert_eq!(id(survivor), own);
    for _ in 0..2 {
        cluster.add();
        cluster.agree();
    }
    cluster.members[0].kill();
    cluster.put("/three-again", "1");
    for member in &cluster.members[1..] {
        holds_all(member, &keys);
    }
    cluster.members[0].restart();
    cluster.agree();
    // The old ones come back, both at once: a majority of what was.
    for member in &mut lost {
        member.allow("permanently removed");
        member.launch();
    }
    for member in &mut lost {
        assert_eq!(member.reap(PATIENCE).code(), Some(0), "{}", member.log().text());
        assert!(member.log().contains("permanently removed from the cluster"));
    }
    cluster.put("/after", "1");
    cluster.agree();
    assert_eq!(names(&cluster.members[0]).len(), 3);
}

#[test]
fn the_flag_left_in_place_does_not_part_a_cluster_that_has_grown() {
    let (mut cluster, keys, _lost) = lose_two();
    let first = &mut cluster.members[0];
    first.allow("was carried out at an earlier start and is ignored now");
    first.change(|start| start.with("force-new-cluster", None));
    first.launch();
    first.wait_until_ready();
    // As a unit file does it that nobody has cleaned up.
    first.kill();
    first.restart();
    cluster.add();
    cluster.add();
    cluster.put("/three", "1");
    cluster.agree();
    // Even when all come back at once, and nobody leads yet.
    cluster.members.iter_mut().for_each(Member::kill);
    cluster.members.iter_mut().for_each(Member::launch);
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    cluster.put("/still", "1");
    cluster.agree();
    for member in &cluster.members {
        assert_eq!(names(member).len(), 3);
        holds_all(member, &keys);
    }
    // Lost again: a start without the flag makes it good again.
    cluster.members.iter_mut().for_each(Member::kill);
    drop((cluster.forget(2), cluster.forget(1)));
    let alone = &mut cluster.members[0];
    alone.change(|start| start.without("force-new-cluster"));
    alone.launch();
    std::thread::sleep(Duration::from_millis(300));
    alone.kill();
    launch_forced(alone);
    alone.wait_until_ready();
    assert_eq!(names(alone).len(), 1);
    holds_all(alone, &keys);
    assert_eq!(alone.get("/v2/keys/still").expect(&[200]).json()["node"]["value"], "1");
}

#[test]
fn the_flag_is_refused_while_the_others_go_on() {
    let mut cluster = Cluster::start(3);
    cluster.put("/a", "1");
    let away = (cluster.leader() + 1) % 3;
    cluster.members[away].allow("the cluster goes on");
    cluster.members[away].kill();
    cluster.put("/b", "1");
    launch_forced(&mut cluster.members[away]);
    assert_eq!(cluster.members[away].reap(PATIENCE).code(), Some(1));
    let log = cluster.members[away].log().text();
    assert!(log.contains("--force-new-cluster: the cluster goes on, led by member"), "{log}");
    cluster.members[away].restart();
    cluster.put("/c", "1");
    cluster.agree();
    assert_eq!(names(&cluster.members[away]).len(), 3);
}

#[test]
fn a_majority_that_was_only_out_of_reach_goes_on_with_what_it_has_acknowledged() {
    let mut cluster =
        Cluster::start_with(3, &["--heartbeat-interval=50", "--election-timeout=250"]);
    cluster.put("/a", "1");
    // Members that have just started would believe that they were removed.
    std::thread::sleep(Duration::from_secs(2));
    let away = (cluster.leader() + 1) % 3;
    cluster.members[away].kill();
    cluster.put("/acknowledged", "1");
    let (first, second) = ((away + 1) % 3, (away + 2) % 3);
    for at in [first, second] {
        cluster.members[at].allow("was removed, but it has a leader");
        cluster.members[at].signal(Signal::SIGSTOP);
    }
    launch_forced(&mut cluster.members[away]);
    cluster.members[away].wait_until_ready();
    for at in [first, second] {
        cluster.members[at].signal(Signal::SIGCONT);
    }
    let words = "was removed, but it has a leader, and stays";
    eventually(PATIENCE, "it is disputed", || {
        [first, second].iter().all(|at| cluster.members[*at].log().contains(words)).then_some(())
    });
    let mut forced = cluster.forget(away);
    cluster.put("/after", "1");
    for member in &cluster.members {
        assert_eq!(member.get("/v2/keys/acknowledged?quorum=true").status, 200);
    }
    // As the log advises.
    let own = id(&forced);
    forced.kill();
    let gone = cluster.members[0].ask(&Request::new("DELETE", &format!("/v2/members/{own}")));
    assert_eq!(gone.status, 204, "{}", gone.text());
    cluster.add();
    cluster.agree();
}

#[test]
fn where_there_is_no_data_the_flag_founds_nothing() {
    let directory = tempfile::tempdir().expect("/tmp can be written");
    let data = directory.path().join("mistyped");
    let mut refused = Start::new().data_dir(&data).with("force-new-cluster", None).spawn();
    refused.allow("there is no member in");
    assert_eq!(refused.reap(PATIENCE).code(), Some(1));
    assert!(refused.log().contains("check --data-dir"), "{}", refused.log().text());
    assert!(!data.exists());
}

#[test]
fn alone_already_the_flag_changes_nothing() {
    let mut member = Member::start();
    member.put("/a", "1");
    let (before, own) = (member.get("/v2/members").text(), id(&member));
    member.stop();
    launch_forced(&mut member);
    member.wait_until_ready();
    assert_eq!((member.get("/v2/members").text(), id(&member)), (before, own));
    assert_eq!(member.get("/v2/keys/a").expect(&[200]).json()["node"]["value"], "1");
}
