//! The recorded plain requests: version, health, machines, members, statistics, logging, and
//! unknown paths.

use e2e::{
    Answer, Member, Request, Start, binaries,
    records::{self, matches, text},
};
use serde_json::Value;

/// Why an entry of the record is left out, if it is.
fn left_out(at: usize, entry: &Value, first_of_auth: usize) -> Option<&'static str> {
    if text(&entry["path"]).starts_with("/v2/auth") {
        Some("users, roles and the auth switch come with their own feature")
    } else if first_of_auth < at {
        Some("asked under auth, which comes with its own feature")
    } else {
        None
    }
}

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
fn every_recorded_request_outside_of_auth_is_answered_as_by_etcd() {
    play_all(&Member::start());
}

#[test]
fn every_recorded_request_outside_of_auth_is_answered_by_a_follower_as_by_etcd() {
    play_all(&Start::new().follower().start());
}

fn play_all(member: &Member) {
    let entries = records::lines("http-v2.jsonl");
    let is_auth = |entry: &Value| text(&entry["path"]).starts_with("/v2/auth");
    let first_of_auth = entries.iter().position(is_auth).expect("the record goes on to auth");
    let mut failures = Vec::new();
    let mut played = 0;
    for (at, entry) in entries.iter().enumerate() {
        let name = format!("{}: {} {}", at + 1, text(&entry["method"]), text(&entry["path"]));
        if let Some(reason) = left_out(at, entry, first_of_auth) {
            println!("left out {name}: {reason}");
            continue;
        }
        played += 1;
        if let Err(problem) = play(member, entry) {
            failures.push(format!("{name}\n    {problem}"));
        }
    }
    assert_eq!(played, 37, "what comes before auth in the record");
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

fn play(member: &Member, entry: &Value) -> Result<(), String> {
    let mut request = Request::new(text(&entry["method"]), text(&entry["path"]));
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
