//! Members change their builds one at a time, to one that says it is a version on and back, under
//! load and under watch.

use std::time::Duration;

use e2e::{
    Member, Request, Start, binaries,
    cluster::{Cluster, account::Account, stubborn::Stubborn},
    eventually,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const OLD: &str = "3.6.0";
const NEW: &str = "3.7.0";

/// What a member says of versions.
fn version(member: &Member) -> Value {
    member.get("/version").json()
}

fn wait_for(member: &Member, what: &str, holds: impl Fn(&Value) -> bool) {
    eventually(LIMIT, &format!("{what} at {}", member.url()), || {
        holds(&version(member)).then_some(())
    });
}

fn roll(cluster: &mut Cluster, account: &Account, at: usize, build: &std::path::Path) {
    cluster.members[at].stop();
    account.load.goes_on(20);
    cluster.members[at].change_build(build);
    cluster.members[at].restart();
    account.load.goes_on(20);
}

fn downgrade(member: &Member, action: &str, version: &str) -> (u16, Value) {
    let body = json!({ "action": action, "version": version }).to_string();
    let answer = member.ask(&Request::json("POST", "/v3/maintenance/downgrade", &body));
    (answer.status, answer.json())
}

/// Sets the note, which only the next version knows; gives the status.
fn note(member: &Member, text: &str) -> u16 {
    let method = if text.is_empty() { "DELETE" } else { "PUT" };
    member.ask(&Request::json(method, "/next/note", text)).status
}

#[test]
fn members_rolled_to_the_next_version_and_back_strand_no_client_that_asks_another() {
    let (old, new) = (binaries::etcd(), binaries::next_version());
    let mut cluster = Cluster::start(3);
    let account = Account::open(&cluster);
    let stubborn = Stubborn::start(&cluster);

    for at in 0..3 {
        for (one, member) in cluster.members.iter().enumerate() {
            assert_eq!(version(member)["etcdcluster"], OLD, "{at} of 3 are upgraded");
            if one < at {
                assert_eq!(version(member)["next"]["since"], Value::Null, "{at} of 3");
                assert_eq!(note(member, "too early"), 412, "{at} of 3 are upgraded");
            }
        }
        roll(&mut cluster, &account, at, new);
    }
    for member in &cluster.members {
        wait_for(member, "the new version", |version| {
            version["etcdcluster"] == NEW && version["next"]["since"].is_number()
        });
    }
    account.load.goes_on(50);

    make_ready_to_go_back(&mut cluster);
    for at in 0..3 {
        roll(&mut cluster, &account, at, &old);
        assert_eq!(version(&cluster.members[at])["etcdserver"], "3.6.14");
    }
    for member in &cluster.members {
        let what = format!("the end of the downgrade at {}", member.url());
        eventually(LIMIT, &what, || {
            member.log().contains("the downgrade of the cluster to 3.6 has ended").then_some(())
        });
        assert_eq!(version(member)["etcdcluster"], OLD);
    }
    stubborn.close(&cluster);
    let record = account.close(&cluster);
    assert_eq!(record.stranded, 0, "a client went twice around and nobody answered");
}

/// As the gateway tells it.
fn error(code: u32, message: &str) -> Value {
    json!({ "code": code, "error": message, "message": message })
}

/// Lowers the cluster's version, which something in the keyspace hinders at first.
fn make_ready_to_go_back(cluster: &mut Cluster) {
    cluster.members.iter_mut().for_each(|member| member.allow("reject downgrade request"));
    let [first, second, third] = &cluster.members[..] else { panic!("there are three") };
    assert_eq!(note(second, "only the new version knows this"), 204);
    for member in &cluster.members {
        wait_for(member, "the note", |version| version["next"]["note"] != "");
    }
    for action in ["VALIDATE", "ENABLE"] {
        let (status, refused) = downgrade(first, action, "3.6.0");
        let message = "etcdserver: the keyspace holds a note, which version 3.6 cannot read";
        assert_eq!((status, refused), (400, error(9, message)), "{action}");
    }
    assert_eq!(version(first)["etcdcluster"], NEW);
    assert_eq!(note(third, ""), 204);

    for (action, target, code, message) in [
        ("ENABLE", "3.5.0", 3, "etcdserver: invalid downgrade target version"),
        ("VALIDATE", "3.7.0", 3, "etcdserver: invalid downgrade target version"),
        ("VALIDATE", "latest", 3, "etcdserver: wrong downgrade target version format"),
    ] {
        let (_, refused) = downgrade(second, action, target);
        assert_eq!(refused, error(code, message), "{action} {target}");
    }
    for action in ["CANCEL", "VALIDATE", "ENABLE"] {
        let (status, done) = downgrade(third, action, "3.6");
        assert_eq!((status, &done["version"]), (200, &json!("3.7")), "{action}: {done}");
        assert!(done["header"]["member_id"].is_string(), "{done}");
    }
    for member in &cluster.members {
        wait_for(member, "the old version, on disk too", |version| {
            version["etcdcluster"] == OLD
                && version["storage"] == OLD
                && version["next"]["since"] == Value::Null
        });
        eventually(LIMIT, "its log says so", || {
            member.log().contains("The server is ready to downgrade").then_some(())
        });
        assert_eq!(note(member, "too late"), 412);
    }
}

/// Writes are counted by the next version, from the entry on that raises the cluster's.
#[test]
fn what_is_new_begins_at_one_entry_on_all_members() {
    let new = binaries::next_version();
    let mut cluster = Cluster::start(3);
    let account = Account::open(&cluster);
    for at in 0..3 {
        roll(&mut cluster, &account, at, new);
    }
    account.load.goes_on(50);
    account.close(&cluster);
    let next = |member: &Member| version(member)["next"].clone();
    let (first, index) = (next(&cluster.members[0]), cluster.members[0].get("/v2/keys/").index());
    for member in &cluster.members {
        assert_eq!(next(member), first, "at {}", member.url());
    }
    let since = first["since"].as_u64().expect("it has begun");
    assert_eq!(first["writes"], index - since, "every write since then, and no other");
    assert!(since > 50 && index > since + 50, "it began in the middle of the load");
}

/// The log still has what was written meanwhile.
#[test]
fn who_joins_after_a_downgrade_is_not_sent_what_only_the_newer_build_can_apply() {
    let (old, new) = (binaries::etcd(), binaries::next_version());
    let mut cluster = Cluster::start(3);
    let change_all = |cluster: &mut Cluster, build: &std::path::Path| {
        for member in &mut cluster.members {
            member.stop();
            member.change_build(build);
            member.restart();
        }
    };
    change_all(&mut cluster, new);
    for member in &cluster.members {
        wait_for(member, "the new version", |version| version["etcdcluster"] == NEW);
    }
    make_ready_to_go_back(&mut cluster);
    change_all(&mut cluster, &old);
    cluster.put("/a", "1");
    assert_eq!(version(cluster.add())["etcdserver"], "3.6.14");
    cluster.agree();
}

#[test]
fn a_build_that_is_too_old_does_not_open_what_is_there_and_does_not_join() {
    let (old, new) = (binaries::etcd(), binaries::next_version());
    let mut member = Start::new().build(new).start();
    wait_for(&member, "the new version", |version| {
        version["etcdcluster"] == NEW && version["storage"] == NEW
    });
    member.put("/a", "1");

    // Who is too old is told so before all else.
    let url = format!("http://127.0.0.1:{}", e2e::ports::free());
    let joins = Start::new()
        .build(&old)
        .bare()
        .flag("--name=late")
        .flag(&format!("--listen-client-urls=http://127.0.0.1:{}", e2e::ports::free()))
        .flag(&format!("--advertise-client-urls={url}"))
        .flag(&format!("--listen-peer-urls={url}"))
        .flag(&format!("--initial-advertise-peer-urls={url}"))
        .flag(&format!("--initial-cluster=default={},late={url}", member.peer_url()))
        .flag("--initial-cluster-state=existing");
    let mut late = joins.spawn();
    late.allow("incompatible with current running cluster");
    assert!(!late.reap(LIMIT).success());
    let text = "it is at version 3.7, this build is 3.6.14: join it with one of 3.7";
    assert!(late.log().contains(text), "{}", late.log().text());
    member.allow("asks for the members: it cannot join");
    assert!(member.log().contains("it cannot join, the cluster is at 3.7"));

    member.stop();
    member.change_build(&old);
    member.launch();
    member.allow("invalid downgrade; server version is lower than determined cluster version");
    assert!(!member.reap(LIMIT).success());
    let text = "this build is 3.6.14, the cluster is at 3.7. Start a build of 3.7 again.";
    assert!(member.log().contains(text), "{}", member.log().text());
    member.change_build(new);
    member.restart();
    assert_eq!(member.get("/v2/keys/a").json()["node"]["value"], "1");
}

/// It missed that the version was raised, and so may have opened what it has.
#[test]
fn a_build_that_is_too_old_by_now_stops_and_is_seen_by_the_others() {
    let (old, new) = (binaries::etcd(), binaries::next_version());
    let mut cluster = Cluster::start(3);
    for at in [1, 2] {
        cluster.members[at].stop();
        cluster.members[at].change_build(new);
        cluster.members[at].restart();
    }
    cluster.members[2].kill();
    cluster.members[0].stop();
    cluster.members[0].change_build(new);
    cluster.members[0].restart();
    wait_for(&cluster.members[0], "the new version", |version| version["etcdcluster"] == NEW);

    cluster.members[2].change_build(&old);
    cluster.members[2].launch();
    cluster.members[2].allow("invalid downgrade; server version is lower");
    assert!(!cluster.members[2].reap(LIMIT).success());
    let log = cluster.members[2].log();
    assert!(log.contains("this build is 3.6.14, the cluster is at 3.7"), "{}", log.text());
    let text = "a member of version 3.6.14 speaks, which is older than the cluster's, 3.7";
    let seen = cluster.members[..2].iter().filter(|member| member.log().contains(text)).count();
    assert!(seen > 0, "nobody has seen it");
    cluster.members.iter_mut().for_each(|member| member.allow("speaks, which is older"));

    cluster.members[2].change_build(new);
    cluster.members[2].restart();
    cluster.agree();
}
