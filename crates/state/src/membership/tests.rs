//! Ids against etcd's own, and the rules of membership.

use base::{ClusterId, MemberId};
use proto::command::{self, Publish};

use super::*;

fn urls(urls: &[&str]) -> Vec<String> {
    urls.iter().map(|url| (*url).to_owned()).collect()
}

fn member(id: u64, peer_urls: &[&str]) -> command::Member {
    command::Member { id, peer_urls: urls(peer_urls), ..command::Member::default() }
}

/// Both logged by etcd 3.4.23 when started with these flags.
#[test]
fn ids_are_those_that_etcd_computes() {
    let one = bootstrap_member_id(&urls(&["http://127.0.0.1:35792"]), "tok1");
    assert_eq!(one, MemberId(0xb471_9499_9bb9_05e3));
    assert_eq!(bootstrap_cluster_id(&[one]), ClusterId(0xf77e_5967_8a8f_975e));

    let of = |peers: &[&str]| bootstrap_member_id(&urls(peers), "etcd-cluster");
    let a = of(&["http://10.0.0.1:2380"]);
    let b = of(&["http://127.0.0.1:35795", "http://127.0.0.1:35793"]);
    let c = of(&["http://10.0.0.3:2380"]);
    assert_eq!(b, MemberId(0xff71_198f_e9ea_a07b));
    let mut others = [a, c];
    others.sort_unstable();
    assert_eq!(others, [MemberId(0x3ebc_01ae_c68d_6d70), MemberId(0xfe9c_64ea_f399_1d47)]);
    assert_eq!(bootstrap_cluster_id(&[b, a, c]), ClusterId(0x252f_8c9f_21ba_6f83));
}

#[test]
fn changes_are_refused_as_etcd_refuses_them() {
    let mut members = Members::default();
    members.change(Change::Add(member(1, &["http://a", "http://b"])));
    members.change(Change::Add(member(2, &["http://c"])));
    members.change(Change::Add(member(3, &["http://d"])));
    members.change(Change::Remove(MemberId(3)));
    members.change(Change::AddLearner(member(6, &["http://f"]), 1));
    let cases = [
        (Change::Add(member(4, &["http://e"])), Ok(())),
        (Change::Add(member(4, &["http://d"])), Ok(())),
        (Change::Add(member(2, &["http://e"])), Err(Refusal::IdExists)),
        (Change::Add(member(3, &["http://e"])), Err(Refusal::IdRemoved)),
        (Change::Add(member(4, &["http://e", "http://b"])), Err(Refusal::PeerUrlExists)),
        (Change::Update(member(2, &["http://c", "http://e"])), Ok(())),
        (Change::Update(member(2, &["http://a"])), Err(Refusal::PeerUrlExists)),
        (Change::Update(member(5, &["http://e"])), Err(Refusal::IdNotFound)),
        (Change::Remove(MemberId(2)), Ok(())),
        (Change::Remove(MemberId(5)), Err(Refusal::IdNotFound)),
        (Change::Remove(MemberId(3)), Err(Refusal::IdRemoved)),
        (Change::AddLearner(member(7, &["http://g"]), 1), Err(Refusal::TooManyLearners)),
        (Change::AddLearner(member(7, &["http://g"]), 2), Ok(())),
        (Change::AddLearner(member(7, &["http://a"]), 2), Err(Refusal::PeerUrlExists)),
        (Change::AddLearner(member(2, &["http://g"]), 1), Err(Refusal::IdExists)),
        (Change::Promote(MemberId(6)), Ok(())),
        (Change::Promote(MemberId(2)), Err(Refusal::NotLearner)),
        (Change::Promote(MemberId(5)), Err(Refusal::IdNotFound)),
        (Change::Promote(MemberId(3)), Err(Refusal::IdRemoved)),
        (Change::Update(member(6, &["http://f"])), Ok(())),
        (Change::Remove(MemberId(6)), Ok(())),
    ];
    for (change, expected) in cases {
        assert_eq!(members.check(&change), expected, "{change:?}");
    }
}

/// `v` and `l` are a voter and a learner that have started, `V` and `L` those that have not.
fn cluster(members: &str) -> Members {
    let mut cluster = Members::default();
    for (id, kind) in (1..).zip(members.chars()) {
        let added = member(id, &[&format!("http://{id}")]);
        cluster.change(match kind {
            'v' | 'V' => Change::Add(added),
            _ => Change::AddLearner(added, 9),
        });
        if kind.is_lowercase() {
            cluster.publish(Publish { member: id, name: format!("m{id}"), ..Publish::default() });
        }
    }
    cluster
}

