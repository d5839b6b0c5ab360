//! Members of the cluster, and changes of them.

use proto::etcdserverpb::{
    Member as Shown, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
};

use crate::{
    client::{Client, Failed, refused},
    member::Member,
};

fn list(client: &Client, linearizable: bool) -> MemberListResponse {
    client.call("/etcdserverpb.Cluster/MemberList", &MemberListRequest { linearizable }).unwrap()
}

fn add(client: &Client, urls: &[&str], is_learner: bool) -> Result<MemberAddResponse, Failed> {
    let peer_ur_ls = urls.iter().map(|url| (*url).to_owned()).collect();
    client.call("/etcdserverpb.Cluster/MemberAdd", &MemberAddRequest { peer_ur_ls, is_learner })
}

fn remove(client: &Client, id: u64) -> Result<MemberRemoveResponse, Failed> {
    client.call("/etcdserverpb.Cluster/MemberRemove", &MemberRemoveRequest { id })
}

fn update(client: &Client, id: u64, urls: &[&str]) -> Result<MemberUpdateResponse, Failed> {
    let peer_ur_ls = urls.iter().map(|url| (*url).to_owned()).collect();
    client.call("/etcdserverpb.Cluster/MemberUpdate", &MemberUpdateRequest { id, peer_ur_ls })
}

#[test]
fn a_member_alone_lists_itself_without_a_revision() {
    let member = Member::start();
    let client = Client::connect(&member);
    let id = member.handle.member_id().0;
    let own = Shown {
        id,
        name: "default".to_owned(),
        peer_ur_ls: vec!["http://localhost:2380".to_owned()],
        client_ur_ls: vec!["http://localhost:2379".to_owned()],
        is_learner: false,
    };
    for linearizable in [false, true] {
        let listed = list(&client, linearizable);
        assert_eq!(listed.members, std::slice::from_ref(&own));
        let header = listed.header.unwrap();
        assert_eq!((header.member_id, header.revision), (id, 0));
        assert!(header.raft_term > 0);
    }
}

#[test]
fn changes_are_refused_as_etcd_refuses_them() {
    let member = Member::start();
    let client = Client::connect(&member);
    let bad = "etcdserver: given member URLs are invalid";
    for urls in [&[][..], &["foo"], &["http://a"], &["http://a:1/x"], &["ftp://a:1"]] {
        refused(add(&client, urls, false), 3, bad);
    }
    let taken = ["http://localhost:2380"];
    refused(add(&client, &taken, false), 9, "etcdserver: Peer URLs already exists");
    refused(add(&client, &taken, true), 9, "etcdserver: Peer URLs already exists");
    refused(remove(&client, 5), 5, "etcdserver: member not found");
    refused(update(&client, 5, &["http://a:1"]), 5, "etcdserver: member not found");
    refused(update(&client, member.handle.member_id().0, &[]), 3, bad);
    let own = member.handle.member_id().0;
    refused(remove(&client, own), 9, "etcdserver: the last voter cannot be removed");
}

#[test]
fn a_learner_is_added_moved_and_removed() {
    let member = Member::start();
    let client = Client::connect(&member);
    let added = add(&client, &["http://127.0.0.1:9", "http://127.0.0.1:8"], true).unwrap();
    let learner = added.member.unwrap();
    let urls = ["http://127.0.0.1:8", "http://127.0.0.1:9"];
    assert_eq!((learner.name.as_str(), learner.is_learner), ("", true));
    assert_eq!(learner.peer_ur_ls, urls);
    assert_eq!(added.header.unwrap().revision, 0);
    assert_eq!(added.members.len(), 2);
    assert!(added.members.contains(&learner));
    let moved = update(&client, learner.id, &["http://127.0.0.1:7"]).unwrap();
    let shown = moved.members.iter().find(|one| one.id == learner.id).unwrap();
    assert!(shown.is_learner && shown.peer_ur_ls == ["http://127.0.0.1:7"]);
    assert_eq!(remove(&client, learner.id).unwrap().members.len(), 1);
    refused(remove(&client, learner.id), 5, "etcdserver: member not found");
    assert_eq!(list(&client, true).members.len(), 1);
}
