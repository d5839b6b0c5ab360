//! What a watch of v3 holds at once, and how long it keeps others from their turn.

#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else it is, it is wrong")]

use std::task::Waker;

use base::limits::{WATCH_FRAGMENT_BYTES, WATCH_MESSAGE_BYTES_MAX};
use bytes::Bytes;
use proto::{
    command::Op,
    etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
    mvccpb::{Event, event::EventType},
};

use super::{Fixture, delete};
use crate::kv::watch::{Next, Watch};

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
fn a_revision_of_much_is_told_in_parts_to_who_takes_them_and_else_as_a_whole() {
    const KEYS: usize = 60;
    const VALUE_BYTES: usize = 100_000;
    let f = deleted_at_once(KEYS, VALUE_BYTES);
    let last = f.store().revision();
    for fragment in [true, false] {
        let request =
            WatchCreateRequest { fragment, prev_kv: true, start_revision: last, ..request() };
        let mut watch = open(&f, &request);
        let (mut parts, mut events) = (0, Vec::new());
        let most = loop {
            match watch.next(&f.store()) {
                Next::Later => {}
                Next::Part(part, revision) => {
                    parts += 1;
                    assert_eq!(revision, last);
                    assert!(bytes(&part) <= WATCH_FRAGMENT_BYTES + 2 * VALUE_BYTES);
                    events.extend(part);
                }
                Next::Events(rest, revision) => {
                    assert_eq!(revision, last);
                    let most = bytes(&rest);
                    events.extend(rest);
                    break most;
                }
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(watch.next(&f.store()), Next::Nothing));
        assert_eq!(events.len(), KEYS);
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event.kv.as_ref().unwrap().key, format!("k{at:04}"));
            assert_eq!(event.prev_kv.as_ref().unwrap().value.len(), VALUE_BYTES);
        }
        assert_eq!(parts > 3, fragment, "{parts}");
        assert_eq!(most > KEYS * VALUE_BYTES, !fragment, "{most}");
    }
}

#[test]
fn more_than_a_message_may_be_ends_a_watch_unless_it_takes_fragments() {
    const VALUE_BYTES: usize = 1_400_000;
    let keys = WATCH_MESSAGE_BYTES_MAX / VALUE_BYTES + 2;
    let f = deleted_at_once(keys, VALUE_BYTES);
    for (prev_kv, fragment, fits) in
        [(true, false, false), (true, true, true), (false, false, true)]
    {
        let start_revision = f.store().revision();
        let mut watch =
            open(&f, &WatchCreateRequest { prev_kv, fragment, start_revision, ..request() });
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
        assert_eq!((told, ended), (if fits { keys } else { 0 }, !fits), "{prev_kv} {fragment}");
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
