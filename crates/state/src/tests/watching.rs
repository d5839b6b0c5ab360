//! What a watch of v3 holds at once, and how long it keeps others from their turn.

#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else it is, it is wrong")]

use std::task::Waker;

use base::limits::WATCH_FRAGMENT_BYTES;
use bytes::Bytes;
use proto::{
    Message as _,
    command::{Compact, Op},
    etcdserverpb::{WatchCreateRequest, WatchResponse, watch_create_request::FilterType},
    mvccpb::{Event, event::EventType},
};

use super::{Fixture, Request, delete, put, txn};
use crate::kv::watch::{Bounds, Large, Next, Watch};

/// All keys that begin with `k`, from the beginning.
fn request() -> WatchCreateRequest {
    let (key, range_end) = (Bytes::from_static(b"k"), Bytes::from_static(b"l"));
    WatchCreateRequest { key, range_end, start_revision: 1, ..WatchCreateRequest::default() }
}

fn open(f: &Fixture, request: &WatchCreateRequest) -> Watch {
    Watch::new(&f.store(), request, Waker::noop().clone()).unwrap()
}

/// So many keys with values of so many bytes, all deleted at one revision.
fn deleted_at_once(keys: usize, value_bytes: usize) -> Fixture {
    let mut f = Fixture::new();
    let value = "v".repeat(value_bytes);
    for at in 0..keys {
        f.put(format!("k{at:04}").as_bytes(), &value);
    }
    f.v3(Op::DeleteRange(delete(b"k", b"l"))).unwrap();
    f
}

fn bytes(events: &[Event]) -> usize {
    let pairs = events.iter().flat_map(|event| [&event.kv, &event.prev_kv]).flatten();
    pairs.map(|kv| kv.key.len() + kv.value.len()).sum()
}

#[test]
fn a_revision_of_much_is_told_in_parts_to_who_takes_them_and_else_while_it_is_read() {
    const KEYS: usize = 60;
    const VALUE_BYTES: usize = 100_000;
    let f = deleted_at_once(KEYS, VALUE_BYTES);
    let last = f.store().revision();
    for fragment in [true, false] {
        let request =
            WatchCreateRequest { fragment, prev_kv: true, start_revision: last, ..request() };
        let mut watch = open(&f, &request);
        let (mut parts, mut events) = (0, Vec::new());
        loop {
            match watch.next(&f.store()) {
                Next::Later => {}
                Next::Part(part, revision) => {
                    parts += 1;
                    assert_eq!(revision, last);
                    assert!(bytes(&part) <= WATCH_FRAGMENT_BYTES + 2 * VALUE_BYTES);
                    events.extend(part);
                }
                Next::Events(rest, revision) => {
                    assert_eq!((revision, fragment), (last, true));
                    events.extend(rest);
                    break;
                }
                Next::Large(mut large, revision) => {
                    assert_eq!((revision, fragment), (last, false));
                    assert_eq!(large.events(), KEYS);
                    assert!(large.bytes_held() < 2 * WATCH_FRAGMENT_BYTES);
                    let told = large.bytes();
                    events = all_of(&mut large, 2 * VALUE_BYTES);
                    let answer = WatchResponse { events, ..WatchResponse::default() };
                    assert_eq!(told, answer.encoded_len() as u64);
                    events = answer.events;
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(watch.next(&f.store()), Next::Nothing));
        assert_eq!(events.len(), KEYS);
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event.kv.as_ref().unwrap().key, format!("k{at:04}"));
            assert_eq!(event.prev_kv.as_ref().unwrap().value.len(), VALUE_BYTES);
        }
        assert_eq!(parts > 3, fragment, "{parts}");
    }
}

/// In pieces of so many bytes.
fn all_of(large: &mut Large, piece_bytes: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut pieces = 0;
    loop {
        let next = large.next_events(piece_bytes).unwrap();
        // What was gathered before it was known to be large comes at once.
        assert!(pieces == 0 || bytes(&next) < 2 * piece_bytes);
        if next.is_empty() {
            return events;
        }
        events.extend(next);
        pieces += 1;
    }
}