/// The counts of etcd 3.6: learners do not vote, so they neither help nor hinder, and one that is
/// promoted counts as started.
#[test]
fn the_strict_check_counts_voters_that_have_started() {
    let add = || Change::Add(member(9, &["http://9"]));
    let learn = || Change::AddLearner(member(9, &["http://9"]), 9);
    let remove = |id| Change::Remove(MemberId(id));
    let promote = |id| Change::Promote(MemberId(id));
    let cases = [
        ("v", add(), true),
        ("vV", add(), false),
        ("vvv", add(), true),
        ("vvV", add(), false),
        ("vvVl", add(), false),
        ("vvVV", learn(), true),
        ("vvv", remove(3), true),
        ("vvV", remove(3), true),
        ("vvV", remove(1), false),
        ("vVl", remove(3), true),
        ("vVl", remove(1), false),
        ("vl", promote(2), true),
        ("vL", promote(2), true),
        ("vVl", promote(3), true),
        ("vVVl", promote(4), false),
        ("vvVl", promote(4), true),
    ];
    for (members, change, expected) in cases {
        assert_eq!(cluster(members).leaves_quorum(&change), expected, "{members}: {change:?}");
    }
    assert!(cluster("vl").is_last_voter(&remove(1)), "a learner cannot go on alone");
    assert!(!cluster("vl").is_last_voter(&remove(2)));
}

/// As etcd 3.4 has it, but for the five seconds that it wants all that to have lasted.
#[test]
fn the_strict_check_wants_voters_to_be_in_touch() {
    let add = || Change::Add(member(9, &["http://9"]));
    let remove = |id| Change::Remove(MemberId(id));
    let cases: [(&str, &[u64], Change, bool); 14] = [
        ("v", &[1], add(), true),
        ("vvv", &[1, 2, 3], add(), true),
        ("vvv", &[1, 2], add(), false),
        ("vvvl", &[1, 2, 3], add(), true),
        ("vvvl", &[1, 2], Change::AddLearner(member(9, &[]), 9), false),
        ("vvv", &[1, 2, 3], remove(3), true),
        ("vvv", &[1, 2], remove(3), true),
        ("vvv", &[1, 2], remove(2), false),
        ("vv", &[1, 2], remove(2), true),
        ("vvvv", &[1, 2, 3], remove(3), true),
        ("vvvvv", &[1, 2, 3, 4], remove(4), true),
        ("vvvvv", &[1, 2, 3], remove(3), false),
        ("vvvl", &[1], remove(4), true),
        ("vvv", &[1], Change::Update(member(2, &["http://9"])), true),
    ];
    for (members, active, change, expected) in cases {
        let healthy = cluster(members).stays_healthy(&change, |id| active.contains(&id.0));
        assert_eq!(healthy, expected, "{members}, {active:?}: {change:?}");
    }
}

#[test]
fn a_learner_that_is_promoted_votes_and_keeps_what_it_told() {
    let mut members = cluster("vl");
    let before = members.members.get(&MemberId(2)).cloned().unwrap();
    members.change(Change::Promote(MemberId(2)));
    let expected = Member { learner: false, ..before };
    assert_eq!(members.members.get(&MemberId(2)), Some(&expected));
    // Where it is has nothing to do with whether it votes.
    let moved = command::Member { learner: true, ..member(2, &["http://moved"]) };
    members.change(Change::Update(moved));
    let peer_urls = urls(&["http://moved"]);
    assert_eq!(members.members.get(&MemberId(2)), Some(&Member { peer_urls, ..expected }));
}

#[test]
fn an_update_keeps_what_the_member_told_of_itself() {
    let mut members = Members::default();
    members.change(Change::Add(member(1, &["http://a"])));
    let publish = |id| Publish {
        member: id,
        name: "one".to_owned(),
        client_urls: urls(&["http://client"]),
        version: "3.6.14".to_owned(),
    };
    assert!(members.publish(publish(1)));
    assert!(!members.publish(publish(1)), "nothing new");
    assert!(!members.publish(publish(2)), "nobody has this id");
    members.change(Change::Update(member(1, &["http://b"])));
    let expected = Member {
        id: MemberId(1),
        name: "one".to_owned(),
        peer_urls: urls(&["http://b"]),
        client_urls: urls(&["http://client"]),
        learner: false,
        version: "3.6.14".to_owned(),
    };
    assert_eq!(members.members.get(&MemberId(1)), Some(&expected));
}

#[test]
fn the_row_gives_back_what_went_in() {
    let mut members = Members::default();
    members.change(Change::AddLearner(member(1, &["http://a"]), 1));
    members.change(Change::Add(member(u64::MAX, &[])));
    members.change(Change::Add(member(3, &[])));
    members.change(Change::Remove(MemberId(3)));
    assert_eq!(decode(&encode(&members)).unwrap(), members);
    assert_eq!(decode(b"").unwrap(), Members::default());
}
