//! The form of requests.

use bytes::Bytes;
use proptest::prelude::*;
use proto::{
    Message as _,
    command::{Command, Op},
    etcdserverpb::Compare,
};

use super::*;

fn put_of(key: &'static str) -> Request {
    Request::RequestPut(PutRequest { key: key.into(), ..PutRequest::default() })
}

fn delete(key: &'static str, range_end: &'static str) -> Request {
    let (key, range_end) = (key.into(), range_end.into());
    Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false })
}

fn ops(requests: Vec<Request>) -> Vec<RequestOp> {
    requests.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
}

fn nested(success: Vec<Request>, failure: Vec<Request>) -> Request {
    let (success, failure) = (ops(success), ops(failure));
    Request::RequestTxn(TxnRequest { compare: Vec::new(), success, failure })
}

fn check(requests: Vec<Request>) -> Result<(), Refused> {
    let request = TxnRequest { success: ops(requests), ..TxnRequest::default() };
    let mirrored = TxnRequest { failure: request.success.clone(), ..TxnRequest::default() };
    let result = txn(&request, 128);
    assert_eq!(result, txn(&mirrored, 128), "the other branch");
    result
}

#[test]
fn a_key_is_put_once_and_not_deleted_too() {
    let refused = [
        vec![put_of("a"), put_of("a")],
        vec![delete("a", ""), put_of("a")],
        vec![put_of("b"), delete("a", "c")],
        vec![nested(vec![put_of("a")], vec![]), put_of("a")],
        vec![nested(vec![], vec![put_of("a")]), nested(vec![put_of("a")], vec![])],
        vec![nested(vec![delete("a", "b")], vec![]), put_of("a1")],
        vec![delete("a", "b"), nested(vec![], vec![put_of("a1")])],
        vec![nested(vec![delete("a", "")], vec![]), nested(vec![put_of("a")], vec![])],
        vec![nested(vec![nested(vec![put_of("a")], vec![])], vec![]), put_of("a")],
        vec![nested(vec![put_of("a"), put_of("a")], vec![])],
    ];
    for requests in refused {
        assert_eq!(check(requests.clone()), Err(Refused::DuplicateKey), "{requests:?}");
    }
    let taken = [
        vec![put_of("a"), put_of("b"), delete("c", "d"), put_of("d")],
        vec![delete("a", "c"), delete("b", ""), delete("a", "\0")],
        // One of them is carried out.
        vec![nested(vec![put_of("a")], vec![put_of("a")])],
        vec![nested(vec![put_of("a")], vec![delete("a", "b")])],
        // As in etcd: a nested one is not held against those that follow it.
        vec![nested(vec![put_of("a")], vec![]), nested(vec![delete("a", "")], vec![])],
        vec![delete("b", "a"), put_of("a"), put_of("b")],
    ];
    for requests in taken {
        assert_eq!(check(requests.clone()), Ok(()), "{requests:?}");
    }
}

/// What the original lets pass, and then every member panics.
#[test]
fn a_deletion_to_the_end_of_all_keys_covers_them() {
    assert_eq!(check(vec![delete("a", "\0"), put_of("b")]), Err(Refused::DuplicateKey));
    assert_eq!(check(vec![delete("b", "\0"), put_of("a")]), Ok(()));
    let requests = vec![nested(vec![delete("\0", "\0")], vec![]), put_of("a")];
    assert_eq!(check(requests), Err(Refused::DuplicateKey));
}

#[test]
fn operations_are_bounded_all_levels_together() {
    let reads = |count| {
        vec![
            Request::RequestRange(RangeRequest { key: "a".into(), ..RangeRequest::default() });
            count
        ]
    };
    let check =
        |requests, max| txn(&TxnRequest { success: ops(requests), ..TxnRequest::default() }, max);
    assert_eq!(check(reads(3), 3), Ok(()));
    assert_eq!(check(reads(4), 3), Err(Refused::TooManyOps));
    assert_eq!(check(vec![nested(reads(2), vec![])], 3), Ok(()));
    assert_eq!(check(vec![nested(reads(3), vec![])], 3), Err(Refused::TooManyOps));
    let compare = vec![Compare { key: "a".into(), ..Compare::default() }; 4];
    let request = TxnRequest { compare, ..TxnRequest::default() };
    assert_eq!(txn(&request, 3), Err(Refused::TooManyOps));
    assert_eq!(txn(&request, 4), Ok(()));
}

