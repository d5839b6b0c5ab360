//! The recorded plain requests: version, health, machines, members, statistics, logging, unknown
//! paths, users and roles, and keys under auth.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{
    Answer, Member, Request, Start, binaries,
    records::{self, matches, text},
};
use serde_json::Value;

type Check = fn(&Value, &Answer) -> Result<(), String>;

/// Answers that are not the recorded ones on purpose, with what holds in their place.
fn checked_otherwise(entry: &Value) -> Option<Check> {
    match (text(&entry["method"]), text(&entry["path"])) {
        // The level that clients test for is that of the v3 API, and our own version stands beside.
        ("GET", "/version") => Some(check_version),
        // Counters count what this run did; the names and their order are the record's.
        ("GET", "/v2/stats/store") => Some(check_counters),
        // The original run to prove this test is 3.4, where these two texts differ from 2.3.8's.
        ("GET", "/health") | ("POST", "/v2/members") if binaries::is_original() => {
            Some(|_, _| Ok(()))
        }
        _ => None,
    }
}

/// What a follower says otherwise than the recorded member, which was alone and so led.
fn told_by_a_follower(entry: &Value) -> Option<Check> {
    match (text(&entry["method"]), text(&entry["path"])) {
        ("GET", "/v2/machines") => Some(|_, answer| {
            let told = answer.text();
            let urls = told.split(", ").filter(|url| url.starts_with("http://127.0.0.1:"));
            expect(urls.count() == 3, answer)
        }),
        ("GET", "/v2/members" | "/v2/members/") => Some(|_, answer| {
            expect(answer.json()["members"].as_array().map(Vec::len) == Some(3), answer)
        }),
        ("GET", "/v2/members/leader") => {
            Some(|_, answer| expect(text(&answer.json()["name"]).starts_with("other"), answer))
        }
        ("GET", "/v2/stats/self") => Some(|_, answer| {
            let told = answer.json();
            let follows = told["state"] == "StateFollower"
                && told["leaderInfo"]["leader"] != told["id"]
                && told["recvAppendRequestCnt"].as_u64() > Some(0)
                && told["sendAppendRequestCnt"] == 0;
            expect(follows, answer)
        }),
        ("GET", "/v2/stats/leader") => Some(|_, answer| {
            let refused = "{\"message\":\"not current leader\"}";
            expect(answer.status == 403 && answer.text() == refused, answer)
        }),
        _ => None,
    }
}

fn expect(holds: bool, answer: &Answer) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("answer {} {}", answer.status, answer.text())) }
}

#[test]
fn every_recorded_request_is_answered_as_by_etcd() {
    play_all(Member::start());
}

#[test]
fn every_recorded_request_is_answered_by_a_follower_as_by_etcd() {
    play_all(Start::new().follower().start());
}

fn play_all(mut member: Member) {
    // The record has some.
    member.allow("auth: no such user, or a wrong password");
    let entries = records::lines("http-v2.jsonl");
    let writes: Vec<u64> = entries.iter().filter_map(written_at).collect();
    assert_eq!(writes.len(), 3, "writes to keys in the record");
    let index = member.get("/v2/keys/").index();
    let mut failures = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let name = format!("{}: {} {}", at + 1, text(&entry["method"]), text(&entry["path"]));
        if let Err(problem) = play(&member, entry, |recorded| {
            // There, writes of users and roles move the index as well.
            index + writes.iter().filter(|write| **write <= recorded).count() as u64
        }) {
            failures.push(format!("{name}\n    {problem}"));
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

/// At which index an entry has written a key, if it has.
fn written_at(entry: &Value) -> Option<u64> {
    let is_write = text(&entry["path"]).starts_with("/v2/keys") && entry["method"] != "GET";
    let body = entry["body"].as_str().filter(|_| is_write)?;
    let answer: Value = serde_json::from_str(body).ok()?;
    answer["node"]["modifiedIndex"].as_u64()
}

/// The indexes of a recorded answer, as they are in this run.
fn moved(body: &str, index: impl Fn(u64) -> u64) -> String {
    let mut moved = String::new();
    let mut rest = body;
    while let Some(at) = rest.find("ndex\":") {
        let (before, after) = rest.split_at(at + "ndex\":".len());
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = after.split_at(digits);
        moved += before;
        match number.parse() {
            Ok(0) | Err(_) => moved += number,
            Ok(recorded) => moved += &index(recorded).to_string(),
        }
        rest = after;
    }
    moved + rest
}

fn play(member: &Member, entry: &Value, index: impl Fn(u64) -> u64) -> Result<(), String> {
    let mut request = Request::new(text(&entry["method"]), text(&entry["path"]));
    if let Some(pair) = entry.get("auth") {
        let pair = BASE64_STANDARD.encode(text(pair));
        request = request.header("Authorization", &format!("Basic {pair}"));
    }
    if let Some(body) = entry.get("request") {
        request = request.header("Content-Type", text(&entry["content_type"])).body(text(body));
    }
    let answer = member.ask(&request);
    if member.others().is_some()
        && let Some(check) = told_by_a_follower(entry)
    {
        return check(entry, &answer);
    }
    let status = &entry["status"];
    if Some(u64::from(answer.status)) != status.as_u64() {
        return Err(format!("status {} instead of {status}: {}", answer.status, answer.text()));
    }
    for name in ["Content-Type", "Allow", "Location"] {
        let (got, wanted) = (answer.header(name), entry["headers"].get(name).map(text));
        if got != wanted {
            return Err(format!("header {name} is {got:?} instead of {wanted:?}"));
        }
    }
    if let Some(check) = checked_otherwise(entry) {
        return check(entry, &answer);
    }
    let expected = text(&entry["body"]).replace("<endpoint>", &member.address().to_string());
    let expected = expected.replace("http://127.0.0.1:23791", member.peer_url());
    let expected = moved(&expected, index);
    if matches(&expected, &answer.text()) {
        Ok(())
    } else {
        Err(format!("body {:?} instead of {expected:?}", answer.text()))
    }
}

fn check_version(_: &Value, answer: &Answer) -> Result<(), String> {
    let body = answer.text();
    let expected =
        if binaries::is_original() { "{\"etcdserver\":\"3.4." } else { "{\"etcdserver\":\"3.6." };
    let cluster = if binaries::is_original() { "3.4.0" } else { "3.6.0" };
    let has_cluster = answer.json()["etcdcluster"] == cluster;
    if body.starts_with(expected) && has_cluster { Ok(()) } else { Err(format!("body {body}")) }
}

fn check_counters(entry: &Value, answer: &Answer) -> Result<(), String> {
    let names_of = |text: &str| -> String {
        text.chars().filter(|character| !character.is_ascii_digit()).collect()
    };
    let (expected, got) = (names_of(text(&entry["body"])), names_of(&answer.text()));
    let numbers = answer.json().as_object().is_some_and(|all| all.values().all(Value::is_u64));
    if numbers && expected == got { Ok(()) } else { Err(format!("{got} instead of {expected}")) }
}
