//! Random requests of v3, the same through the JSON gateway to real etcd 3.4.23, or 3.5.1, and to ours.
//!
//! `RETCD_SEED` repeats a run, `RETCD_SCENARIOS` makes it longer. A scenario ends at its first
//! difference that is not meant; then as many of its requests as can be are left out before it is
//! shown.

#[path = "differential_v3/compare.rs"]
mod compare;
#[path = "differential_v3/generate.rs"]
mod generate;

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use compare::{Outcome, Version};
use e2e::{
    Connection, Member, Request, Start, binaries,
    clients::etcd35::Etcd35,
    rings,
    v3::{self, bytes, number},
};
use generate::{Asked, Generator};
use serde_json::{Value, json};

const STEPS: usize = 40;
/// Differences shown before a run gives up.
const SHOWN_MAX: usize = 6;
/// How long an event may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The key whose change is the end of what watches tell.
const LAST: &[u8] = b"\xff\xff\xff";

#[test]
fn random_requests_of_v3_are_answered_as_by_real_etcd() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) {
        return;
    }
    compare_with(&original.expect("it is installed"), Version::V34, 60);
}

/// Of 3.5 fewer: most is as in 3.4.
#[test]
fn random_requests_of_v3_are_answered_as_by_etcd_3_5() {
    let Some(original) = Etcd35::install() else { return };
    compare_with(&original.etcd, Version::V35, 20);
}

fn compare_with(original: &Path, version: Version, scenarios: u64) {
    let original = Start::original(original.to_owned()).start();
    let ours = Member::start();
    let mut sides = [Side::new(&original, version), Side::new(&ours, version)];
    let seed = e2e::count("RETCD_SEED", fastrand::u64(..1 << 32));
    let scenarios = e2e::count("RETCD_SCENARIOS", scenarios);
    println!("RETCD_SEED={seed} RETCD_SCENARIOS={scenarios}");
    let (mut differences, mut known) = (Vec::new(), BTreeMap::new());
    let mut steps = 0;
    for seed in seed..seed + scenarios {
        let mut generator = Generator::new(seed);
        let asked: Vec<_> = (0..STEPS).map(|_| generator.next()).collect();
        let played = play(&mut sides, &asked);
        steps += played.steps;
        for why in played.known {
            *known.entry(why).or_insert(0) += 1;
        }
        if played.difference.is_some() {
            let (asked, told) = shrink(&mut sides, asked);
            differences.push(show(seed, &asked, &told));
        }
        if SHOWN_MAX <= differences.len() {
            break;
        }
    }
    println!("{steps} steps compared; differences that are meant: {known:#?}");
    let count = differences.len();
    assert!(differences.is_empty(), "{count} scenarios differ:\n{}", differences.join("\n\n"));
}

