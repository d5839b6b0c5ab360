//! Watching: many at once, history followed by what is new, and ends of every kind.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use e2e::{Answer, Connection, Member, Request, binaries, eventually, limits};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Each of these waits on one of `KEYS` keys, on the directory above, or somewhere else.
const POLLS: usize = 10_000;
const KEYS: usize = 20;
/// Files open for anything but a poll, in this process and in the server.
const OTHER_FILES: u64 = 600;

#[test]
fn among_ten_thousand_polls_one_write_wakes_exactly_those_it_concerns() {
    let limit = limits::raise_open_files(POLLS as u64 + OTHER_FILES);
    let count = POLLS.min(usize::try_from(limit - OTHER_FILES).expect("it is small"));
    println!("{count} polls");
    let member = Member::start();
    let mut polls: Vec<Poll> = (0..count).map(|at| Poll::begin(&member, at)).collect();
    wait_for_watchers(&member, count as u64);

    let began = Instant::now();
    let index = member.put("/crowd/7", "news");
    let (concerned, others): (Vec<_>, Vec<_>) = polls.iter_mut().partition(|poll| poll.hears_of(7));
    assert!(900 < concerned.len() && 5000 < others.len());
    for poll in concerned {
        let node = &poll.event()["node"];
        assert_eq!((&node["key"], &node["modifiedIndex"]), (&"/crowd/7".into(), &index.into()));
    }
    // How soon is measured by `bench wake`: here the machine is shared with other tests.
    println!("the last of those concerned woke after {:?}", began.elapsed());

    for poll in others {
        let (kind, at) = (poll.kind, poll.at);
        assert!(poll.connection.has_nothing(), "{kind} {at} woke for nothing");
    }

    // Those that slept on still hear of what is theirs.
    member.put("/crowd/8", "news");
    for poll in polls.iter_mut().filter(|poll| poll.kind == "key" && poll.at % KEYS == 8) {
        assert_eq!(poll.event()["node"]["key"], "/crowd/8", "{}", poll.at);
    }
}

struct Poll {
    kind: &'static str,
    at: usize,
    head: Answer,
    connection: Connection,
}

impl Poll {
    fn begin(member: &Member, at: usize) -> Self {
        let (kind, target) = match at % 10 {
            0..7 => ("key", format!("/v2/keys/crowd/{}?wait=true", at % KEYS)),
            7 => ("directory", "/v2/keys/crowd?wait=true&recursive=true".to_owned()),
            8 => ("above alone", "/v2/keys/crowd?wait=true".to_owned()),
            _ => ("elsewhere", format!("/v2/keys/else/{at}?wait=true&recursive=true")),
        };
        let mut connection = member.connect();
        connection.send(&Request::get(&target)).expect("the member reads");
        let head = connection.receive_head().expect("headers come at once");
        assert_eq!((head.status, head.header("Content-Type")), (200, Some("application/json")));
        Self { kind, at, head, connection }
    }

    fn hears_of(&self, written: usize) -> bool {
        self.kind == "directory" || self.kind == "key" && self.at % KEYS == written
    }

    fn event(&mut self) -> Value {
        let answer = self.connection.receive_rest(self.head.clone());
        answer.unwrap_or_else(|problem| panic!("{} {}: {problem}", self.kind, self.at)).json()
    }
}

/// Writes that the streams have to tell of.
const WRITES: u64 = 3000;

fn wait_for_watchers(member: &Member, count: u64) {
    eventually(Duration::from_secs(20), &format!("{count} watchers"), || {
        (watchers(member) == count).then_some(())
    });
}

fn watchers(member: &Member) -> u64 {
    member.get("/v2/stats/store").json()["watchers"].as_u64().expect("watchers are counted")
}

/// The events of a stream, in the order in which they came.
fn stream(member: &Member, target: &str, last: u64) -> Vec<Value> {
    let mut connection = member.connect();
    connection.send(&Request::get(target)).expect("the member reads");
    assert_eq!(connection.receive_head().expect("headers come at once").status, 200);
    let (mut events, mut rest) = (Vec::new(), Vec::new());
    loop {
        let chunk = connection.receive_chunk().expect("the stream goes on").expect("it has no end");
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            events.push(serde_json::from_slice::<Value>(&line).expect("an event a line"));
        }
        let index = |event: &Value| event["node"]["modifiedIndex"].as_u64();
        if events.last().and_then(index).is_some_and(|index| last <= index) {
            return events;
        }
    }
}

