//! Locks that the server makes.

use std::time::{Duration, Instant};

use proto::{
    etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse, RangeRequest, RangeResponse},
    mvccpb::KeyValue,
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
};

use crate::{
    client::{Client, Failed, Stream, refused},
    leases::{grant, keys, revoke},
    member::{Member, eventually},
};

const LOCK: &str = "/v3lockpb.Lock/Lock";

fn asked(name: &str, lease: i64) -> LockRequest {
    LockRequest { name: name.to_owned().into(), lease }
}

fn lock(client: &Client, name: &str, lease: i64) -> Result<LockResponse, Failed> {
    client.call(LOCK, &asked(name, lease))
}

/// Asks, and does not wait for the answer.
fn queue(client: &Client, name: &str, lease: i64) -> Stream<LockRequest, LockResponse> {
    let mut stream = client.open(LOCK);
    stream.send(&asked(name, lease));
    stream.close();
    stream
}

fn unlock(client: &Client, key: impl Into<bytes::Bytes>) -> Result<UnlockResponse, Failed> {
    client.call("/v3lockpb.Lock/Unlock", &UnlockRequest { key: key.into() })
}

fn get(client: &Client, key: &str) -> Option<KeyValue> {
    let asked = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    let found: RangeResponse = client.call("/etcdserverpb.KV/Range", &asked).unwrap();
    found.kvs.into_iter().next()
}

#[test]
fn a_lock_is_a_key_with_the_leases_hex_number_behind_its_name() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 0xabc).unwrap();
    let held = lock(&client, "l", 0xabc).unwrap();
    assert_eq!((held.key.as_ref(), held.header.unwrap().revision), (&b"l/abc"[..], 2));
    let key = get(&client, "l/abc").unwrap();
    assert_eq!((key.lease, key.create_revision, key.value.as_ref()), (0xabc, 2, &b""[..]));
    // Who holds it may ask again.
    let again = lock(&client, "l", 0xabc).unwrap();
    assert_eq!((again.key.as_ref(), again.header.unwrap().revision), (&b"l/abc"[..], 2));
    grant(&client, 60, -5).unwrap();
    assert_eq!(lock(&client, "n", -5).unwrap().key, "n/-5");
    assert_eq!(unlock(&client, held.key).unwrap().header.unwrap().revision, 4);
    assert_eq!(keys(&client, "l/"), [""; 0]);
    // One that nobody holds may be given up.
    assert_eq!(unlock(&client, "none").unwrap().header.unwrap().revision, 4);
}

#[test]
fn who_brings_no_lease_gets_one_of_a_minute() {
    let member = Member::start();
    let client = Client::connect(&member);
    let held = lock(&client, "", 0).unwrap();
    let key = String::from_utf8(held.key.to_vec()).unwrap();
    let found = get(&client, &key).unwrap();
    assert_eq!(key, format!("/{:x}", found.lease));
    assert_eq!(member.handle.reader().leases().get(found.lease).unwrap().ttl, 60);
}

/// As the original passes them on, which is a client itself there.
#[test]
fn refusals_are_told_without_their_codes() {
    let member = Member::start();
    let client = Client::connect(&member);
    refused(lock(&client, "l", 77), 2, "etcdserver: requested lease not found");
    refused(unlock(&client, ""), 2, "etcdserver: key is not provided");
    assert_eq!(keys(&client, "l/"), [""; 0]);
}

#[test]
fn those_who_wait_get_the_lock_in_their_order() {
    let member = Member::start();
    let client = Client::connect(&member);
    for lease in 1..=3 {
        grant(&client, 60, lease).unwrap();
    }
    lock(&client, "l", 1).unwrap();
    let mut second = queue(&client, "l", 2);
    eventually("the second waits", || keys(&client, "l/").len() == 2);
    let mut third = queue(&client, "l", 3);
    eventually("the third waits", || keys(&client, "l/").len() == 3);
    assert!(second.is_silent(Duration::from_millis(100)));
    unlock(&client, "l/1").unwrap();
    let held = second.next().unwrap().unwrap();
    assert_eq!((held.key.as_ref(), held.header.unwrap().revision), (&b"l/2"[..], 5));
    assert!(third.is_silent(Duration::from_millis(100)));
    // The end of a lease gives its lock up.
    revoke(&client, 2).unwrap();
    assert_eq!(third.next().unwrap().unwrap().key, "l/3");
}

