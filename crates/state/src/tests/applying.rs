//! One entry after another: what is refused, what is kept, and that members agree.

use backend::Table;
use base::limits;
use proptest::prelude::*;
use proto::{
    command::{Compact, Expire, Publish},
    etcdserverpb::RangeRequest,
};

use super::{model::requests, *};
use crate::apply::membership_change::Change;

/// All that is replicated; what the backend notes for itself begins with a zero byte.
fn tables(fixture: &Fixture) -> Vec<(Table, Bytes, Bytes)> {
    let mut all = Vec::new();
    for table in [Table::Records, Table::Values, Table::Meta] {
        for (key, value) in fixture.backend.scan(table, b"", None, usize::MAX).unwrap() {
            if table != Table::Meta || !key.starts_with(b"\0") {
                all.push((table, key, value));
            }
        }
    }
    all
}

fn assert_same(one: &Fixture, other: &Fixture) {
    let (one, other) = (tables(one), tables(other));
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one, other);
    }
    assert_eq!(one.len(), other.len());
}

/// A bit of everything, the same at each call.
fn commands() -> Vec<Op> {
    let mut ops =
        vec![Op::Publish(Publish { member: 1, name: "one".into(), ..Publish::default() })];
    for step in 0..200_i64 {
        let path = format!("/{}/{}", step % 3, step % 11);
        let expiry = (step % 5 == 0).then(|| time(step).0);
        ops.push(match step % 9 {
            0 => Op::Keys(KeysWrite { expiry, ..mkdir(&path) }),
            1 => Op::Keys(remove(&path, true)),
            2 => Op::Keys(request(KeysMethod::CreateInOrder, "/q")),
            3 => Op::Expire(Expire { up_to: time(step - 20).0, nodes_max: 2 }),
            4 => Op::Compact(Compact { revision: step / 2 }),
            _ => Op::Keys(KeysWrite {
                expiry,
                ..set(&path, &"v".repeat(usize::try_from(step * 20).unwrap()))
            }),
        });
    }
    ops
}

#[test]
fn the_same_entries_make_the_same_bytes() {
    let (mut steady, mut shaken) = (Fixture::new(), Fixture::new());
    for (at, op) in commands().into_iter().enumerate() {
        let one = format!("{:?}", steady.apply(op.clone()));
        let other = format!("{:?}", shaken.apply(op));
        assert_eq!(one, other);
        // When a member flushes, and how often it starts, is its own affair.
        if at % 7 == 0 {
            shaken.backend.flush().unwrap();
        }
        if at % 50 == 0 {
            shaken = shaken.reopen();
        }
    }
    assert_same(&steady, &shaken);
    // So is when it removes what is compacted, once it has.
    for fixture in [&mut steady, &mut shaken] {
        while fixture.state.compact_step(13).unwrap() {}
    }
    assert_same(&steady, &shaken);
    assert!(steady.store().revision() > 100);
}

#[test]
fn after_a_crash_the_entries_since_are_applied_once_more() {
    let mut fixture = Fixture::new();
    let ops = commands();
    let mut reference = Fixture::new();
    for op in &ops {
        reference.apply(op.clone());
    }
    for op in &ops[..120] {
        fixture.apply(op.clone());
        if fixture.entry == 70 {
            fixture.flush();
        }
    }
    let disk = fixture.disk.clone();
    disk.crash();
    drop(fixture);
    let mut fixture = Fixture::open(disk);
    assert_eq!(fixture.state.applied().index, Index(70));
    for op in &ops[70..] {
        fixture.apply(op.clone());
    }
    assert_same(&fixture, &reference);
}

#[test]
fn an_empty_entry_moves_nothing_but_applied() {
    let mut fixture = Fixture::new();
    let before = tables(&fixture);
    let at = fixture.next();
    let outcome = fixture.state.apply(at, b"").unwrap();
    assert_eq!((outcome.id, outcome.commits.len()), (0, 0));
    assert_eq!(fixture.state.applied(), at);
    assert_eq!(tables(&fixture), before);
}

