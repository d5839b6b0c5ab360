//! Data of one of three members, which becomes three of ours.

use std::{path::Path, time::Duration};

use e2e::{Connection, Member, Request, Start, cluster::Cluster, eventually, ports};
use serde_json::{Value, json};

use super::{
    ask, fill,
    place::{self, Place, summary},
};

const PATIENCE: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Imports for each of three, and starts them.
fn three(place: &Place, from: &Path) -> Vec<Member> {
    let urls = NAMES.map(|_| format!("http://127.0.0.1:{}", ports::free()));
    let rows: Vec<String> =
        NAMES.iter().zip(&urls).map(|(name, url)| format!("{name}={url}")).collect();
    let cluster = format!("--initial-cluster={}", rows.join(","));
    let mut members: Vec<Member> = NAMES
        .iter()
        .zip(&urls)
        .map(|(name, url)| {
            let own = [format!("--name={name}"), format!("--initial-advertise-peer-urls={url}")];
            let flags: [&str; 4] = [&own[0], &own[1], &cluster, "--initial-cluster-token=imported"];
            let output = place.import(from, name, &flags);
            assert_eq!(output.exit, Some(0), "{output:?}");
            let port = ports::free();
            let client = format!("http://127.0.0.1:{port}");
            let start = Start::new().bare().data_dir(&place.path(name)).client_port(port);
            let mut member = start
                .peer_url(url)
                .flag(&own[0])
                .flag(&format!("--listen-client-urls={client}"))
                .flag(&format!("--advertise-client-urls={client}"))
                .flag(&format!("--listen-peer-urls={url}"))
                .flag(&own[1])
                .spawn();
            for complaint in ["cannot talk to a peer", "peer became inactive", "no leader"] {
                member.allow(complaint);
            }
            member
        })
        .collect();
    members.iter_mut().for_each(Member::wait_until_ready);
    members
}

