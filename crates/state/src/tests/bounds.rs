//! How far reads go, and how large answers become.

use std::sync::atomic::Ordering;

use base::limits::{ANSWER_BYTES_MAX, ANSWER_SMALL_BYTES_MAX, ANSWER_SMALL_NAMES_MAX};
use mvcc::store::Larger;
use proto::etcdserverpb::{Compare, RangeRequest, response_op};

use super::*;
use crate::kv::{self, Most};

fn range(from: &str, to: &str) -> RangeRequest {
    RangeRequest {
        key: Bytes::copy_from_slice(from.as_bytes()),
        range_end: Bytes::copy_from_slice(to.as_bytes()),
        ..RangeRequest::default()
    }
}

/// Three small keys, a large one, and many without values.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    for key in ["/a", "/b", "/c"] {
        fixture.put(key.as_bytes(), "small");
    }
    fixture.put(b"/large", &"x".repeat(ANSWER_SMALL_BYTES_MAX + 1));
    for number in 0..=ANSWER_SMALL_NAMES_MAX {
        fixture.put(format!("n{number:05}").as_bytes(), "");
    }
    fixture
}

#[track_caller]
fn is_too_large<T: std::fmt::Debug>(read: impl Into<Result<T, kv::Error>>) {
    let read = read.into();
    assert!(matches!(read, Err(kv::Error::Refused(Refused::AnswerTooLarge))), "{read:?}");
}

#[test]
fn a_small_read_ends_where_it_would_be_a_large_one() {
    let fixture = fixture();
    let reader = fixture.state.reader();
    let small = |request: &RangeRequest| reader.range_up_to(request, Most::SMALL);
    assert_eq!(small(&range("/a", "/d")).unwrap().kvs.len(), 3);
    is_too_large(small(&range("/large", "")));
    is_too_large(small(&range("/a", "/z")));
    // Names count, whether they are told or not, and whether they live or not.
    let count = RangeRequest { count_only: true, ..range("n", "o") };
    is_too_large(small(&count));
    assert_eq!(small(&RangeRequest { key: "n00001".into(), ..count }).unwrap().count, 1_000);
    // One by value reads them all.
    let by_value = RangeRequest { sort_target: 4, sort_order: 1, ..range("/a", "/z") };
    is_too_large(small(&RangeRequest { keys_only: true, limit: 1, ..by_value }));

    let read = |ranges: &[RangeRequest]| {
        let ranges = ranges
            .iter()
            .map(|range| RequestOp { request: Some(Request::RequestRange(range.clone())) });
        let request = TxnRequest { success: ranges.collect(), ..TxnRequest::default() };
        reader.txn_up_to(&request, Most::SMALL)
    };
    assert_eq!(read(&[range("/a", "/d"), range("/b", "")]).unwrap().responses.len(), 2);
    is_too_large(read(&[range("/a", ""), range("/large", "")]));
    let half = RangeRequest { count_only: true, ..range("n", "n00600") };
    read(std::slice::from_ref(&half)).unwrap();
    is_too_large(read(&[half.clone(), half]));
    let compare = Compare { key: "n".into(), range_end: "o".into(), ..Compare::default() };
    let request = TxnRequest { compare: vec![compare], ..TxnRequest::default() };
    is_too_large(reader.txn_up_to(&request, Most::SMALL));
    reader.txn(&request).unwrap();
}

/// However many keys there are: 16 bytes for each would be a bound on them.
#[test]
fn a_scan_by_key_remembers_no_places() {
    let fixture = fixture();
    let names = ANSWER_SMALL_NAMES_MAX + 1;
    let store = fixture.store();
    let newest = store.revision();
    let all = range("n", "o");
    let scan = |request: &RangeRequest, places_max| {
        let scan = kv::Scan::new(&store, request, places_max).unwrap();
        assert_eq!(scan.count(), i64::try_from(names).unwrap());
        scan
    };
    let filtered = |min_mod_revision| RangeRequest { min_mod_revision, ..all.clone() };
    for sort_order in [0, 1, 2] {
        assert_eq!(scan(&RangeRequest { sort_order, ..all.clone() }, 0).bytes(), 0);
        assert_eq!(scan(&RangeRequest { sort_order, ..filtered(1) }, names - 1).bytes(), 0);
    }
    // What fits is looked for once.
    assert!(scan(&filtered(1), names).bytes() > 0);
    // What comes late is looked for in turns.
    let mut last = scan(&filtered(newest), 0);
    assert_eq!((last.next_pairs(1).unwrap(), last.is_done()), (vec![], false));
    let found = last.next_pairs(1).unwrap();
    assert_eq!((found.len(), found[0].mod_revision, last.is_done()), (1, newest, true));
    assert_eq!(last.next_pairs(1).unwrap(), []);
    // Any other order needs them, and is refused where they are too many.
    assert!(scan(&RangeRequest { sort_target: 3, ..all.clone() }, 0).bytes() > 0);
}

