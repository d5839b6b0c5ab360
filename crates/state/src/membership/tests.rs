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
    ];
    for (change, expected) in cases {
        assert_eq!(members.check(&change), expected, "{change:?}");
    }
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
    members.change(Change::Add(command::Member { learner: true, ..member(1, &["http://a"]) }));
    members.change(Change::Add(member(u64::MAX, &[])));
    members.change(Change::Add(member(3, &[])));
    members.change(Change::Remove(MemberId(3)));
    assert_eq!(decode(&encode(&members)).unwrap(), members);
    assert_eq!(decode(b"").unwrap(), Members::default());
}
