//! Members that find each other at a token of another cluster.

use std::time::Duration;

use e2e::{Member, Request, Start, eventually, ports};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

/// A token for so many, at this service.
fn token(service: &Member, name: &str, size: &str) -> String {
    let size = Request::put(&format!("/v2/keys/discovery/{name}/_config/size"), size);
    assert_eq!(service.ask(&size).status, 201);
    format!("{}/v2/keys/discovery/{name}", service.url())
}

/// A member that looks for its cluster there.
fn member(name: &str, token: &str) -> Member {
    let peer = format!("http://127.0.0.1:{}", ports::free());
    let port = ports::free();
    let client = format!("http://127.0.0.1:{port}");
    let mut member = Start::new()
        .bare()
        .client_port(port)
        .peer_url(&peer)
        .flag(&format!("--name={name}"))
        .flag(&format!("--listen-client-urls={client}"))
        .flag(&format!("--advertise-client-urls={client}"))
        .flag(&format!("--listen-peer-urls={peer}"))
        .flag(&format!("--initial-advertise-peer-urls={peer}"))
        .flag(&format!("--discovery={token}"))
        .spawn();
    for complaint in
        ["cannot talk to a peer", "peer became inactive", "no leader", "--discovery", "retrying in"]
    {
        member.allow(complaint);
    }
    member
}

fn says(member: &Member, words: &str) {
    eventually(PATIENCE, words, || member.log().text().contains(words).then_some(()));
}

#[test]
fn three_find_each_other_and_a_fourth_is_told_that_it_is_late() {
    let service = Member::start();
    let token = token(&service, "t", "3");
    let mut members = vec![member("a", &token), member("b", &token)];
    for one in &members {
        says(one, "found 2 peer(s), waiting for 1 more");
    }
    members.push(member("c", &token));
    members.iter_mut().for_each(Member::wait_until_ready);
    members[0].put("/a", "1");
    let ids = |member: &Member| member.get("/v2/members").expect(&[200]).text();
    let expected = ids(&members[0]);
    for one in &members {
        let read = one.get("/v2/keys/a?quorum=true").expect(&[200]).json();
        assert_eq!(read["node"]["value"], "1");
        assert_eq!(ids(one), expected);
    }
    let mut late = member("d", &token);
    assert_eq!(late.reap(PATIENCE).code(), Some(1));
    says(&late, "discovery: cluster is full: 3 members have registered before");
    assert!(!late.data_dir().exists());
    // A member that has its data asks nobody, though the service is gone.
    drop(service);
    members[1].kill();
    members[1].launch();
    members[1].wait_until_ready();
    says(&members[1], "the data directory has a member");
}

#[test]
fn a_token_that_is_none_ends_the_start_with_advice() {
    let service = Member::start();
    let mut without = member("a", &format!("{}/v2/keys/none", service.url()));
    assert_eq!(without.reap(PATIENCE).code(), Some(1));
    says(&without, "discovery: size key not found");
    let mut bad = member("a", &token(&service, "b", "many"));
    assert_eq!(bad.reap(PATIENCE).code(), Some(1));
    says(&bad, "discovery: size key is bad: \"many\" is no number of members");
    let mut wrong = member("a", &format!("{}/version", service.url()));
    assert_eq!(wrong.reap(PATIENCE).code(), Some(1));
    says(&wrong, "discovery: bad discovery endpoint");
}

#[test]
fn who_registered_and_has_no_data_must_not_found_the_cluster_again() {
    let service = Member::start();
    let token = token(&service, "t", "1");
    let mut only = member("a", &token);
    only.wait_until_ready();
    only.kill();
    std::fs::remove_dir_all(only.data_dir()).expect("its data is lost");
    only.launch();
    assert_eq!(only.reap(PATIENCE).code(), Some(1));
    says(&only, "discovery: found duplicate id");
}

#[test]
fn a_service_that_is_away_is_waited_for_and_a_signal_ends_the_wait() {
    let mut service = Member::start();
    let token = token(&service, "t", "1");
    service.kill();
    let mut waiting = member("a", &token);
    says(&waiting, "retrying in 2s");
    service.launch();
    service.wait_until_ready();
    waiting.wait_until_ready();
    let mut alone = member("b", &format!("http://127.0.0.1:{}/v2/keys/x", ports::free()));
    says(&alone, "retrying in 2s");
    alone.signal(Signal::SIGTERM);
    alone.reap(PATIENCE);
    assert!(!alone.data_dir().exists());
}
