//! Leases: granted, kept, told of, revoked, and at their end.

use std::time::{Duration, Instant};

use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};

use crate::{
    client::{Client, Failed, Stream, refused},
    member::{Member, eventually},
};

pub(crate) fn grant(client: &Client, ttl: i64, id: i64) -> Result<LeaseGrantResponse, Failed> {
    client.call("/etcdserverpb.Lease/LeaseGrant", &LeaseGrantRequest { ttl, id })
}

pub(crate) fn revoke(client: &Client, id: i64) -> Result<LeaseRevokeResponse, Failed> {
    client.call("/etcdserverpb.Lease/LeaseRevoke", &LeaseRevokeRequest { id })
}

fn time_to_live(client: &Client, id: i64, keys: bool) -> LeaseTimeToLiveResponse {
    let asked = LeaseTimeToLiveRequest { id, keys };
    client.call("/etcdserverpb.Lease/LeaseTimeToLive", &asked).unwrap()
}

fn leases(client: &Client) -> Vec<i64> {
    let told: LeaseLeasesResponse =
        client.call("/etcdserverpb.Lease/LeaseLeases", &LeaseLeasesRequest {}).unwrap();
    told.leases.into_iter().map(|lease| lease.id).collect()
}

pub(crate) fn put(client: &Client, key: &str, lease: i64) -> Result<PutResponse, Failed> {
    let (key, value) = (key.to_owned().into(), "v".into());
    let put = PutRequest { key, value, lease, ..PutRequest::default() };
    client.call("/etcdserverpb.KV/Put", &put)
}

pub(crate) fn keys(client: &Client, prefix: &str) -> Vec<String> {
    let key = prefix.to_owned().into();
    let range_end = mvcc::path::successor(prefix.as_bytes());
    let mut range_end = range_end;
    // All that begin with it.
    range_end.pop();
    *range_end.last_mut().unwrap() += 1;
    let asked = RangeRequest { key, range_end: range_end.into(), ..RangeRequest::default() };
    let found: RangeResponse = client.call("/etcdserverpb.KV/Range", &asked).unwrap();
    let text = |key: &bytes::Bytes| String::from_utf8(key.to_vec()).unwrap();
    found.kvs.iter().map(|kv| text(&kv.key)).collect()
}

fn keep_alive(client: &Client) -> Stream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> {
    client.open("/etcdserverpb.Lease/LeaseKeepAlive")
}

#[test]
fn a_lease_has_the_id_and_the_time_that_were_asked_for_or_others() {
    let member = Member::start();
    let client = Client::connect(&member);
    let first = grant(&client, 10, 0).unwrap();
    let second = grant(&client, 10, 0).unwrap();
    assert!(first.id > 0 && second.id > 0 && first.id != second.id);
    assert_eq!((first.ttl, first.error.as_str()), (10, ""));
    assert_eq!(first.header.unwrap().revision, 1, "no key was written");
    // One and a half election timeouts.
    for short in [1, 0, -7, i64::MIN] {
        assert_eq!(grant(&client, short, 0).unwrap().ttl, 2);
    }
    assert_eq!(grant(&client, 5, 7).unwrap().id, 7);
    assert_eq!(grant(&client, 5, -5).unwrap().id, -5);
    refused(grant(&client, 5, 7), 9, "etcdserver: lease already exists");
    assert_eq!(grant(&client, 9_000_000_000, 0).unwrap().ttl, 9_000_000_000);
    refused(grant(&client, 9_000_000_001, 0), 11, "etcdserver: too large lease TTL");
    let all = leases(&client);
    assert_eq!(all.len(), 9);
    assert!(all.contains(&7) && all.contains(&-5) && all.contains(&first.id));
}

