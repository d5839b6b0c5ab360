//! Time to live: what goes, when, in which order, and who hears of it.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{Member, Request, binaries};
use serde_json::Value;

/// How late a key may go: 50 ms on a healthy cluster, and what a busy test machine adds.
const LATE: Duration = Duration::from_millis(50 + 250);

fn put_for(member: &Member, key: &str, seconds: &str) -> Value {
    let request = Request::new("PUT", &format!("/v2/keys{key}"));
    member.ask(&request.form(&[("value", "x"), ("ttl", seconds)])).expect(&[200, 201]).json()
}

fn make_directory_for(member: &Member, key: &str, seconds: &str) {
    let request = Request::new("PUT", &format!("/v2/keys{key}"));
    let answer = member.ask(&request.form(&[("dir", "true"), ("ttl", seconds)]));
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn keys_go_when_their_time_has_come_each_with_an_event_of_its_own() {
    let member = Member::start();
    let began = Instant::now();
    let first = put_for(&member, "/exp/first", "1")["node"]["modifiedIndex"].as_u64();
    let first = first.expect("an index");
    put_for(&member, "/exp/third", "2");
    put_for(&member, "/exp/second", "1");
    let watch = |index: u64| {
        let answer =
            member.get(&format!("/v2/keys/exp?wait=true&recursive=true&waitIndex={index}"));
        (answer.json(), began.elapsed())
    };
    let expected = [("/exp/first", 1), ("/exp/second", 1), ("/exp/third", 2)];
    for (step, (key, seconds)) in (3..).zip(expected) {
        let (event, at) = watch(first + step);
        assert_eq!((&event["action"], &event["node"]["key"]), (&"expire".into(), &key.into()));
        assert_eq!(event["node"]["modifiedIndex"], first + step, "each has an index of its own");
        assert_eq!(event["prevNode"]["value"], "x");
        assert!(event["node"].get("value").is_none(), "{event}");
        assert!(Duration::from_secs(seconds) <= at, "{key} went early, after {at:?}");
        if !binaries::is_original() {
            assert!(at < Duration::from_secs(seconds) + LATE, "{key} went late, after {at:?}");
        }
    }
    let listing = member.get("/v2/keys/exp").expect(&[200]);
    assert_eq!(listing.index(), first + 5, "nothing else has moved the index");
    assert!(listing.json()["node"].get("nodes").is_none(), "the directory stays, empty");
}

#[test]
fn a_directory_takes_all_below_it_along_in_one_event() {
    let member = Member::start();
    make_directory_for(&member, "/dying", "1");
    member.put("/dying/a", "1");
    member.put("/dying/b/c", "2");
    let index = member.put("/living", "3");
    let event = member.get("/v2/keys/dying?wait=true&recursive=true").json();
    assert_eq!((&event["action"], &event["node"]["dir"]), (&"expire".into(), &true.into()));
    assert_eq!(event["node"]["key"], "/dying");
    assert_eq!(event["node"]["modifiedIndex"], index + 1);
    assert_eq!(member.get("/v2/keys/dying/b/c").expect(&[404]).json()["cause"], "/dying");
    assert_eq!(member.get("/v2/keys/living").expect(&[200]).index(), index + 1);
}

#[test]
fn whoever_waits_below_a_directory_hears_of_its_end() {
    let member = Member::start();
    make_directory_for(&member, "/parent", "1");
    member.put("/parent/child", "1");
    let event = member.get("/v2/keys/parent/child?wait=true").json();
    assert_eq!((&event["action"], &event["node"]["key"]), (&"expire".into(), &"/parent".into()));
}

#[test]
fn a_refresh_prolongs_a_life_without_a_word() {
    let member = Member::start();
    let index =
        put_for(&member, "/fresh", "1")["node"]["modifiedIndex"].as_u64().expect("an index");
    let refresh = Request::new("PUT", "/v2/keys/fresh");
    let form = [("refresh", "true"), ("ttl", "2"), ("prevExist", "true")];
    let answer = member.ask(&refresh.form(&form)).expect(&[200]).json();
    assert_eq!(answer["node"]["value"], "x", "a refresh keeps the value");
    let began = Instant::now();
    // The next event is the end, not the refresh.
    let wait = format!("/v2/keys/fresh?wait=true&waitIndex={}", index + 1);
    let event = member.get(&wait).json();
    assert_eq!(event["action"], "expire", "{event}");
    assert!(Duration::from_millis(1900) < began.elapsed(), "it lived on");
}

#[test]
fn an_update_without_a_time_lets_a_key_live() {
    let member = Member::start();
    put_for(&member, "/saved", "1");
    let update = Request::put("/v2/keys/saved", "y").query(&[("prevExist", "true")]);
    let answer = member.ask(&update).expect(&[200]).json();
    assert!(answer["node"].get("ttl").is_none() && answer["prevNode"]["ttl"] == 1, "{answer}");
    sleep(Duration::from_millis(1800));
    assert_eq!(member.get("/v2/keys/saved").json()["node"]["value"], "y");
}

#[test]
fn what_expired_while_the_member_was_down_goes_when_it_is_back() {
    let mut member = Member::start();
    put_for(&member, "/down", "1");
    let late = put_for(&member, "/late", "500");
    let index = member.put("/kept", "1");
    member.kill();
    sleep(Duration::from_millis(1500));
    member.restart();
    let event = member.get(&format!("/v2/keys/down?wait=true&waitIndex={}", index + 1)).json();
    assert_eq!(event["action"], "expire");
    // A new leader does not begin anybody's time anew.
    let now = member.get("/v2/keys/late").json();
    assert_eq!(now["node"]["expiration"], late["node"]["expiration"]);
}

#[test]
fn thousands_of_keys_that_end_together_all_end_soon() {
    let member = Member::start();
    let mut connection = member.connect();
    let index = member.get("/v2/keys/").index();
    for number in 0..3000 {
        let request = Request::new("PUT", &format!("/v2/keys/many/{number}"));
        let answer = connection.ask(&request.form(&[("value", "x"), ("ttl", "3")]));
        assert_eq!(answer.expect("an answer comes").status, 201);
    }
    let began = Instant::now();
    e2e::eventually(Duration::from_secs(10), "all keys have gone", || {
        member.get("/v2/keys/many").json()["node"].get("nodes").is_none().then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(member.get("/v2/keys/").index(), index + 6000, "one index for each end");
}