/// In a transaction too, where there are no pieces: what is in memory is what is wanted, and half as much
/// again, however many keys are looked at for it.
#[test]
fn who_wants_few_of_very_many_keys_gets_them_in_any_order() {
    let mut fixture = fixture();
    // As many places as there is room for.
    let most = Most::of(100 * size_of::<base::Revision>());
    let newest = fixture.store().revision();
    let all = RangeRequest { limit: 3, ..range("n", "o") };
    let ask = |fixture: &Fixture, request: &RangeRequest| {
        let reader = fixture.state.reader();
        let whole = reader.range_up_to(request, most);
        let success = vec![RequestOp { request: Some(Request::RequestRange(request.clone())) }];
        let txn = TxnRequest { success, ..TxnRequest::default() };
        let in_txn = reader.txn_up_to(&txn, most).map(|answer| {
            let response = answer.responses[0].response.clone();
            let Some(response_op::Response::ResponseRange(range)) = response else {
                unreachable!()
            };
            range
        });
        assert_eq!(format!("{whole:?}"), format!("{in_txn:?}"));
        whole
    };
    let keys = |request: &RangeRequest| {
        let answer = ask(&fixture, request).unwrap();
        assert_eq!((answer.more, answer.count), (true, 1_001), "{request:?}");
        answer.kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    for sort_target in 0..5 {
        let ascending = RangeRequest { sort_order: 1, sort_target, ..all.clone() };
        assert_eq!(keys(&ascending), ["n00000", "n00001", "n00002"], "{sort_target}");
        let descending = RangeRequest { sort_order: 2, sort_target, ..all.clone() };
        // What is alike stays in order of keys.
        let is_alike = [1, 4].contains(&sort_target);
        let expected =
            if is_alike { ["n00000", "n00001", "n00002"] } else { ["n01000", "n00999", "n00998"] };
        assert_eq!(keys(&descending), expected, "{sort_target}");
    }
    let late = RangeRequest { min_mod_revision: newest - 5, ..all.clone() };
    assert_eq!(keys(&late), ["n00995", "n00996", "n00997"]);
    let few = ask(&fixture, &RangeRequest { limit: 0, ..late }).unwrap();
    assert_eq!((few.kvs.len(), few.more, few.count), (6, false, 1_001));
    // Who wants more than that is refused, in whatever order.
    for (sort_order, sort_target) in [(0, 0), (1, 0), (2, 0), (2, 3), (0, 2)] {
        let many = RangeRequest { limit: 101, sort_order, sort_target, ..all.clone() };
        is_too_large(ask(&fixture, &many));
        is_too_large(ask(&fixture, &RangeRequest { limit: 0, ..many }));
    }
    // Of values only those count that may be wanted.
    for number in 0..20 {
        fixture.put(format!("v{number:02}").as_bytes(), &format!("{number:02}").repeat(100));
    }
    let by_value = RangeRequest { sort_order: 2, sort_target: 4, limit: 1, ..range("v", "w") };
    let answer = ask(&fixture, &by_value).unwrap();
    assert_eq!((answer.kvs[0].key.as_ref(), answer.more, answer.count), (&b"v19"[..], true, 20));
    is_too_large(ask(&fixture, &RangeRequest { keys_only: true, limit: 15, ..by_value }));
}

/// Own writes stand among what was there, and each key counts once, however it is walked.
#[test]
fn a_transaction_finds_what_it_has_written_in_any_order() {
    let mut fixture = Fixture::new();
    for number in 0..10 {
        fixture.put(format!("k{number}").as_bytes(), "before");
    }
    let main = fixture.store().revision() + 1;
    let asked = [
        // By key, from the end.
        (RangeRequest { sort_order: 2, limit: 2, ..range("k", "l") }, vec!["kx4", "kx3"], true),
        // Lately changed first; what is alike in order of keys.
        (
            RangeRequest { sort_order: 2, sort_target: 3, limit: 3, ..range("k", "l") },
            vec!["k5a", "k7", "kx1"],
            true,
        ),
        (
            RangeRequest { min_mod_revision: main, ..range("k", "l") },
            vec!["k5a", "k7", "kx1", "kx2", "kx3", "kx4"],
            false,
        ),
        (
            RangeRequest { max_mod_revision: main - 1, limit: 4, ..range("k", "l") },
            vec!["k0", "k1", "k2", "k4"],
            true,
        ),
    ];
    // In between, in the place of what was there, and behind it all.
    let written = ["k5a", "k7", "kx1", "kx2", "kx3", "kx4"];
    let puts = written.map(|key| Request::RequestPut(put(key.as_bytes(), "new")));
    let writes = puts.into_iter().chain([Request::RequestDeleteRange(delete(b"k3", b""))]);
    let reads = asked.iter().map(|(range, ..)| Request::RequestRange(range.clone()));
    let Ok(Reply::Txn(answer)) = fixture.v3(txn(writes.chain(reads).collect())) else {
        panic!("it is carried out")
    };
    for ((range, keys, more), response) in asked.iter().zip(&answer.responses[7..]) {
        let Some(response_op::Response::ResponseRange(found)) = &response.response else {
            unreachable!()
        };
        let told: Vec<_> = found.kvs.iter().map(|kv| kv.key.as_ref()).collect();
        let expected: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
        assert_eq!((told, found.more, found.count), (expected, *more, 14), "{range:?}");
    }
}

#[test]
fn a_node_with_a_large_value_is_not_read_unless_it_is_asked_for() {
    let fixture = fixture();
    let reader = fixture.state.reader();
    let get = |path: &'static str, most| reader.get_up_to(&path.into(), false, most).unwrap();
    let most = ANSWER_SMALL_BYTES_MAX;
    assert!(get("/a", most).is_ok());
    assert!(get("/", most).is_ok());
    assert_eq!(get("/large", most).unwrap_err(), Larger(most + 1));
    assert!(get("/large", most + 1).is_ok());
    let counted = reader.key_stats().gets_success.load(Ordering::Relaxed);
    assert_eq!(counted, 3, "who asks again is counted once");
}

#[test]
fn how_large_an_answer_becomes_is_known_before() {
    let mut fixture = fixture();
    let large = ANSWER_SMALL_BYTES_MAX + 1;
    let check = |fixture: &Fixture, op: Op, least: usize, most: usize| {
        let bytes = fixture.state.reader().answer_bytes(&op, usize::MAX).unwrap();
        assert!((least..=most).contains(&bytes), "{op:?}: {bytes}");
    };
    let delete = |prev_kv| DeleteRangeRequest { prev_kv, ..delete(b"/", b"0") };
    let read = |request| Request::RequestRange(request);
    check(&fixture, Op::Put(put(b"/large", "")), 0, 0);
    check(
        &fixture,
        Op::Put(PutRequest { prev_kv: true, ..put(b"/large", "") }),
        large,
        large + 500,
    );
    check(&fixture, Op::DeleteRange(delete(false)), 0, 0);
    check(&fixture, Op::DeleteRange(delete(true)), large, large + 1_000);
    check(&fixture, Op::Keys(set("/large", "12345")), large + 5, large + 500);
    check(&fixture, Op::Keys(set("/none", "12345")), 5, 500);
    check(&fixture, txn(vec![read(range("/a", "/d")); 2]), 6 * 5, 2_000);
    let deletes = txn(vec![Request::RequestDeleteRange(delete(true)); 2]);
    check(&fixture, deletes.clone(), 2 * large, 2 * large + 2_000);
    let Op::Txn(nested) = deletes else { unreachable!() };
    check(&fixture, txn(vec![Request::RequestTxn(nested)]), 2 * large, 2 * large + 2_000);
    let counts = RangeRequest { count_only: true, ..range("n", "o") };
    let limited = RangeRequest { limit: 2, ..range("/a", "0") };
    check(&fixture, txn(vec![read(counts.clone()), read(limited)]), 10, 1_000);
    let keys = RangeRequest { keys_only: true, ..range("/", "0") };
    check(&fixture, txn(vec![read(keys)]), 10, 1_000);
    // Not here: too many names.
    let reader = fixture.state.reader();
    is_too_large(reader.answer_bytes(&txn(vec![read(counts)]), ANSWER_SMALL_NAMES_MAX));
    // Nobody gets more than that.
    for number in 0..70 {
        fixture.put(format!("m{number}").as_bytes(), &"x".repeat(1 << 20));
    }
    let most = ANSWER_BYTES_MAX;
    check(&fixture, txn(vec![read(range("m", "n"))]), most, most);
}
