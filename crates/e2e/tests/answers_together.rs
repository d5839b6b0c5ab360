//! What clients ask for and do not read takes a bounded part of the member's memory, all of it
//! together, and other clients are answered meanwhile.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread::sleep,
    time::Duration,
};

use e2e::{Connection, Member, Request, eventually, memory, v3};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(3);
const MIB: u64 = 1 << 20;
/// What all answers may take, and those of one connection.
const ROOM: u64 = 256 * MIB;
const PART: u64 = 64 * MIB;
/// What there is beside: connections, what is being read, and what the allocator keeps.
const BESIDE: u64 = 96 * MIB;
const VALUE_BYTES: usize = 1_000_000;

/// A member with so many large values, and what it has in memory then.
fn member(values: usize) -> (Member, u64) {
    let member = Member::start();
    for number in 0..values {
        v3::put(&member, &format!("large{number}"), &"x".repeat(VALUE_BYTES));
    }
    v3::put(&member, "small", "value");
    let before = memory::at_rest(member.pid());
    memory::forget_peak(member.pid());
    (member, before)
}

/// Reads and writes on new connections until what is asked for is there, or refused.
#[track_caller]
fn others_are_answered_until_at_rest(member: &Member) {
    let mut quiet = 0;
    let mut before = 0;
    eventually(PATIENCE, "the member comes to rest", || {
        v3::put(member, "other", "value");
        let range = v3::post(member, "kv/range", &json!({"key": v3::bytes("small")}));
        assert_eq!(v3::text(&range["kvs"][0]["value"]), "value");
        member.put("/v2", "value");
        assert_eq!(member.get("/v2/keys/v2").json()["node"]["value"], "value");
        sleep(Duration::from_millis(500));
        let now = memory::peak(member.pid());
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        (quiet > 12).then_some(())
    });
}

#[track_caller]
fn stays_within(member: &Member, before: u64, most: u64) {
    let more = memory::peak(member.pid()).saturating_sub(before);
    println!("{} MiB more than {} MiB", more / MIB, before / MIB);
    assert!(more <= most, "{} MiB more than {} MiB", more / MIB, before / MIB);
}

/// All of the values, as one answer that is there as a whole.
fn all_at_once(values: usize) -> Request {
    let gets: Vec<Value> = (0..values)
        .map(|number| json!({"requestRange": {"key": v3::bytes(format!("large{number}"))}}))
        .collect();
    Request::json("POST", "/v3/kv/txn", &json!({"success": gets}).to_string())
}

#[test]
fn large_answers_that_nobody_reads_share_what_memory_there_is_for_them() {
    let values = 24;
    let (mut member, before) = member(values);
    member.allow("it takes nothing of a large answer");
    let mut stalled: Vec<Connection> = (0..24).map(|_| member.connect()).collect();
    for connection in &mut stalled {
        connection.send(&all_at_once(values)).expect("the member reads");
    }
    others_are_answered_until_at_rest(&member);
    stays_within(&member, before, ROOM + BESIDE);
    // Whoever reads gets his own: those who take nothing make way.
    let answer = eventually(PATIENCE, "an answer of the same size", || {
        let mut reader = member.connect();
        reader.set_patience(PATIENCE);
        let answer = reader.ask(&all_at_once(values)).ok()?;
        if answer.status != 200 {
            let text = "too many large answers are under way: read those that were asked for";
            assert_eq!(answer.status, 429, "{}", answer.text());
            assert!(answer.text().contains(text), "{}", answer.text());
        }
        (answer.status == 200).then_some(answer)
    });
    let answers = answer.json();
    let answers = answers["responses"].as_array().expect("they are there");
    assert_eq!(answers.len(), values);
    for answer in answers {
        let value = v3::text(&answer["response_range"]["kvs"][0]["value"]);
        assert_eq!(value.len(), VALUE_BYTES);
    }
    assert!(member.log().contains("it takes nothing of a large answer"));
    stays_within(&member, before, ROOM + BESIDE);
}

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const DATA: u8 = 0;

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("it is small").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// A connection of HTTP/2 whose streams may be sent so many bytes each, and no more.
fn http2(member: &Member, window: u32) -> TcpStream {
    let mut stream = TcpStream::connect(member.address()).expect("the member accepts");
    let mut settings = vec![0, 4];
    settings.extend(window.to_be_bytes());
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend(frame(SETTINGS, 0, 0, &settings));
    stream.write_all(&hello).expect("the member reads");
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("it says hello");
    assert_eq!(head[3], SETTINGS);
    let mut theirs = vec![0; usize::from(head[2])];
    stream.read_exact(&mut theirs).expect("it says hello");
    stream.write_all(&frame(SETTINGS, 1, 0, &[])).expect("the member reads");
    // All that is sent anyway is read, and forgotten.
    let mut reading = stream.try_clone().expect("a socket can be cloned");
    std::thread::spawn(move || while reading.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {});
    stream
}

/// `KV/Range` of one key.
fn range(stream: u32, key: &str) -> Vec<u8> {
    // POST, http; then names and values as they are.
    let mut head = vec![0x83, 0x86];
    let mut field = |name: &[u8], value: &str| {
        head.extend(name);
        head.push(u8::try_from(value.len()).expect("it is short"));
        head.extend(value.as_bytes());
    };
    field(&[4], "/etcdserverpb.KV/Range");
    field(&[1], "retcd");
    field(&[0x0f, 16], "application/grpc");
    field(&[0, 2, b't', b'e'], "trailers");
    let length = u8::try_from(key.len()).expect("it is short");
    let mut message = vec![0, 0, 0, 0, length + 2, 0x0a, length];
    message.extend(key.as_bytes());
    let mut frames = frame(HEADERS, 4, stream, &head);
    frames.extend(frame(DATA, 1, stream, &message));
    frames
}

#[test]
fn a_connection_whose_streams_take_nothing_has_its_part_and_no_more() {
    for window in [0, 1] {
        let (mut member, before) = member(1);
        member.allow("it takes nothing of a large answer");
        let mut stalled = http2(&member, window);
        for number in 0..600 {
            stalled.write_all(&range(2 * number + 1, "large0")).expect("the member reads");
        }
        others_are_answered_until_at_rest(&member);
        // A large one on another connection does not wait for those.
        let large = v3::post(&member, "kv/range", &json!({"key": v3::bytes("large0")}));
        assert_eq!(v3::text(&large["kvs"][0]["value"]).len(), VALUE_BYTES);
        stays_within(&member, before, PART + BESIDE);
        drop(stalled);
    }
}

#[test]
fn small_answers_that_wait_count_as_well() {
    let (mut member, before) = member(0);
    member.allow("it takes nothing of a large answer");
    v3::put(&member, "medium", &"x".repeat(60_000));
    // The window is full at once, and what is there beyond it waits in the member.
    let mut stalled = http2(&member, 1);
    for number in 0..6_000 {
        stalled.write_all(&range(2 * number + 1, "medium")).expect("the member reads");
    }
    others_are_answered_until_at_rest(&member);
    stays_within(&member, before, PART + BESIDE);
}