/// The document has a table of these, of which nothing else is a row.
#[test]
fn the_differences_that_are_meant_are_those_of_the_document() {
    let document = include_str!("../../../docs/differences.md");
    let section =
        document.split("\n## ").find(|one| one.starts_with("The gateway of 3.4 and of 3.6"));
    let section = section.expect("the document has that section");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| **"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let named: Vec<_> = rows.iter().map(|row| row[0].trim_matches('*')).collect();
    let meant: Vec<_> = compare::MEANT.iter().map(|meant| meant.name).collect();
    assert_eq!(named, meant);
    for row in rows {
        assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

#[test]
fn beyond_the_quota_the_same_is_refused_as_by_real_etcd() {
    let original = binaries::real_etcd();
    let why_not = "/usr/bin/etcd 3.4 is not installed: apt-get install etcd-server";
    if !rings::can_run("real-etcd", original.is_some(), why_not) {
        return;
    }
    // Less than an empty store needs; what counts as used differs.
    let quota = "--quota-backend-bytes=1";
    let original = Start::original(original.expect("it is installed")).flag(quota).start();
    let mut ours = Start::new().flag(quota).start();
    ours.allow("the space quota is used up");
    let mut sides = [&original, &ours].map(|member| Side::new(member, Version::V34));
    let put = json!({"key": bytes("a"), "value": bytes("1")});
    let range = json!({"key": bytes("a"), "range_end": bytes("b")});
    let disarm = json!({"action": "DEACTIVATE", "memberID": "0", "alarm": "NOSPACE"});
    for (path, body) in [
        ("kv/put", put.clone()),
        ("kv/range", range.clone()),
        ("kv/deleterange", range.clone()),
        ("kv/txn", json!({"success": [{"request_put": put}]})),
        ("kv/txn", json!({"success": [{"request_range": range}, {"request_delete_range": range}]})),
        ("lease/grant", json!({"ID": "1", "TTL": "1000"})),
        ("lease/timetolive", json!({"ID": "1"})),
        ("kv/compaction", json!({"revision": "1"})),
        // Of another member: nothing is disarmed.
        ("maintenance/alarm", disarm),
        ("kv/put", put),
    ] {
        let asked = Asked::new(path, body);
        let [theirs, ours] = sides.each_mut().map(|side| side.ask(&asked));
        assert_eq!(theirs, ours, "{asked}");
    }
    for side in &mut sides {
        let alarms = side.post("maintenance/alarm", &json!({}));
        assert_eq!(alarms["alarms"][0]["alarm"], "NOSPACE", "{alarms}");
    }
}

/// One server, and where its revision stood when the scenario began.
struct Side<'a> {
    member: &'a Member,
    connection: Connection,
    base: i64,
    /// Of the original that is compared with.
    version: Version,
}

/// How a scenario went.
#[derive(Default)]
struct Played {
    steps: usize,
    /// The last step, as both answered it.
    difference: Option<[Outcome; 2]>,
    known: Vec<&'static str>,
}

/// Plays until the first difference. One that is meant ends it too: from there on there is nothing to
/// compare.
fn play(sides: &mut [Side<'_>; 2], all: &[Asked]) -> Played {
    sides.iter_mut().for_each(Side::begin);
    let version = sides[0].version;
    let mut played = Played::default();
    for asked in all {
        played.steps += 1;
        let [theirs, ours] = sides.each_mut().map(|side| side.ask(asked));
        if theirs == ours {
            continue;
        }
        match compare::meant(version, asked, &theirs, &ours) {
            Some(meant) => {
                played.known.push(meant.why);
                // What was refused by both has changed nothing.
                if theirs.is_refusal() && ours.is_refusal() {
                    continue;
                }
            }
            None => played.difference = Some([theirs, ours]),
        }
        return played;
    }
    let [theirs, ours] = sides.each_mut().map(Side::history);
    if theirs != ours {
        played.steps += 1;
        played.difference = Some([theirs, ours]);
    }
    played
}

/// Leaves requests out, one after the other, as long as there is a difference at the end.
fn shrink(sides: &mut [Side<'_>; 2], mut asked: Vec<Asked>) -> (Vec<Asked>, [Outcome; 2]) {
    let differs = |sides: &mut [Side<'_>; 2], asked: &[Asked]| {
        let played = play(sides, asked);
        played.difference.map(|difference| (played.steps, difference))
    };
    let Some((steps, mut told)) = differs(sides, &asked) else {
        panic!("a scenario is not the same twice: {asked:#?}");
    };
    asked.truncate(steps);
    let mut at = 0;
    while at < asked.len() {
        let mut fewer = asked.clone();
        fewer.remove(at);
        match differs(sides, &fewer) {
            Some((steps, difference)) => {
                told = difference;
                asked = fewer;
                asked.truncate(steps);
            }
            None => at += 1,
        }
    }
    (asked, told)
}

fn show(seed: u64, asked: &[Asked], [theirs, ours]: &[Outcome; 2]) -> String {
    let mut text = format!("RETCD_SEED={seed} RETCD_SCENARIOS=1");
    for one in asked {
        write!(text, "\n  {one}").expect("a string takes text");
    }
    write!(text, "\n theirs {theirs}\n ours   {ours}").expect("a string takes text");
    text
}

impl<'a> Side<'a> {
    fn new(member: &'a Member, version: Version) -> Self {
        Self { member, connection: member.connect(), base: 0, version }
    }

    /// Nothing is left of what was before: no keys, no leases, no history.
    fn begin(&mut self) {
        self.disarm();
        let all = json!({"key": bytes(b"\0"), "range_end": bytes(b"\0")});
        let leases = self.post("lease/leases", &json!({}));
        for lease in leases["leases"].as_array().into_iter().flatten() {
            self.post("lease/revoke", &json!({"ID": lease["ID"]}));
        }
        self.post("kv/deleterange", &all);
        let put = self.post("kv/put", &json!({"key": bytes("zz"), "value": bytes("base")}));
        self.base = number(&put["header"]["revision"]);
        self.post("kv/compaction", &json!({"revision": self.base, "physical": true}));
    }

    /// With an alarm nothing is written.
    fn disarm(&mut self) {
        let alarms = self.post("maintenance/alarm", &json!({}));
        for alarm in alarms["alarms"].as_array().into_iter().flatten() {
            let mut disarm = alarm.clone();
            disarm["action"] = "DEACTIVATE".into();
            self.post("maintenance/alarm", &disarm);
        }
    }

    fn post(&mut self, path: &str, body: &Value) -> Value {
        let answer = v3::ask(&mut self.connection, path, body).expect("it answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    fn ask(&mut self, asked: &Asked) -> Outcome {
        let body = asked.body(self.base);
        let request = Request::json("POST", &format!("/v3/{}", asked.path), &body);
        match self.connection.ask(&request) {
            Ok(answer) => {
                if answer.header("Connection") == Some("close") {
                    self.connection = self.member.connect();
                }
                Outcome::of(asked, &answer, self.base)
            }
            Err(problem) => {
                self.connection = self.member.connect();
                Outcome::failed(&problem)
            }
        }
    }

    /// All that has happened since the last compaction, as watches tell it: of everything, of what
    /// is no put, and of what is no deletion.
    fn history(&mut self) -> Outcome {
        self.disarm();
        let now = json!({"key": bytes("x"), "serializable": true});
        let now = number(&self.post("kv/range", &now)["header"]["revision"]);
        // Above all keys of scenarios: what is told of it is the end.
        self.post("kv/put", &json!({"key": bytes(LAST), "value": bytes("last")}));
        self.post("kv/deleterange", &json!({"key": bytes(LAST)}));
        let mut told = Vec::new();
        // Where history begins only a refusal tells. At the compacted revision itself 3.4.23 forgets
        // deletions (issue 18089, see the regressions in `mvcc`): it begins behind it, unless that is
        // where the scenario began, with a put.
        let mut start = self.base;
        while start <= now + 1 {
            match self.watched(start, &[]) {
                Ok(events) => {
                    told = events;
                    break;
                }
                Err(compacted) => start = start.max(compacted) + 1,
            }
        }
        for filters in [&["NOPUT"][..], &["NODELETE"]] {
            told.extend(self.watched(start, filters).expect("it is not compacted"));
        }
        Outcome::told(&told, start, self.base)
    }

    /// All events from a revision on, less those that the filters drop; or where history begins.
    fn watched(&self, start: i64, filters: &[&str]) -> Result<Vec<Value>, i64> {
        let mut connection = self.member.connect();
        connection.set_patience(PATIENCE);
        let all = json!({"key": bytes(b"\0"), "range_end": bytes(b"\0"),
            "start_revision": start, "prev_kv": filters.is_empty(), "filters": filters});
        let body = json!({"create_request": all}).to_string();
        connection.send(&Request::json("POST", "/v3/watch", &body)).expect("it is read");
        connection.receive_head().expect("it begins");
        let (mut text, mut all) = (Vec::new(), Vec::new());
        loop {
            let chunk = connection.receive_chunk().expect("it goes on").expect("it does not end");
            text.extend_from_slice(&chunk);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = text.drain(..=end).collect();
                let answer: Value = serde_json::from_slice(&line).expect("JSON");
                let answer = &answer["result"];
                if answer["canceled"] == true {
                    return Err(number(&answer["compact_revision"]));
                }
                all.extend(answer["events"].as_array().into_iter().flatten().cloned());
                let is_last = |event: &Value| {
                    event["kv"]["key"] == bytes(LAST)
                        && (event["type"] == "DELETE" || filters == ["NODELETE"])
                };
                if all.last().is_some_and(is_last) {
                    return Ok(all);
                }
            }
        }
    }
}
