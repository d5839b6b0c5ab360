//! Elections that the server holds.

use std::time::Duration;

use proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};

use crate::{
    client::{Client, Failed, Stream, refused},
    leases::{grant, keys, revoke},
    member::{Member, eventually},
};

const CAMPAIGN: &str = "/v3electionpb.Election/Campaign";

fn asked(value: &str, lease: i64) -> CampaignRequest {
    CampaignRequest { name: "e".into(), lease, value: value.to_owned().into() }
}

fn campaign(client: &Client, value: &str, lease: i64) -> Result<CampaignResponse, Failed> {
    client.call(CAMPAIGN, &asked(value, lease))
}

fn stand(client: &Client, value: &str, lease: i64) -> Stream<CampaignRequest, CampaignResponse> {
    let mut stream = client.open(CAMPAIGN);
    stream.send(&asked(value, lease));
    stream.close();
    stream
}

fn leader(client: &Client) -> Result<LeaderResponse, Failed> {
    client.call("/v3electionpb.Election/Leader", &LeaderRequest { name: "e".into() })
}

fn proclaim(
    client: &Client,
    leader: Option<LeaderKey>,
    value: &str,
) -> Result<ProclaimResponse, Failed> {
    let value = value.to_owned().into();
    client.call("/v3electionpb.Election/Proclaim", &ProclaimRequest { leader, value })
}

fn resign(client: &Client, leader: Option<LeaderKey>) -> Result<ResignResponse, Failed> {
    client.call("/v3electionpb.Election/Resign", &ResignRequest { leader })
}

fn observe(client: &Client) -> Stream<LeaderRequest, LeaderResponse> {
    let mut stream = client.open("/v3electionpb.Election/Observe");
    stream.send(&LeaderRequest { name: "e".into() });
    stream.close();
    stream
}

/// The key and the value of who leads.
fn shown(answer: &LeaderResponse) -> (String, String) {
    let kv = answer.kv.as_ref().unwrap();
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&kv.key), text(&kv.value))
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn the_first_leads_until_it_resigns_and_the_next_follows() {
    let member = Member::start();
    let client = Client::connect(&member);
    for lease in 1..=3 {
        grant(&client, 60, lease).unwrap();
    }
    let first = campaign(&client, "one", 1).unwrap();
    assert_eq!(first.header.unwrap().revision, 2);
    let key = first.leader.unwrap();
    assert_eq!(key, LeaderKey { name: "e".into(), key: "e/1".into(), rev: 2, lease: 1 });
    let mut second = stand(&client, "two", 2);
    eventually("the second stands", || keys(&client, "e/").len() == 2);
    assert!(second.is_silent(Duration::from_millis(100)));
    let told = leader(&client).unwrap();
    assert_eq!(shown(&told), pair("e/1", "one"));
    assert_eq!(told.header.unwrap().revision, 3);
    assert_eq!(proclaim(&client, Some(key.clone()), "uno").unwrap().header.unwrap().revision, 4);
    assert_eq!(shown(&leader(&client).unwrap()), pair("e/1", "uno"));
    assert_eq!(resign(&client, Some(key.clone())).unwrap().header.unwrap().revision, 5);
    let elected = second.next().unwrap().unwrap();
    assert_eq!(elected.leader.unwrap().key, "e/2");
    // As etcd's: from when it stood.
    assert_eq!(elected.header.unwrap().revision, 3);
    // Who does not lead any more.
    refused(proclaim(&client, Some(key.clone()), "x"), 2, "election: not leader");
    assert_eq!(resign(&client, Some(key)).unwrap().header.unwrap().revision, 5);
    assert_eq!(shown(&leader(&client).unwrap()), pair("e/2", "two"));
}

#[test]
fn who_stands_already_may_stand_with_another_value() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    campaign(&client, "one", 1).unwrap();
    let again = campaign(&client, "uno", 1).unwrap().leader.unwrap();
    assert_eq!((again.key.as_ref(), again.rev), (&b"e/1"[..], 2));
    assert_eq!(shown(&leader(&client).unwrap()), pair("e/1", "uno"));
}

/// As large as a request may be; keys that stand in a queue are not read for what they hold.
#[test]
fn what_a_leader_proclaims_may_be_large() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    grant(&client, 60, 2).unwrap();
    let large = "x".repeat(1_200_000);
    let first = campaign(&client, &large, 1).unwrap().leader;
    assert_eq!(shown(&leader(&client).unwrap()), pair("e/1", &large));
    let mut told = observe(&client);
    assert_eq!(shown(&told.next().unwrap().unwrap()), pair("e/1", &large));
    let mut second = stand(&client, &large, 2);
    eventually("the second stands", || keys(&client, "e/").len() == 2);
    resign(&client, first).unwrap();
    assert_eq!(second.next().unwrap().unwrap().leader.unwrap().key, "e/2");
}

#[test]
fn refusals_are_in_etcds_words() {
    let member = Member::start();
    let client = Client::connect(&member);
    refused(leader(&client), 2, "election: no leader");
    refused(proclaim(&client, None, "x"), 2, "\"leader\" field must be provided");
    refused(resign(&client, None), 2, "\"leader\" field must be provided");
    refused(campaign(&client, "x", 99), 2, "etcdserver: requested lease not found");
}

/// The original would tell it that it leads.
#[test]
fn a_candidate_that_loses_its_lease_is_not_elected() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    grant(&client, 60, 2).unwrap();
    let first = campaign(&client, "one", 1).unwrap().leader;
    let mut second = stand(&client, "two", 2);
    eventually("the second stands", || keys(&client, "e/").len() == 2);
    revoke(&client, 2).unwrap();
    refused(second.next().unwrap(), 2, "election: not leader");
    resign(&client, first).unwrap();
    refused(leader(&client), 2, "election: no leader");
}

#[test]
fn a_candidate_that_goes_away_does_not_stand_any_more() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    grant(&client, 60, 2).unwrap();
    campaign(&client, "one", 1).unwrap();
    let second = stand(&client, "two", 2);
    eventually("the second stands", || keys(&client, "e/").len() == 2);
    drop(second);
    eventually("it does not any more", || keys(&client, "e/") == ["e/1"]);
}

#[test]
fn who_observes_is_told_of_each_leader_and_of_each_value() {
    let member = Member::start();
    let client = Client::connect(&member);
    for lease in 1..=2 {
        grant(&client, 60, lease).unwrap();
    }
    let mut early = observe(&client);
    assert!(early.is_silent(Duration::from_millis(100)));
    let first = campaign(&client, "one", 1).unwrap().leader;
    let told = early.next().unwrap().unwrap();
    assert_eq!((shown(&told), told.header.unwrap().revision), (pair("e/1", "one"), 2));
    let mut late = observe(&client);
    assert_eq!(shown(&late.next().unwrap().unwrap()), pair("e/1", "one"));
    proclaim(&client, first.clone(), "uno").unwrap();
    let mut second = stand(&client, "two", 2);
    eventually("the second stands", || keys(&client, "e/").len() == 2);
    resign(&client, first).unwrap();
    second.next().unwrap().unwrap();
    for observer in [&mut early, &mut late] {
        assert_eq!(shown(&observer.next().unwrap().unwrap()), pair("e/1", "uno"));
        assert_eq!(shown(&observer.next().unwrap().unwrap()), pair("e/2", "two"));
        assert!(observer.is_silent(Duration::from_millis(50)));
    }
    member.stop.send_replace(true);
    refused(early.next().unwrap(), 14, "etcdserver: server stopped");
}