#[test]
fn a_client_that_goes_away_leaves_the_queue_and_does_not_hold_up_others() {
    let member = Member::start();
    let client = Client::connect(&member);
    for lease in 1..=3 {
        grant(&client, 60, lease).unwrap();
    }
    lock(&client, "l", 1).unwrap();
    let second = queue(&client, "l", 2);
    eventually("the second waits", || keys(&client, "l/").len() == 2);
    let mut third = queue(&client, "l", 3);
    eventually("the third waits", || keys(&client, "l/").len() == 3);
    drop(second);
    eventually("it has left", || keys(&client, "l/") == ["l/1", "l/3"]);
    assert!(third.is_silent(Duration::from_millis(100)));
    unlock(&client, "l/1").unwrap();
    assert_eq!(third.next().unwrap().unwrap().key, "l/3");
    // The whole connection.
    let other = Client::connect(&member);
    let waiting = queue(&other, "l", 2);
    eventually("it waits", || keys(&client, "l/").len() == 2);
    drop((waiting, other));
    eventually("it has left again", || keys(&client, "l/") == ["l/3"]);
}

#[test]
fn who_waits_no_longer_than_it_said_leaves_the_queue() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    grant(&client, 60, 2).unwrap();
    lock(&client, "l", 1).unwrap();
    let began = Instant::now();
    let ended: Result<LockResponse, Failed> =
        client.call_with(&[("grpc-timeout", b"300m")], LOCK, &asked("l", 2));
    refused(ended, 4, "context deadline exceeded");
    assert!(began.elapsed() >= Duration::from_millis(300));
    eventually("it has left", || keys(&client, "l/") == ["l/1"]);
}

#[test]
fn who_loses_its_lease_while_it_waits_is_told_at_once() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    grant(&client, 60, 2).unwrap();
    lock(&client, "l", 1).unwrap();
    let mut second = queue(&client, "l", 2);
    eventually("it waits", || keys(&client, "l/").len() == 2);
    revoke(&client, 2).unwrap();
    let ended = second.next().unwrap();
    refused(ended, 2, "mutex: session is expired");
    assert_eq!(keys(&client, "l/"), ["l/1"]);
}

/// The same through the gateway.
#[test]
fn a_client_of_the_gateway_that_goes_away_leaves_the_queue() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    lock(&client, "l", 1).unwrap();
    let ask = |path: &str, body: &str| {
        let mut wire = member.connect();
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        wire.send(head + body);
        wire
    };
    let waiting = ask("/v3/lock/lock", "{\"name\":\"bA==\"}");
    eventually("it waits", || keys(&client, "l/").len() == 2);
    drop(waiting);
    eventually("it has left", || keys(&client, "l/") == ["l/1"]);
    let mut waiting = ask("/v3/lock/lock", "{\"name\":\"bA==\"}");
    eventually("another waits", || keys(&client, "l/").len() == 2);
    unlock(&client, "l/1").unwrap();
    let held = waiting.answer().expect(200).json();
    assert!(held["key"].is_string(), "{held}");
    let standing = ask("/v3/election/campaign", "{\"name\":\"bA==\"}");
    eventually("it stands", || keys(&client, "l/").len() == 2);
    drop(standing);
    eventually("it does not any more", || keys(&client, "l/").len() == 1);
}

/// Etcd's clients make their locks themselves, in the same queue.
#[test]
fn keys_that_others_made_under_the_name_count() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    crate::leases::put(&client, "l/somebody", 0).unwrap();
    let mut waiting = queue(&client, "l", 1);
    eventually("it waits", || keys(&client, "l/").len() == 2);
    assert!(waiting.is_silent(Duration::from_millis(100)));
    let delete = DeleteRangeRequest { key: "l/somebody".into(), ..DeleteRangeRequest::default() };
    drop::<DeleteRangeResponse>(client.call("/etcdserverpb.KV/DeleteRange", &delete).unwrap());
    assert_eq!(waiting.next().unwrap().unwrap().key, "l/1");
}

/// A member that stops for an upgrade must not cost a client its place.
#[test]
fn those_who_wait_keep_their_place_when_the_server_stops() {
    let member = Member::start();
    let client = Client::connect(&member);
    grant(&client, 60, 1).unwrap();
    grant(&client, 60, 2).unwrap();
    lock(&client, "l", 1).unwrap();
    let mut second = queue(&client, "l", 2);
    eventually("it waits", || keys(&client, "l/").len() == 2);
    member.stop.send_replace(true);
    refused(second.next().unwrap(), 2, "etcdserver: server stopped");
    std::thread::sleep(Duration::from_millis(200));
    let store = member.handle.reader().store();
    assert!(store.view().head(mvcc::Kind::Key, b"l/2").is_some());
}