/// What is told of a revision that is measured first is what is told of it in parts: puts, deletions, and
/// keys that are new; also once compaction has come so far.
#[test]
fn what_is_told_while_it_is_read_is_what_parts_tell() {
    let mut f = Fixture::new();
    let value = "v".repeat(1_000);
    for at in 0..2_000 {
        f.put(format!("k{at:04}").as_bytes(), &value);
    }
    let puts =
        (1_990..2_010).map(|at| Request::RequestPut(put(format!("k{at:04}").as_bytes(), &value)));
    let delete = Request::RequestDeleteRange(delete(b"k", b"k1990"));
    f.v3(txn(puts.chain([delete]).collect())).unwrap();
    let last = f.store().revision();
    let tell = |f: &Fixture, fragment, prev_kv| {
        let request = WatchCreateRequest { fragment, prev_kv, start_revision: last, ..request() };
        let mut watch = open(f, &request);
        let (mut all, mut is_large) = (Vec::new(), false);
        loop {
            match watch.next(&f.store()) {
                Next::Later => {}
                Next::Events(events, _) | Next::Part(events, _) => all.extend(events),
                Next::Large(mut large, _) => {
                    is_large = true;
                    let told = large.bytes();
                    let events = all_of(&mut large, 1_000);
                    let answer = WatchResponse { events, ..WatchResponse::default() };
                    assert_eq!(told, answer.encoded_len() as u64);
                    all = answer.events;
                }
                Next::Nothing => return (all, is_large),
                other => panic!("{other:?}"),
            }
        }
    };
    let (parts, _) = tell(&f, true, true);
    assert_eq!(parts.len(), 2_010);
    assert_eq!(tell(&f, false, true), (parts, true));
    f.apply(Op::Compact(Compact { revision: last }));
    let (parts, _) = tell(&f, true, true);
    assert!(parts.iter().all(|event| event.prev_kv.is_none()));
    assert_eq!(tell(&f, false, true).0, parts);
}

#[test]
fn more_than_a_message_may_be_ends_a_watch_unless_it_takes_fragments() {
    const KEYS: usize = 20;
    let f = deleted_at_once(KEYS, 100_000);
    for (prev_kv, fragment, fits) in
        [(true, false, false), (true, true, true), (false, false, true)]
    {
        let start_revision = f.store().revision();
        let request = WatchCreateRequest { prev_kv, fragment, start_revision, ..request() };
        let bounds = Bounds { message_bytes: 1_500_000, ..Bounds::default() };
        let mut watch = open(&f, &request).within(bounds);
        let (mut told, mut ended) = (0, false);
        loop {
            match watch.next(&f.store()) {
                Next::Later => {}
                Next::Events(events, _) | Next::Part(events, _) => told += events.len(),
                Next::TooLarge => {
                    ended = true;
                    break;
                }
                Next::Nothing => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((told, ended), (if fits { KEYS } else { 0 }, !fits), "{prev_kv} {fragment}");
    }
}

#[test]
fn a_watch_that_wants_nothing_of_what_it_finds_lets_others_have_their_turn() {
    let check = |puts: usize, value_bytes: usize, turns_min: usize| {
        let mut f = Fixture::new();
        let value = "v".repeat(value_bytes);
        for _ in 0..puts {
            f.put(b"k", &value);
        }
        f.delete(b"k");
        let filters = vec![FilterType::Noput.into()];
        let mut watch = open(&f, &WatchCreateRequest { filters, ..request() });
        let mut turns = 0;
        let events = loop {
            match watch.next(&f.store()) {
                Next::Later => turns += 1,
                Next::Events(events, _) => break events,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].r#type(), EventType::Delete);
        assert!(turns >= turns_min, "{turns} turns for {puts} puts of {value_bytes} bytes");
    };
    check(5_000, 1, 4);
    check(60, 100_000, 4);
}