#[test]
fn an_entry_is_not_applied_twice() {
    let mut fixture = Fixture::new();
    fixture.write(set("/a", "1")).unwrap();
    fixture.write(set("/a", "2")).unwrap();
    for entry in [1, 2] {
        fixture.entry = entry - 1;
        let fatal = fixture.try_apply(Op::Keys(set("/a", "3"))).unwrap_err();
        assert!(matches!(fatal, Fatal::Again { index, applied: 2 } if index == entry), "{fatal}");
        let at = Applied { index: Index(entry), term: Term(1) };
        let fatal = fixture.state.apply_conf_change(
            at,
            base::ClusterId(9),
            Some(Change::Remove(base::MemberId(1))),
            "".into(),
        );
        assert!(matches!(fatal, Err(Fatal::Again { .. })));
    }
    assert_eq!(fixture.get("/a").unwrap().value, Some("2".into()));
}

#[test]
fn what_this_build_does_not_know_stops_the_member() {
    let encode = |format, op| Command { format, id: 1, op, by: None }.encode_to_vec();
    let newer = encode(3, Some(Op::Keys(set("/a", "1"))));
    let method = KeysWrite { method: 99, ..set("/a", "1") };
    let cases = [
        (newer, "entry 1: its command has format 3, newer than this build knows ("),
        (
            encode(1, None),
            "entry 1: its command cannot be decoded: no operation that this build knows",
        ),
        (b"\xff\xff\xff".to_vec(), "entry 1: its command cannot be decoded"),
        (encode(1, Some(Op::Keys(method))), "entry 1: its command cannot be decoded"),
    ];
    for (command, text) in cases {
        let mut fixture = Fixture::new();
        let at = fixture.next();
        let fatal = fixture.state.apply(at, &command).unwrap_err().to_string();
        assert!(fatal.starts_with(text), "{fatal}");
        assert_eq!(fixture.state.applied().index, Index(0), "nothing was applied");
    }
}

#[test]
fn a_path_that_is_not_clean_is_refused_and_changes_nothing() {
    let mut fixture = Fixture::new();
    for path in [&b""[..], b"a", b"/a/", b"//", b"/a/../b", b"/\xff"] {
        let path = Bytes::copy_from_slice(path);
        let failure = fixture.write(KeysWrite { path, ..set("/", "1") }).unwrap_err();
        assert_eq!((failure.code.number(), failure.index), (210, 1));
    }
    assert_eq!(fixture.store().revision(), 1);
}

#[test]
fn an_outcome_carries_the_id_of_its_proposal() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.apply(Op::Keys(set("/a", "1"))).id, 7);
}

#[test]
fn the_first_v2_write_is_remembered() {
    let mut fixture = Fixture::new();
    let flag = |fixture: &Fixture| {
        fixture.backend.get(Table::Meta, b"mvcc.numbered_from").unwrap().is_some()
    };
    fixture.put(b"/a", "1");
    fixture.write(remove("/none", true)).unwrap_err();
    assert!(!flag(&fixture), "nothing was written through v2");
    fixture.write(set("/b", "1")).unwrap();
    assert!(flag(&fixture));
    assert!(flag(&fixture.reopen()));
}

#[test]
fn a_compaction_is_due_once_history_has_outgrown_a_quarter_of_the_quota() {
    let mut fixture = Fixture::new();
    let reader = fixture.state.reader();
    let kept = limits::HISTORY_REVISIONS_KEPT;
    for _ in 0..kept + 1_100 {
        fixture.write(set("/a", "0123456789")).unwrap();
    }
    let history = reader.store().usage().history_bytes;
    assert_eq!(reader.compaction_due(4 * history), None, "just within");
    let due = reader.compaction_due(4 * history - 4).unwrap();
    assert_eq!(due, reader.store().revision() - kept);
    fixture.apply(Op::Compact(Compact { revision: due }));
    assert_eq!(reader.compaction_due(0), None, "what is kept is kept");
    for _ in 0..1_000 {
        assert_eq!(reader.compaction_due(0), None, "not at every write");
        fixture.write(set("/a", "0")).unwrap();
    }
    assert_eq!(reader.compaction_due(0), None, "the last one is still at work");
    while fixture.state.compact_step(1_000).unwrap() {}
    assert!(reader.compaction_due(0).is_some());
}

