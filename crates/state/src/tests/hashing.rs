//! `HashKV`: what etcd 3.6.0 and 3.4.23 have said of the same history.

use mvcc::KeysHash;
use proto::{
    command::Compact,
    etcdserverpb::{CompactionRequest, LeaseRevokeRequest},
};

use super::*;

fn hash(fixture: &Fixture, revision: i64) -> KeysHash {
    let mut hashing = fixture.store().hash(revision).unwrap();
    loop {
        if let Some(hash) = hashing.step(2).unwrap() {
            return hash;
        }
    }
}

/// The writes of `etcdctl-v3.jsonl`, in which `endpoint hashkv` was recorded.
fn recorded() -> Vec<Op> {
    let puts = |puts: &[(&str, &str)]| -> Vec<Op> {
        puts.iter().map(|(key, value)| Op::Put(put(key.as_bytes(), value))).collect()
    };
    let mut ops = puts(&[
        ("foo", "bar"),
        ("a", "stdin value"),
        ("foo1", "bar1"),
        ("foo2", "bar2"),
        ("foo3", "bar3"),
        ("foo", "bar"),
        ("foo", "x"),
        ("newkey", "v"),
    ]);
    ops.push(Op::Put(PutRequest { ignore_value: true, ..put(b"foo", "") }));
    ops.extend(puts(&[("-dash", "value")]));
    for (key, range_end) in [("foo", ""), ("foo1", ""), ("foo2", "foo4"), ("\0", "\0")] {
        ops.push(Op::DeleteRange(delete(key.as_bytes(), range_end.as_bytes())));
    }
    ops.extend(puts(&[("k1", "v1"), ("k1", "v2"), ("k1", "v3")]));
    ops.push(txn(vec![Request::RequestPut(put(b"r1", "success"))]));
    ops.push(txn(vec![Request::RequestPut(put(b"r2", "fail"))]));
    ops.push(txn(vec![
        Request::RequestPut(put(b"k9", "v")),
        Request::RequestDeleteRange(delete(b"r1", b"")),
    ]));
    ops
}

#[test]
fn a_history_has_the_hash_that_etcd_has_of_it() {
    let mut fixture = Fixture::new();
    for op in recorded() {
        fixture.apply(op);
    }
    assert_eq!(fixture.store().revision(), 21);
    fixture.apply(Op::Compact(Compact { revision: 5 }));
    fixture.apply(Op::Compact(Compact { revision: 8 }));
    let expected = |hash, revision| KeysHash { hash, compacted: 8, revision, current: 21 };
    // Whether what is compacted was removed or not.
    for _ in 0..2 {
        assert_eq!(hash(&fixture, 0), expected(152_678_805, 21));
        assert_eq!(hash(&fixture, 12), expected(2_469_103_125, 12));
        while fixture.state.compact_step(1).unwrap() {}
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// The command of a recorded request.
fn request(kind: &str, digits: &str) -> Op {
    fn decode<M: proto::Message + Default>(bytes: &[u8]) -> M {
        M::decode(bytes).unwrap()
    }
    let message = bytes(digits);
    match kind {
        "Put" => Op::Put(decode(&message)),
        "DeleteRange" => Op::DeleteRange(decode(&message)),
        "Txn" => Op::Txn(decode(&message)),
        "LeaseGrant" => Op::LeaseGrant(decode(&message)),
        "LeaseRevoke" => {
            let LeaseRevokeRequest { id } = decode(&message);
            Op::LeaseRevoke(LeaseRevoke { id, ..LeaseRevoke::default() })
        }
        "Compact" => {
            let CompactionRequest { revision, .. } = decode(&message);
            Op::Compact(Compact { revision })
        }
        _ => panic!("what is {kind}?"),
    }
}

#[test]
fn random_histories_have_the_hashes_that_etcd_has_of_them() {
    let mut fixture = Fixture::new();
    let mut compared = 0;
    for line in include_str!("../../testdata/hashkv.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", ..] => {}
            ["New"] => fixture = Fixture::new(),
            ["Hash", revision, expected, compacted] => {
                let found = hash(&fixture, revision.parse().unwrap());
                let found = (found.hash.to_string(), found.compacted.to_string());
                assert_eq!(found, (expected.to_owned(), compacted.to_owned()), "at {revision}");
                compared += 1;
            }
            // All of them were taken.
            [kind, digits] => {
                let outcome = fixture.apply(request(kind, digits));
                assert!(matches!(outcome.response, Response::V3(Ok(_))), "{line}: {outcome:?}");
            }
            [kind] => drop(fixture.apply(request(kind, ""))),
            _ => panic!("what is {line:?}?"),
        }
    }
    assert!(compared > 100, "{compared}");
}

/// As etcd has it: what a compaction hashes is what was there before it.
#[test]
fn a_compaction_leaves_the_hash_of_what_it_has_seen() {
    let mut fixture = Fixture::new();
    fixture.state.hash_compactions(true);
    let mut seen = Vec::new();
    for line in include_str!("../../testdata/hashkv.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind @ ("Put" | "DeleteRange" | "Txn" | "LeaseGrant" | "LeaseRevoke"), digits] =
            words[..]
        else {
            continue;
        };
        fixture.apply(request(kind, digits));
        let revision = fixture.store().revision();
        if fixture.entry.is_multiple_of(10) && revision > fixture.store().compacted() {
            seen.push(hash(&fixture, revision));
            fixture.apply(Op::Compact(Compact { revision }));
            while fixture.state.compact_step(3).unwrap() {}
            assert_eq!(hash(&fixture, revision), *seen.last().unwrap());
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
    let kept = fixture.store().hashes();
    assert_eq!(kept, seen[seen.len() - 10..]);
    // One that does not see all leaves none.
    let revision = fixture.store().revision() + 1;
    fixture.put(b"a", "1");
    fixture.apply(Op::Compact(Compact { revision }));
    fixture.state.compact_step(1).unwrap();
    fixture = fixture.reopen();
    fixture.state.hash_compactions(true);
    while fixture.state.compact_step(3).unwrap() {}
    assert_eq!(fixture.store().hashes(), []);
}