#[test]
fn one_of_three_becomes_three_with_keys_revisions_and_leases_of_both_apis() {
    let Some(place) = Place::new() else { return };
    let mut original = Cluster::start_original(place.etcd.clone(), 3);
    let leader = original.leader();
    fill::v3(&original.members[leader]);
    fill::v2(&original.members[leader]);
    let v3 = ask::v3(&original.members[leader]);
    let v2 = ask::without_indexes(&ask::v2_tree(&original.members[leader]));
    // A follower, that has all.
    let follower = (leader + 1) % 3;
    assert_eq!(ask::v3(&original.members[follower]), v3);
    original.members.iter_mut().for_each(Member::kill);
    let from = original.members[follower].data_dir().to_owned();
    let ours = three(&place, &from);
    let check = |members: &[Member]| {
        for member in members {
            for (question, answer) in ask::v3_history(member, &v3) {
                assert_eq!(v3.get(&question), Some(&answer), "{question}");
            }
            let found = ask::v3(member);
            for question in v3.keys().filter(|question| question.starts_with("lease")) {
                assert_eq!(found.get(question), v3.get(question), "{question}");
            }
            let mut tree = ask::without_indexes(&ask::v2_tree(member));
            ask::only_v2(&mut tree);
            assert_eq!(tree, v2);
        }
    };
    check(&ours);
    // They are one cluster, and go on as one.
    let before = ours[0].get("/v2/keys/").index();
    assert_eq!(ours[1].put("/next", "1"), before + 1);
    let value = |member: &Member| {
        let body = json!({"key": fill::text(b"/next")});
        fill::post(member, "/v3/kv/range", &body)["kvs"][0]["mod_revision"].clone()
    };
    for member in &ours {
        assert_eq!(value(member), (before + 1).to_string());
    }
    let hashes: Vec<Value> = ours.iter().map(|member| ask::v3(member)["hash"].clone()).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

/// The leader has an entry that no other one was told of. Nobody knows whether a write at the end of a
/// log was acknowledged; real etcd drops it with `--force-new-cluster`, and here it counts, and is
/// told of.
#[test]
fn what_nobody_knows_to_be_committed_counts_and_is_told() {
    let Some(place) = Place::new() else { return };
    let mut original = Cluster::start_original(place.etcd.clone(), 3);
    let leader = original.leader();
    let acknowledged = fill::put(&original.members[leader], b"sure", b"1", 0);
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    // All know of the commit; then nobody answers the leader any more.
    for at in others {
        eventually(PATIENCE, "all have it", || {
            let found = fill::post(
                &original.members[at],
                "/v3/kv/range",
                &json!({"key": fill::text(b"sure"), "serializable": true}),
            );
            found["kvs"][0]["mod_revision"].as_str().map(str::to_owned)
        });
    }
    for at in others {
        original.members[at].kill();
    }
    let mut connection = Connection::open(original.members[leader].address()).expect("it serves");
    connection.set_patience(Duration::from_secs(20));
    let body = json!({"key": fill::text(b"perhaps"), "value": fill::text(b"2")});
    let answer = connection.ask(&Request::json("POST", "/v3/kv/put", &body.to_string()));
    assert!(!answer.is_ok_and(|answer| answer.status == 200), "nobody can acknowledge it");
    original.members[leader].kill();
    let from = original.members[leader].data_dir().to_owned();
    let output = place.import(&from, "ours", &[]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert!(output.stderr.contains("last 1 writes of the log are not known"), "{output:?}");
    let ours = place.start("ours");
    assert_eq!(ask::keys(&ours), ["perhaps", "sure"]);
    let revision = summary(&output)["revision"].unsigned_abs();
    assert_eq!(revision, acknowledged.unsigned_abs() + 1);
    // A follower knew of no such thing. Of what was acknowledged its log may not say so: real etcd
    // keeps the last commit in a buffer until it writes the next entry.
    let follower = original.members[others[0]].data_dir().to_owned();
    let output = place.import(&follower, "follower", &[]);
    assert_eq!(output.exit, Some(0), "{output:?}");
    assert_eq!(ask::keys(&place.start("follower")), ["sure"]);
    // What real etcd does.
    original.members[leader].change(|start| start.flag("--force-new-cluster"));
    original.members[leader].restart();
    assert_eq!(ask::keys(&original.members[leader]), ["sure"]);
}

/// With the last acknowledgement all are killed: followers have not been told of that commit yet.
#[test]
fn what_was_acknowledged_a_moment_before_all_died_is_there() {
    let Some(place) = Place::new() else { return };
    let mut original = Cluster::start_original(place.etcd.clone(), 3);
    let leader = original.leader();
    for number in 0..50 {
        fill::put(&original.members[leader], format!("k{number:02}").as_bytes(), b"x", 0);
    }
    original.members.iter_mut().for_each(Member::kill);
    let from = original.members[leader].data_dir().to_owned();
    let (ours, _) = place.imported(&from, "ours", &[]);
    assert_eq!(ask::keys(&ours).len(), 50);
}

#[test]
fn a_lease_ends_after_the_import_with_its_keys_and_another_stays() {
    let Some(place) = Place::new() else { return };
    let mut original = place.original(&[]);
    for (id, ttl) in [(5, 3), (6, 1_000)] {
        let grant = json!({"ID": id.to_string(), "TTL": ttl.to_string()});
        fill::post(&original, "/v3/lease/grant", &grant);
    }
    for (key, lease) in [("soon/1", 5), ("soon/2", 5), ("late", 6)] {
        fill::put(&original, key.as_bytes(), b"x", lease);
    }
    original.kill();
    let output = place.import(&place.path("original"), "ours", &[]);
    assert_eq!(summary(&output)["leases"], 2, "{output:?}");
    let ours = place.start("ours");
    let live = |id: i64| {
        let body = json!({"ID": id.to_string(), "keys": true});
        place::json_of(&ours, "/v3/lease/timetolive", &body).expect(&[200]).json()
    };
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
    let late = live(6);
    assert_eq!(late["grantedTTL"], "1000");
    assert!(number(&late["TTL"]).is_some_and(|left| left > 500 && left <= 1_000), "{late}");
    assert_eq!(late["keys"], json!([fill::text(b"late")]));
    eventually(PATIENCE, "the lease ends", || (ask::keys(&ours) == ["late"]).then_some(()));
    assert_eq!(number(&live(5)["TTL"]), Some(-1));
}
