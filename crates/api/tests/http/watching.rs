//! Long polls and streams.

use std::{net::Shutdown, time::Duration};

use serde_json::Value;

use crate::{
    member::{Member, eventually},
    wire::{Wire, request},
};

const QUIET: Duration = Duration::from_millis(100);

fn watch(member: &Member, target: &str) -> Wire {
    let mut wire = member.connect();
    wire.send(request("GET", &format!("/v2/keys{target}"), None));
    wire
}

fn event(bytes: &[u8]) -> Value {
    assert_eq!(bytes.last(), Some(&b'\n'), "an event ends its line");
    serde_json::from_slice(bytes).unwrap()
}

fn summary(event: &Value) -> String {
    let (action, node) = (event["action"].as_str().unwrap(), &event["node"]);
    let value = node["value"].as_str().unwrap_or("-");
    format!("{action} {} {value}", node["key"].as_str().unwrap())
}

#[test]
fn a_long_poll_has_its_head_at_once_and_its_event_when_it_happens() {
    let member = Member::start();
    let index = member.put("/a", "1");
    let mut poll = watch(&member, "/a?wait=true");
    let head = poll.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("X-Etcd-Index"), Some(index.to_string().as_str()));
    assert_eq!(head.header("Content-Type"), Some("application/json"));
    assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
    for name in ["X-Raft-Index", "X-Raft-Term", "X-Etcd-Cluster-Id"] {
        assert!(head.header(name).is_some(), "{name}");
    }
    assert!(poll.is_quiet(QUIET));
    member.put("/b", "other");
    assert!(poll.is_quiet(QUIET));
    member.put("/a", "2");
    let told = event(&poll.chunk().unwrap().unwrap());
    assert_eq!(summary(&told), "set /a 2");
    assert_eq!(told["prevNode"]["value"], "1");
    assert_eq!(poll.chunk().unwrap(), None, "one event, and the body ends");
    // The connection takes the next request.
    poll.ask("GET", "/v2/keys/a", None).expect(200);
    assert_eq!(member.watchers(), 0);
}

#[test]
fn a_poll_from_the_past_is_answered_from_history() {
    let member = Member::start();
    let first = member.put("/a", "1");
    member.put("/b", "x");
    let last = member.put("/a", "2");
    for (since, expected) in [(first, "1"), (first + 1, "2"), (last, "2")] {
        let answer = member.get(&format!("/v2/keys/a?wait=true&waitIndex={since}")).expect(200);
        assert_eq!(event(&answer.body)["node"]["value"], expected, "since {since}");
        assert_eq!(answer.header("X-Etcd-Index"), Some(last.to_string().as_str()));
    }
    let mut poll = watch(&member, &format!("/a?wait=true&waitIndex={}", last + 2));
    poll.head();
    member.put("/a", "one too early");
    assert!(poll.is_quiet(QUIET), "from an index to come it waits until then");
    member.put("/a", "in time");
    assert_eq!(summary(&event(&poll.chunk().unwrap().unwrap())), "set /a in time");
}

#[test]
fn a_stream_goes_on_after_history() {
    let member = Member::start();
    let first = member.put("/s/a", "1");
    member.put("/s/b", "2");
    let mut stream =
        watch(&member, &format!("/s?wait=true&stream=true&recursive=true&waitIndex={first}"));
    stream.head();
    member.put("/s/c", "3");
    let mut told = Vec::new();
    while told.len() < 4 {
        let chunk = stream.chunk().unwrap().expect("a stream has no end");
        told.extend(chunk.split_inclusive(|byte| *byte == b'\n').map(|line| summary(&event(line))));
        if told.len() == 3 {
            member.ask("DELETE", "/v2/keys/s/a", None).expect(200);
        }
    }
    assert_eq!(told, ["set /s/a 1", "set /s/b 2", "set /s/c 3", "delete /s/a -"]);
    assert!(stream.is_quiet(QUIET));
}

