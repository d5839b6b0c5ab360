//! Members that find each other at a token through API 3, at our own cluster and at real etcd's.

use std::{process::Command, time::Duration};

use e2e::{Member, Start, binaries, eventually, ports, rings, run};

const PATIENCE: Duration = Duration::from_secs(30);

/// A service that has a token for so many.
fn has_token(service: &Member, token: &str, size: &str) {
    put(service, &format!("/_etcd/registry/{token}/_config/size"), size);
}

fn put(service: &Member, key: &str, value: &str) {
    let mut etcdctl = Command::new(binaries::etcdctl());
    etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", &service.url(), "put", key, value]);
    let output = run::start(&mut etcdctl, "").wait(PATIENCE);
    assert_eq!(output.exit, Some(0), "{output:?}");
}

fn start(name: &str, service: &str, token: &str) -> Start {
    let peer = format!("http://127.0.0.1:{}", ports::free());
    let port = ports::free();
    let client = format!("http://127.0.0.1:{port}");
    Start::new()
        .bare()
        .client_port(port)
        .peer_url(&peer)
        .flag(&format!("--name={name}"))
        .flag(&format!("--listen-client-urls={client}"))
        .flag(&format!("--advertise-client-urls={client}"))
        .flag(&format!("--listen-peer-urls={peer}"))
        .flag(&format!("--initial-advertise-peer-urls={peer}"))
        .flag(&format!("--discovery-token={token}"))
        .flag(&format!("--discovery-endpoints={service}"))
}

fn spawn(start: Start) -> Member {
    let mut member = start.spawn();
    for complaint in [
        "cannot talk to a peer",
        "peer became inactive",
        "no leader",
        "--discovery-token",
        "retrying in",
    ] {
        member.allow(complaint);
    }
    member
}

fn member(name: &str, service: &Member, token: &str) -> Member {
    // Without a scheme, as etcd's own examples have it.
    spawn(start(name, &service.address().to_string(), token))
}

fn says(member: &Member, words: &str) {
    eventually(PATIENCE, words, || member.log().text().contains(words).then_some(()));
}

/// Three find each other at this service, and a fourth is told that it is late.
fn three_find_each_other(service: Member) {
    has_token(&service, "t", "3");
    let mut members = vec![member("a", &service, "t"), member("b", &service, "t")];
    for one in &members {
        says(one, "found 2 peer(s), waiting for 1 more");
    }
    members.push(member("c", &service, "t"));
    members.iter_mut().for_each(Member::wait_until_ready);
    members[0].put("/a", "1");
    for one in &members {
        let read = one.get("/v2/keys/a?quorum=true").expect(&[200]).json();
        assert_eq!(read["node"]["value"], "1");
        let ids = one.get("/v2/members").expect(&[200]).text();
        assert_eq!(ids.matches("\"id\"").count(), 3, "{ids}");
    }
    let mut late = member("d", &service, "t");
    assert_eq!(late.reap(PATIENCE).code(), Some(1));
    says(&late, "discovery: cluster is full: 3 members have registered before");
    assert!(!late.data_dir().exists());
    // A member that has its data asks nobody, though the service is gone.
    drop(service);
    members[1].kill();
    members[1].launch();
    members[1].wait_until_ready();
}

#[test]
fn three_find_each_other_at_our_cluster() {
    three_find_each_other(Member::start());
}

#[test]
fn three_find_each_other_at_real_etcd() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) {
        return;
    }
    three_find_each_other(Start::original(original.expect("it is installed")).start());
}

#[test]
fn what_is_wrong_with_a_token_is_told_and_an_outage_is_waited_for() {
    let mut service = Member::start();
    let refused = |service: &Member, token: &str, words: &str| {
        let mut member = member("a", service, token);
        assert_eq!(member.reap(PATIENCE).code(), Some(1));
        says(&member, words);
        assert!(!member.data_dir().exists());
    };
    refused(&service, "none", "discovery: size key not found");
    has_token(&service, "bad", "many");
    refused(&service, "bad", "discovery: size key is bad: \"many\" is no number of members");
    has_token(&service, "t", "1");
    let address = service.address().to_string();
    service.stop();
    let mut waiting = spawn(start("a", &address, "t"));
    says(&waiting, &format!("error connecting to {address}, retrying in 2s"));
    service.launch();
    service.wait_until_ready();
    waiting.wait_until_ready();
    waiting.put("/a", "1");
}

#[test]
fn a_member_that_registered_and_was_stopped_goes_on_waiting_and_a_double_is_refused() {
    let service = Member::start();
    has_token(&service, "t", "2");
    let first = start("a", &service.url(), "t");
    // From another data directory.
    let double = first.clone();
    let mut first = spawn(first);
    says(&first, "found 1 peer(s), waiting for 1 more");
    first.kill();
    let mut double = spawn(double);
    assert_eq!(double.reap(PATIENCE).code(), Some(1));
    says(&double, "discovery: found duplicate id");
    first.launch();
    says(&first, "found 1 peer(s), waiting for 1 more");
    let mut second = member("b", &service, "t");
    first.wait_until_ready();
    second.wait_until_ready();
}
