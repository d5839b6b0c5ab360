//! Random requests of v3: well-formed ones and others.

use proptest::{collection::vec, sample::select};
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, compare::TargetUnion,
    request_op::Request,
};

use super::*;

fn key() -> impl Strategy<Value = Bytes> {
    let keys: Vec<&'static str> = PATHS.iter().chain(&NAMES).copied().skip(1).collect();
    select(keys).prop_map(Bytes::from)
}

fn keys() -> impl Strategy<Value = (Bytes, Bytes)> {
    let range_end = prop_oneof![
        6 => Just(Bytes::new()),
        2 => Just(Bytes::from_static(b"\0")),
        2 => key(),
        1 => select(&["/a0", "/b0", "0", "/a/b0"][..]).prop_map(Bytes::from),
    ];
    (prop_oneof![8 => key(), 1 => Just(Bytes::from_static(b"\0"))], range_end)
}

fn put() -> impl Strategy<Value = PutRequest> {
    let lease = select(&[0_i64, 0, 0, 1, 1, 2, 3][..]);
    let flag = || proptest::bool::weighted(0.15);
    (key(), select(&VALUES[..]), lease, any::<bool>(), flag(), flag()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| {
            let value = if ignore_value { "" } else { value };
            let lease = if ignore_lease { 0 } else { lease };
            PutRequest { key, value: value.into(), lease, prev_kv, ignore_value, ignore_lease }
        },
    )
}

fn delete_range() -> impl Strategy<Value = DeleteRangeRequest> {
    (keys(), any::<bool>()).prop_map(|((key, range_end), prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

pub(super) fn range() -> impl Strategy<Value = RangeRequest> {
    let revision = prop_oneof![6 => Just(0), 1 => -3..0_i64, 3 => 1..20_i64];
    let bound = || prop_oneof![8 => Just(0), 1 => 1..12_i64];
    let order = prop_oneof![4 => Just((0, 0)), 3 => (0..3, 0..5)];
    let flags = (proptest::bool::weighted(0.2), proptest::bool::weighted(0.1));
    (
        keys(),
        select(&[0_i64, 0, 1, 2, -1, i64::MAX][..]),
        revision,
        order,
        flags,
        [bound(), bound(), bound(), bound()],
    )
        .prop_map(|(keys, limit, revision, order, flags, bounds)| RangeRequest {
            key: keys.0,
            range_end: keys.1,
            limit,
            revision,
            sort_order: order.0,
            sort_target: order.1,
            serializable: false,
            keys_only: flags.0,
            count_only: flags.1,
            min_mod_revision: bounds[0],
            max_mod_revision: bounds[1],
            min_create_revision: bounds[2],
            max_create_revision: bounds[3],
        })
}

fn compare() -> impl Strategy<Value = Compare> {
    let value = select(&VALUES[..]);
    (keys(), 0..4_i32, 0..5_i32, 0..6_i32, 0..9_i64, value).prop_map(
        |((key, range_end), result, target, union, number, value)| {
            let target_union = Some(match if union == 5 { target } else { union } {
                0 => TargetUnion::Version(number),
                1 => TargetUnion::CreateRevision(number),
                2 => TargetUnion::ModRevision(number),
                3 => TargetUnion::Value(value.into()),
                _ => TargetUnion::Lease(number),
            });
            let target_union = target_union.filter(|_| number != 8);
            Compare { result, target, key, range_end, target_union }
        },
    )
}

fn txn(depth: u32) -> BoxedStrategy<TxnRequest> {
    let plain = prop_oneof![
        4 => put().prop_map(Request::RequestPut),
        3 => range().prop_map(Request::RequestRange),
        2 => delete_range().prop_map(Request::RequestDeleteRange),
    ];
    let request = if depth == 0 {
        plain.boxed()
    } else {
        prop_oneof![5 => plain, 1 => txn(depth - 1).prop_map(Request::RequestTxn)].boxed()
    };
    let op = proptest::option::weighted(0.99, request).prop_map(|request| RequestOp { request });
    let ops = vec(op, 0..4);
    (vec(compare(), 0..3), ops.clone(), ops)
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
        .boxed()
}

fn alarm() -> impl Strategy<Value = AlarmRequest> {
    proptest::bool::weighted(0.2).prop_map(|raise| AlarmRequest {
        action: if raise { AlarmAction::Activate } else { AlarmAction::Deactivate }.into(),
        member_id: 1,
        alarm: AlarmType::Nospace.into(),
    })
}

pub(in crate::tests) fn op() -> impl Strategy<Value = Op> {
    let id = || 0..4_i64;
    let ttl = select(&[1_i64, 500, 9_000_000_001][..]);
    let note = (id(), 0..600_i64, proptest::bool::weighted(0.2));
    let note = note.prop_map(|(id, remaining, other)| LeaseNote {
        id,
        remaining,
        granted: u64::from(other),
    });
    prop_oneof![
        6 => put().prop_map(Op::Put),
        3 => delete_range().prop_map(Op::DeleteRange),
        8 => txn(2).prop_map(Op::Txn),
        3 => (id(), ttl).prop_map(|(id, ttl)| Op::LeaseGrant(LeaseGrantRequest { id, ttl })),
        1 => (id(), any::<bool>())
            .prop_map(|(id, expired)| Op::LeaseRevoke(LeaseRevoke { id, expired, granted: 0 })),
        1 => vec(note, 0..3)
            .prop_map(|notes| Op::LeaseCheckpoint(LeaseCheckpoint { notes })),
        1 => alarm().prop_map(Op::Alarm),
    ]
}