/// 400 events of 200 kB each, which the client does not read as they come: they wait in history,
/// and reach it in pieces.
#[test]
fn a_stream_that_is_not_read_loses_nothing_and_costs_no_memory() {
    const EVENTS: usize = 400;
    let member = Member::start();
    let first = member.put("/s", "first") + 1;
    let mut live = watch(&member, "/s?wait=true&stream=true");
    live.head();
    let value = "v".repeat(100_000);
    let mut writer = member.connect();
    for _ in 0..EVENTS {
        writer.ask("PUT", "/v2/keys/s", Some(&format!("value={value}"))).expect(200);
    }
    all_come_in_pieces(&mut live, first, EVENTS);
    let mut late = watch(&member, &format!("/s?wait=true&stream=true&waitIndex={first}"));
    late.head();
    all_come_in_pieces(&mut late, first, EVENTS);
}

fn all_come_in_pieces(stream: &mut Wire, first: u64, count: usize) {
    let (mut line, mut next) = (Vec::new(), first);
    while next < first + count as u64 {
        let chunk = stream.chunk().unwrap().expect("a stream has no end");
        assert!(chunk.len() < 400_000, "{} bytes at once", chunk.len());
        for byte in chunk {
            line.push(byte);
            if byte == b'\n' {
                assert_eq!(event(&line)["node"]["modifiedIndex"], next);
                next += 1;
                line.clear();
            }
        }
    }
}

#[test]
fn quorum_makes_wait_a_plain_get() {
    let member = Member::start();
    member.put("/a", "1");
    let answer = member.get("/v2/keys/a?quorum=true&wait=true").expect(200);
    assert_eq!(answer.json()["action"], "get");
    assert!(answer.header("Content-Length").is_some());
}

#[test]
fn a_client_that_goes_away_ends_its_watch() {
    let member = Member::start();
    let gone: [fn(&Wire); 3] = [
        |_| {},
        // Half of the connection is enough: nobody will ask again over it.
        |wire| wire.stream.shutdown(Shutdown::Write).unwrap(),
        |wire| wire.stream.shutdown(Shutdown::Both).unwrap(),
    ];
    for (at, go) in gone.iter().enumerate() {
        for query in ["wait=true", "wait=true&stream=true&recursive=true"] {
            let polls: Vec<Wire> = (0..20)
                .map(|_| {
                    let mut poll = watch(&member, &format!("/a?{query}"));
                    poll.head();
                    poll
                })
                .collect();
            assert_eq!(member.watchers(), 20);
            polls.iter().for_each(go);
            let kept = (at > 0).then_some(polls);
            eventually(&format!("the watchers are gone, {at} {query}"), || member.watchers() == 0);
            drop(kept);
        }
    }
    member.put("/a", "nobody hears");
}

/// Whoever pipelines behind a long poll waits until it ends.
#[test]
fn what_was_sent_behind_a_poll_is_answered_after_it() {
    let member = Member::start();
    let mut poll = watch(&member, "/a?wait=true");
    poll.head();
    poll.send(request("GET", "/v2/keys/a", None));
    assert!(poll.is_quiet(QUIET));
    member.put("/a", "1");
    assert_eq!(summary(&event(&poll.chunk().unwrap().unwrap())), "set /a 1");
    assert_eq!(poll.chunk().unwrap(), None);
    assert_eq!(poll.answer().json()["node"]["value"], "1");
}

#[test]
fn in_http_1_0_an_event_ends_with_the_connection() {
    let member = Member::start();
    let mut poll = member.connect();
    poll.send("GET /v2/keys/a?wait=true HTTP/1.0\r\n\r\n");
    let head = poll.head();
    assert_eq!((head.status, head.header("Transfer-Encoding")), (200, None));
    assert!(poll.is_quiet(QUIET));
    member.put("/a", "1");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut poll.stream, &mut rest).unwrap();
    assert_eq!(summary(&event(&rest)), "set /a 1");
}

#[test]
fn a_watch_below_what_is_compacted_is_told_so() {
    use proto::command::{Compact, Op};
    let member = Member::start();
    let first = member.put("/a", "1");
    let last = member.put("/a", "2");
    let compact = Op::Compact(Compact { revision: i64::try_from(last).unwrap() });
    member.runtime.block_on(member.handle.write(compact)).unwrap();
    let answer = member.get(&format!("/v2/keys/a?wait=true&waitIndex={first}")).expect(400);
    let expected = format!(
        "{{\"errorCode\":401,\"message\":\"The event in requested index is outdated and cleared\",\
         \"cause\":\"the requested history has been cleared [{last}/{first}]\",\"index\":{last}}}\n"
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(answer.header("X-Etcd-Index"), Some(last.to_string().as_str()));
}