#[test]
fn reads_count_where_they_are_served() {
    use std::sync::atomic::Ordering::Relaxed;

    let mut fixture = Fixture::new();
    fixture.write(set("/a", "1")).unwrap();
    let reader = fixture.state.reader();
    for path in ["/a", "/", "/none", "/a/b", "/none"] {
        drop(reader.get(&Bytes::from_static(path.as_bytes()), false));
    }
    let stats = reader.key_stats();
    assert_eq!((stats.gets_success.load(Relaxed), stats.gets_fail.load(Relaxed)), (2, 3));
}

/// Makes of a request what no client sends, and no API lets pass.
#[allow(clippy::wildcard_enum_match_arm, reason = "the others are none of v3's")]
fn distort(op: &mut Op, number: i32) {
    let distort_range = |range: &mut RangeRequest| {
        (range.sort_order, range.sort_target) = (number, number.wrapping_mul(7));
        (range.limit, range.min_mod_revision) = (i64::from(number) << 31, i64::from(number));
        range.key = Bytes::new();
    };
    match op {
        Op::Put(put) => {
            put.key = Bytes::new();
            (put.ignore_value, put.ignore_lease) = (number % 2 == 0, number % 3 == 0);
        }
        Op::DeleteRange(delete) => delete.key = Bytes::new(),
        Op::Txn(txn) => {
            for compare in &mut txn.compare {
                (compare.result, compare.target) = (number, number.wrapping_mul(3));
                compare.key = Bytes::new();
            }
            for op in txn.success.iter_mut().chain(&mut txn.failure) {
                match &mut op.request {
                    Some(Request::RequestRange(range)) => distort_range(range),
                    Some(Request::RequestPut(put)) => put.ignore_lease = true,
                    Some(Request::RequestTxn(nested)) => {
                        let mut inner = Op::Txn(nested.clone());
                        distort(&mut inner, number);
                        if let Op::Txn(inner) = inner {
                            *nested = inner;
                        }
                    }
                    Some(Request::RequestDeleteRange(_)) | None => op.request = None,
                }
            }
        }
        Op::LeaseGrant(grant) => (grant.id, grant.ttl) = (i64::from(number), -i64::from(number)),
        Op::LeaseCheckpoint(checkpoint) => {
            for note in &mut checkpoint.notes {
                note.remaining = i64::from(number) << 32;
            }
        }
        Op::Alarm(alarm) => (alarm.action, alarm.alarm) = (number, number.wrapping_mul(5)),
        Op::Compact(compact) => compact.revision = i64::from(number),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Each member is opened and flushed at times of its own.
    #[test]
    fn whatever_stands_in_the_log_no_member_stops_and_all_do_the_same(
        ops in proptest::collection::vec((requests::op(), any::<i32>(), any::<u8>()), 1..60),
    ) {
        let (mut one, mut other) = (Fixture::new(), Fixture::new());
        for (mut op, number, how) in ops {
            if how % 3 == 0 {
                distort(&mut op, number % 100);
            }
            let outcome = format!("{:?}", one.apply(op.clone()));
            prop_assert_eq!(outcome, format!("{:?}", other.apply(op)));
            if how % 16 == 1 {
                other = other.reopen();
            }
            while how % 8 == 1 && one.state.compact_step(2).unwrap() {}
        }
        for fixture in [&mut one, &mut other] {
            while fixture.state.compact_step(100).unwrap() {}
        }
        assert_same(&one, &other);
    }
}
