//! A member that was removed leaves by itself, and never comes back under its id.

use std::{fs, time::Duration};

use e2e::{
    Member, Request,
    cluster::{Cluster, forced::id},
    eventually,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn remove(through: &Member, id: &str) -> u16 {
    through.ask(&Request::new("DELETE", &format!("/v2/members/{id}"))).status
}

/// Launches it; it must end by itself, and say why: its data tells (1), or the others do (0).
fn comes_back(removed: &mut Member) {
    removed.allow("permanently removed");
    let said = |removed: &Member| removed.log().text().matches("been permanently removed").count();
    let before = said(removed);
    removed.launch();
    let code = removed.reap(PATIENCE).code();
    assert!([Some(0), Some(1)].contains(&code), "{code:?}: {}", removed.log().text());
    assert!(said(removed) > before, "{}", removed.log().text());
}

#[test]
fn whoever_missed_its_removal_is_told_of_it_whatever_has_happened_since() {
    // The others know of the removal from a snapshot, not from their logs, in the end.
    let flags = ["--snapshot-catchup-entries=20", "--snapshot-count=50"];
    let mut cluster = Cluster::start_with(4, &flags);
    cluster.put("/before", "1");
    cluster.agree();
    let gone = (cluster.leader() + 1) % 4;
    let old = id(&cluster.members[gone]);
    cluster.members[gone].kill();
    let mut removed = cluster.forget(gone);
    assert_eq!(remove(&cluster.members[0], &old), 204);
    comes_back(&mut removed);
    // All of them anew.
    cluster.members.iter_mut().for_each(Member::kill);
    cluster.members.iter_mut().for_each(Member::launch);
    cluster.members.iter_mut().for_each(Member::wait_until_ready);
    comes_back(&mut removed);
    // The log that told of it is gone; a member that joins has it from a snapshot.
    for number in 0..300 {
        cluster.put(&format!("/k/{number}"), "x");
    }
    cluster.add();
    cluster.agree();
    assert!(cluster.members[3].took_a_snapshot());
    for _ in 0..3 {
        let own = id(&cluster.members[0]);
        assert_eq!(remove(&cluster.members[3], &own), 204);
        let mut member = cluster.forget(0);
        member.allow("permanently removed");
        assert_eq!(member.reap(PATIENCE).code(), Some(0), "it leaves by itself");
        cluster.add();
        cluster.agree();
    }
    // None of those who knew it are left, and none has the log.
    let last = &cluster.members[3];
    assert_eq!(remove(last, &old), 410);
    cluster.put("/after", "1");
    cluster.agree();
}

#[test]
fn a_removed_member_with_its_data_wiped_does_not_come_back_by_its_old_flags() {
    let mut cluster = Cluster::start(3);
    let gone = (cluster.leader() + 1) % 3;
    let old = id(&cluster.members[gone]);
    assert_eq!(remove(&cluster.members[(gone + 1) % 3], &old), 204);
    let mut removed = cluster.forget(gone);
    removed.allow("permanently removed");
    assert_eq!(removed.reap(PATIENCE).code(), Some(0), "it leaves by itself");
    // Its data says so too.
    comes_back(&mut removed);
    // Wiped, it founds by its old flags what was founded before, under the id that it had.
    fs::remove_dir_all(removed.data_dir()).expect("it is there");
    comes_back(&mut removed);
    // Nor can it join: nobody has added it.
    fs::remove_dir_all(removed.data_dir()).expect("it is there");
    removed.allow("error validating peerURLs");
    removed.change(|start| start.with("initial-cluster-state", Some("existing")));
    removed.launch();
    assert_eq!(removed.reap(PATIENCE).code(), Some(1));
    let log = removed.log().text();
    assert!(log.contains("etcdctl member list"), "{log}");
    assert!(!removed.data_dir().join("member").exists(), "what is refused leaves nothing");
    // Added again, at the same place and under its old name, it is another one.
    let body = format!("{{\"peerURLs\":[\"{}\"]}}", removed.peer_url());
    let added = cluster.members[0].ask(&Request::json("POST", "/v2/members", &body));
    assert_eq!(added.status, 201, "{}", added.text());
    let new = added.json()["id"].as_str().expect("an id").to_owned();
    assert_ne!(new, old);
    removed.launch();
    removed.wait_until_ready();
    assert_eq!(id(&removed), new);
    cluster.members.push(removed);
    cluster.put("/after", "1");
    cluster.agree();
    assert_eq!(remove(&cluster.members[0], &old), 410);
    let text = cluster.members[0].get("/v2/members").text();
    assert!(text.contains(&new) && !text.contains(&old), "{text}");
}

#[test]
fn one_of_two_stays_at_its_next_start_until_the_other_says_that_it_was_removed() {
    let mut cluster = Cluster::start(2);
    // The leader has applied its removal before it leaves.
    let gone = cluster.leader();
    let old = id(&cluster.members[gone]);
    assert_eq!(remove(&cluster.members[1 - gone], &old), 204);
    let mut removed = cluster.forget(gone);
    removed.allow("permanently removed");
    assert_eq!(removed.reap(PATIENCE).code(), Some(0), "it leaves by itself");
    // For all that it knows the other one has not heard that this is committed.
    cluster.members[0].signal(nix::sys::signal::Signal::SIGSTOP);
    removed.allow("cannot talk to a peer");
    removed.launch();
    eventually(PATIENCE, "it says why it stays", || {
        removed.log().contains("It runs until the member that is left knows of that").then_some(())
    });
    cluster.members[0].signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(removed.reap(PATIENCE).code(), Some(0), "{}", removed.log().text());
    cluster.put("/after", "1");
}

#[test]
fn a_member_is_removed_while_it_lags_and_leaves_all_the_same() {
    let flags = ["--snapshot-catchup-entries=20", "--snapshot-count=50"];
    let mut cluster = Cluster::start_with(3, &flags);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    let old = id(&cluster.members[away]);
    cluster.members[away].signal(nix::sys::signal::Signal::SIGSTOP);
    for number in 0..300 {
        cluster.members[leader].put(&format!("/k/{number}"), "x");
    }
    assert_eq!(remove(&cluster.members[leader], &old), 204);
    let mut removed = cluster.forget(away);
    removed.allow("permanently removed");
    removed.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(removed.reap(PATIENCE).code(), Some(0), "{}", removed.log().text());
    eventually(PATIENCE, "the others go on", || {
        (cluster.members[0].get("/v2/keys/k/299?quorum=true").status == 200).then_some(())
    });
    cluster.agree();
}
