//! A cluster that has lost its quorum for good: `--force-new-cluster` on who is left.

use std::{
    net::{SocketAddr, TcpListener},
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
    cluster.members[away].allow("does not answer: if it is a member that hangs");
    launch_forced(&mut cluster.members[away]);
    cluster.members[away].wait_until_ready();
    for at in [first, second] {
        let words = format!("listens at {} and does not answer", cluster.members[at].peer_url());
        assert!(cluster.members[away].log().contains(&words), "{words}");
    }
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

/// Two of three that were killed, and the peer URL of the third, whose data are lost.
fn lose_one(mut cluster: Cluster) -> (Cluster, String) {
    cluster.put("/a", "1");
    cluster.agree();
    cluster.members.iter_mut().for_each(Member::kill);
    let lost = cluster.forget(2).peer_url().to_owned();
    for member in &mut cluster.members {
        member.allow("is started with it too");
    }
    (cluster, lost)
}

fn port(url: &str) -> SocketAddr {
    let (_, address) = url.split_once("://").expect("a URL has a scheme");
    address.parse().expect("an address")
}

const IS_FORCED: &str = "forcing restart of member";

#[test]
fn who_is_forced_tells_that_until_it_leads_and_another_one_is_refused_meanwhile() {
    let (mut cluster, lost) = lose_one(Cluster::start(3));
    // Whoever is asked here says nothing: that takes a while.
    let silent = TcpListener::bind(port(&lost)).expect("nobody has its port any more");
    let [first, second] = &mut cluster.members[..] else { panic!("two are left") };
    for member in [&mut *first, &mut *second] {
        member.allow("does not answer: if it is a member that hangs");
    }
    launch_forced(first);
    let peers = port(first.peer_url());
    let told = eventually(PATIENCE, "it tells that it is forced", || {
        let mut connection = Connection::open(peers).ok()?;
        connection.ask(&Request::get("/members")).ok()
    });
    assert_eq!(told.status, 409, "{}", told.text());
    launch_forced(second);
    assert_eq!(second.reap(PATIENCE).code(), Some(1), "{}", second.log().text());
    first.wait_until_ready();
    assert!(!second.log().contains(IS_FORCED));
    let words = format!("member {} at {} is started with it too", id(first), first.peer_url());
    assert!(second.log().contains(&words), "{}", second.log().text());
    assert!(second.log().contains(": choose "), "{}", second.log().text());
    assert_eq!(
        Connection::open(peers).unwrap().ask(&Request::get("/members")).unwrap().status,
        200
    );
    assert_eq!(first.get("/v2/keys/a").expect(&[200]).json()["node"]["value"], "1");
    drop(silent);
}

fn no_two_are_forced_at_once(cluster: Cluster) {
    let (mut cluster, _) = lose_one(cluster);
    let [first, second] = &mut cluster.members[..] else { panic!("two are left") };
    let mut refusals = 0;
    for round in 0..10 {
        println!("round {round}");
        launch_forced(first);
        launch_forced(second);
        let has_decided =
            |member: &mut Member| member.log().contains(IS_FORCED) || member.has_ended();
        eventually(PATIENCE, "both have decided", || {
            (has_decided(first) && has_decided(second)).then_some(())
        });
        let forced = [&*first, &*second].map(|member| member.log().contains(IS_FORCED));
        assert_ne!(forced, [true, true], "two clusters of one id");
        for (member, is_forced) in [(&mut *first, forced[0]), (&mut *second, forced[1])] {
            if !is_forced {
                assert_eq!(member.reap(PATIENCE).code(), Some(1), "{}", member.log().text());
                refusals += 1;
            }
        }
        if forced.contains(&true) {
            break;
        }
    }
    assert_ne!(refusals, 0);
    println!("{refusals} starts were refused");
    if !first.log().contains(IS_FORCED) && !second.log().contains(IS_FORCED) {
        // As both were told.
        launch_forced(first);
    }
    let forced = if second.log().contains(IS_FORCED) { second } else { first };
    forced.wait_until_ready();
    assert_eq!(forced.get("/v2/keys/a").expect(&[200]).json()["node"]["value"], "1");
    assert_eq!(names(forced).len(), 1);
}

#[test]
fn of_two_survivors_that_are_forced_at_once_no_two_go_on() {
    no_two_are_forced_at_once(Cluster::start(3));
}

#[test]
fn nor_do_two_that_speak_tls() {
    let mut cluster = Cluster::start_with_tls(3, &["--auto-tls", "--peer-auto-tls"]);
    for member in &mut cluster.members {
        member.allow("Ignored key/cert files");
    }
    no_two_are_forced_at_once(cluster);
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