#[test]
fn a_revoked_lease_takes_its_keys_along_in_one_revision() {
    let member = Member::start();
    let client = Client::connect(&member);
    let id = grant(&client, 60, 0).unwrap().id;
    for key in ["a1", "a2", "a3"] {
        put(&client, key, id).unwrap();
    }
    put(&client, "a4", 0).unwrap();
    let told = time_to_live(&client, id, true);
    assert_eq!((told.id, told.granted_ttl), (id, 60));
    assert!((58..=60).contains(&told.ttl), "{}", told.ttl);
    assert_eq!(told.keys, ["a1", "a2", "a3"]);
    assert!(time_to_live(&client, id, false).keys.is_empty());
    let revoked = revoke(&client, id).unwrap().header.unwrap();
    assert_eq!(revoked.revision, 6);
    assert_eq!(revoked.cluster_id, member.handle.cluster_id().0);
    assert_eq!(keys(&client, "a"), ["a4"]);
    refused(revoke(&client, id), 5, "etcdserver: requested lease not found");
    refused(put(&client, "b", id), 5, "etcdserver: requested lease not found");
}

#[test]
fn of_a_lease_that_is_not_there_etcds_numbers_are_told() {
    let member = Member::start();
    let client = Client::connect(&member);
    let told = time_to_live(&client, 12_345, true);
    assert_eq!((told.id, told.ttl, told.granted_ttl), (12_345, -1, 0));
    assert_eq!(told.header.unwrap().revision, 1);
    let mut stream = keep_alive(&client);
    stream.send(&LeaseKeepAliveRequest { id: 12_345 });
    let kept = stream.next().unwrap().unwrap();
    assert_eq!((kept.id, kept.ttl), (12_345, 0));
}

#[test]
fn a_lease_that_is_kept_stays_and_one_that_is_not_ends_with_its_keys() {
    let member = Member::start();
    let client = Client::connect(&member);
    let (kept, left) = (grant(&client, 2, 1).unwrap().id, grant(&client, 2, 2).unwrap().id);
    put(&client, "k/kept", kept).unwrap();
    put(&client, "k/left", left).unwrap();
    let watch =
        Client::connect(&member).open::<WatchRequest, WatchResponse>("/etcdserverpb.Watch/Watch");
    let asked = WatchCreateRequest {
        key: "k/".into(),
        range_end: "k0".into(),
        ..WatchCreateRequest::default()
    };
    watch.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(asked)) });
    let mut watch = watch;
    assert!(watch.next().unwrap().unwrap().created);
    let mut stream = keep_alive(&client);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        stream.send(&LeaseKeepAliveRequest { id: kept });
        let answer = stream.next().unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl), (kept, 2));
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(keys(&client, "k/"), ["k/kept"]);
    let ended = watch.next().unwrap().unwrap();
    assert_eq!(ended.events[0].kv.as_ref().unwrap().key, "k/left");
    assert_eq!(leases(&client), [kept]);
    // Who asks no more is told all, and then the end.
    stream.send(&LeaseKeepAliveRequest { id: kept });
    stream.close();
    assert_eq!(stream.next().unwrap().unwrap().ttl, 2);
    assert_eq!(stream.next(), None);
    eventually("the other lease ends too", || keys(&client, "k/").is_empty());
}

#[test]
fn requests_that_wait_are_answered_in_their_order() {
    let member = Member::start();
    let client = Client::connect(&member);
    for id in 1..=50 {
        grant(&client, 100, id).unwrap();
    }
    let mut stream = keep_alive(&client);
    for id in 1..=50 {
        stream.send(&LeaseKeepAliveRequest { id });
    }
    for id in 1..=50 {
        assert_eq!(stream.next().unwrap().unwrap().id, id);
    }
}

#[test]
fn a_stream_ends_when_the_server_stops() {
    let member = Member::start();
    let client = Client::connect(&member);
    let mut stream = keep_alive(&client);
    stream.send(&LeaseKeepAliveRequest { id: 1 });
    stream.next().unwrap().unwrap();
    member.stop.send_replace(true);
    let ended = stream.next().unwrap().unwrap_err();
    assert_eq!(ended, Failed { code: 14, text: "etcdserver: server stopped".to_owned() });
}