/// Whatever passes can be read back from the log: no member may stop at it.
#[test]
fn the_deepest_transaction_that_passes_is_a_command() {
    let mut request = TxnRequest { success: ops(vec![put_of("a")]), ..TxnRequest::default() };
    let mut depth = 1;
    while txn(&request, usize::MAX).is_ok() {
        let op = Some(Op::Txn(request.clone()));
        let bytes = Command { format: 1, op, ..Command::default() }.encode_to_vec();
        Command::decode(bytes.as_slice()).unwrap_or_else(|error| panic!("depth {depth}: {error}"));
        let success = ops(vec![Request::RequestTxn(request)]);
        request = TxnRequest { success, ..TxnRequest::default() };
        depth += 1;
    }
    assert_eq!(depth, TXN_DEPTH_MAX + 1);
    assert_eq!(txn(&request, usize::MAX), Err(Refused::TooManyOps));
}

#[test]
fn parts_are_checked_wherever_they_stand() {
    let empty = || nested(vec![put_of("")], vec![]);
    assert_eq!(check(vec![empty()]), Err(Refused::EmptyKey));
    assert_eq!(check(vec![delete("", "b")]), Err(Refused::EmptyKey));
    let sort = RangeRequest { key: "a".into(), sort_target: 5, ..RangeRequest::default() };
    let order = RangeRequest { key: "a".into(), sort_order: -1, ..RangeRequest::default() };
    for request in [sort, order] {
        assert_eq!(range(&request), Err(Refused::InvalidSortOption));
        assert_eq!(
            check(vec![nested(vec![], vec![Request::RequestRange(request)])]),
            Err(Refused::InvalidSortOption)
        );
    }
    let request = PutRequest {
        ignore_value: true,
        value: "v".into(),
        key: "a".into(),
        ..PutRequest::default()
    };
    assert_eq!(put(&request), Err(Refused::ValueProvided));
    let request =
        PutRequest { ignore_lease: true, lease: 1, key: "a".into(), ..PutRequest::default() };
    assert_eq!(put(&request), Err(Refused::LeaseProvided));
    let nothing = TxnRequest { success: vec![RequestOp::default()], ..TxnRequest::default() };
    assert_eq!(txn(&nothing, 128), Err(Refused::KeyNotFound));
}

#[test]
fn a_stream_is_in_order_of_keys_and_whole() {
    let plain = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    assert_eq!(range_stream(&plain), Ok(()));
    assert_eq!(range_stream(&RangeRequest { sort_order: 1, ..plain.clone() }), Ok(()));
    // A target without an order is let pass, as in 3.7.
    assert_eq!(range_stream(&RangeRequest { sort_target: 1, ..plain.clone() }), Ok(()));
    let sorted = [(2, 0), (1, 1), (2, 4)];
    for (sort_order, sort_target) in sorted {
        let request = RangeRequest { sort_order, sort_target, ..plain.clone() };
        assert_eq!(range_stream(&request), Err(Refused::StreamSorted));
    }
    let request = RangeRequest { max_create_revision: 1, ..plain };
    assert_eq!(range_stream(&request), Err(Refused::StreamFiltered));
}

proptest! {
    /// Ranges of deleted keys, put together, against one by one.
    #[test]
    fn a_set_of_ranges_holds_what_one_of_them_holds(
        ranges in proptest::collection::vec(("[a-d]{1,2}", "[a-d]{0,2}|\0"), 0..8),
        keys in proptest::collection::vec("[a-d\0]{1,3}", 1..20),
    ) {
        let deletions: Vec<_> = ranges
            .iter()
            .map(|(key, range_end)| DeleteRangeRequest {
                key: Bytes::from(key.clone()),
                range_end: Bytes::from(range_end.clone()),
                prev_kv: false,
            })
            .collect();
        let mut deleted = Deleted::default();
        for deletion in &deletions {
            deleted.add(deletion);
        }
        for key in keys {
            let covers = |(from, to): &(String, String)| match to.as_str() {
                "" => key == *from,
                "\0" => key >= *from,
                to => key >= *from && key.as_str() < to,
            };
            let expected = ranges.iter().any(covers);
            prop_assert_eq!(deleted.contains(key.as_bytes()), expected, "{:?}", key);
        }
    }
}