#[test]
fn a_stream_tells_history_and_then_what_is_new_without_a_gap_or_a_repetition() {
    if binaries::is_original() {
        println!("the original stalls after the first event of its history: not compared");
        return;
    }
    let member = Member::start();
    let first = member.put("/stream/first", "x") + 1;
    let last = first + WRITES - 1;
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let member = &member;
            scope.spawn(move || {
                let mut connection = member.connect();
                for number in 0..WRITES / 3 {
                    let target = format!("/v2/keys/stream/{writer}/{}", number % 17);
                    let answer = connection.ask(&Request::put(&target, &number.to_string()));
                    assert!(answer.expect("the member answers").status < 300);
                }
            });
        }
        // Each begins somewhere in the middle, with all of the past to catch up on.
        let streams: Vec<_> = (0..8)
            .map(|at: u64| {
                let member = &member;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(at * 15));
                    let query = format!("wait=true&stream=true&recursive=true&waitIndex={first}");
                    stream(member, &format!("/v2/keys/stream?{query}"), last)
                })
            })
            .collect();
        for events in streams.into_iter().map(|stream| stream.join().expect("it is whole")) {
            let indexes = events.iter().map(|event| event["node"]["modifiedIndex"].as_u64());
            let indexes: Vec<u64> = indexes.map(|index| index.expect("an index")).collect();
            assert_eq!(indexes, (first..=last).collect::<Vec<_>>());
            check_each_key_counts_up(&events);
        }
    });
}

fn check_each_key_counts_up(events: &[Value]) {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for event in events {
        let key = event["node"]["key"].as_str().expect("a key");
        let number = event["node"]["value"].as_str().and_then(|value| value.parse().ok());
        let number: i64 = number.expect("the value is a number");
        let before = last.insert(key, number);
        assert!(before.is_none_or(|before| before + 17 == number), "{key} at {number}");
        let previous = event["prevNode"]["value"].as_str().and_then(|value| value.parse().ok());
        assert_eq!(previous, before, "prevNode of {key} at {number}");
    }
}

#[test]
fn a_poll_with_an_old_index_finds_what_it_missed() {
    let member = Member::start();
    let first = member.put("/missed", "1");
    let second = member.put("/missed", "2");
    for (index, value) in [(first, "1"), (first + 1, "2"), (second, "2")] {
        let answer = member.get(&format!("/v2/keys/missed?wait=true&waitIndex={index}"));
        assert_eq!(answer.json()["node"]["value"], value);
        assert_eq!(answer.index(), second, "the header tells where the store stood");
    }
}

#[test]
fn history_reaches_further_back_than_a_thousand_events() {
    let member = Member::start();
    let first = member.put("/old", "1");
    let mut connection = member.connect();
    for number in 0..1500 {
        let answer = connection.ask(&Request::put("/v2/keys/busy", &number.to_string()));
        assert!(answer.expect("the member answers").status < 300);
    }
    let answer = member.get(&format!("/v2/keys/old?wait=true&waitIndex={first}"));
    if binaries::is_original() {
        assert_eq!(answer.json()["errorCode"], 401);
    } else {
        assert_eq!(answer.json()["node"]["value"], "1");
    }
}

#[test]
fn a_client_that_goes_away_in_mid_watch_leaves_nothing_behind() {
    let member = Member::start();
    let polls: Vec<Connection> = (0..50)
        .map(|at| {
            let mut connection = member.connect();
            let stream = if at % 2 == 0 { "&stream=true" } else { "" };
            let target = format!("/v2/keys/gone?wait=true{stream}");
            connection.send(&Request::get(&target)).expect("the member reads");
            connection.receive_head().expect("headers come at once");
            connection
        })
        .collect();
    wait_for_watchers(&member, 50);
    drop(polls);
    wait_for_watchers(&member, 0);
    member.put("/gone", "and nobody minds");
}

#[test]
fn sigterm_ends_polls_at_once() {
    let mut member = Member::start();
    let mut polls: Vec<Connection> = (0..100)
        .map(|at| {
            let stream = if at % 2 == 0 { "&stream=true" } else { "" };
            let mut connection = member.connect();
            let target = format!("/v2/keys/end?wait=true{stream}");
            connection.send(&Request::get(&target)).expect("the member reads");
            connection.receive_head().expect("headers come at once");
            connection
        })
        .collect();
    wait_for_watchers(&member, 100);
    let began = Instant::now();
    member.signal(Signal::SIGTERM);
    for poll in &mut polls {
        // An empty body to its regular end, or the end of the connection.
        let end = poll.receive_chunk();
        assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
        assert!(!end.is_err_and(|problem| e2e::http::timed_out(&problem)), "a poll goes on");
    }
    member.reap(Duration::from_secs(5));
    let limit = if binaries::is_original() { 5 } else { 1 };
    let took = began.elapsed();
    assert!(took < Duration::from_secs(limit), "it took {took:?} to leave");
}
