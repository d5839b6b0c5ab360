//! Ranges that come in messages of some size.

use proto::{
    etcdserverpb::{
        PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, RequestOp,
        TxnRequest, TxnResponse, request_op::Request,
    },
    mvccpb::KeyValue,
};

use crate::{
    client::{Client, Stream},
    member::Member,
};

/// What comes, message by message.
fn stream(client: &Client, request: &RangeRequest) -> Vec<RangeResponse> {
    let mut stream =
        client.open::<RangeRequest, RangeStreamResponse>("/etcdserverpb.KV/RangeStream");
    stream.send(request);
    stream.close();
    let answers = std::iter::from_fn(|| stream.next());
    answers.map(|answer| answer.unwrap().range_response.unwrap()).collect()
}

/// As 3.7 does, and as clients count on: no message without pairs, but where there are none at all.
#[test]
fn the_last_pairs_of_a_streamed_range_come_with_what_is_true_of_all() {
    let member = Member::start();
    let client = Client::connect(&member);
    let value = vec![b'x'; 100 * 1024];
    for at in 0..5 {
        let key = format!("k{at}").into();
        let request = PutRequest { key, value: value.clone().into(), ..PutRequest::default() };
        client.call::<_, PutResponse>("/etcdserverpb.KV/Put", &request).unwrap();
    }
    let range = |limit| RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        limit,
        ..RangeRequest::default()
    };
    for (request, pairs, more, count) in [
        (RangeRequest { key: "k1".into(), ..RangeRequest::default() }, 1, false, 1),
        (range(0), 5, false, 5),
        (range(2), 2, true, 5),
        (range(4), 4, true, 5),
        (RangeRequest { count_only: true, ..range(0) }, 0, false, 5),
        (RangeRequest { keys_only: true, ..range(0) }, 5, false, 5),
        (RangeRequest { key: "none".into(), ..RangeRequest::default() }, 0, false, 0),
    ] {
        let answers = stream(&client, &request);
        let (last, before) = answers.split_last().unwrap();
        assert_eq!(answers.iter().map(|answer| answer.kvs.len()).sum::<usize>(), pairs);
        assert!(pairs == 0 || !last.kvs.is_empty(), "{request:?}");
        assert_eq!((last.more, last.count), (more, count), "{request:?}");
        assert!(last.header.as_ref().is_some_and(|header| header.revision == 6), "{last:?}");
        for answer in before {
            assert!(!answer.kvs.is_empty() && answer.header.is_none() && answer.count == 0);
        }
    }
    assert!(stream(&client, &range(0)).len() > 1, "it comes in pieces");
}

const LARGE: usize = 40;
const SMALL: usize = 2_000;

/// Many large pairs, and many small ones.
fn fill(client: &Client) {
    let put = |key: String, value: &[u8]| PutRequest {
        key: key.into(),
        value: value.to_vec().into(),
        ..PutRequest::default()
    };
    for at in 0..LARGE {
        let put = put(format!("l{at:04}"), &vec![b'x'; 200_000]);
        client.call::<_, PutResponse>("/etcdserverpb.KV/Put", &put).unwrap();
    }
    for first in (0..SMALL).step_by(100) {
        let puts = (first..first + 100).map(|at| put(format!("s{at:04}"), b"small"));
        let ops = puts.map(|put| RequestOp { request: Some(Request::RequestPut(put)) });
        let txn = TxnRequest { success: ops.collect(), ..TxnRequest::default() };
        client.call::<_, TxnResponse>("/etcdserverpb.KV/Txn", &txn).unwrap();
    }
}

/// Ranges of more than is ever sent ahead stand half read, counts go on; and whoever asks on another
/// connection for little has it.
#[test]
fn long_reads_hold_up_no_other_connection() {
    let member = Member::start();
    let (reader, other) = (Client::connect(&member), Client::connect(&member));
    fill(&reader);
    let range = |from: &str, to: &str| RangeRequest {
        key: from.to_owned().into(),
        range_end: to.to_owned().into(),
        ..RangeRequest::default()
    };
    let open = |client: &Client, request: &RangeRequest| {
        let mut stream: Stream<RangeRequest, RangeResponse> = client.open("/etcdserverpb.KV/Range");
        stream.send(request);
        stream.close();
        stream
    };
    let mut long: Vec<_> = (0..2 * base::limits::LONG_READS_MAX)
        .map(|_| {
            let mut stream = open(&Client::connect(&member), &range("l", "m"));
            assert!(stream.begins(), "its head has come");
            stream
        })
        .collect();
    let count = RangeRequest { count_only: true, ..range("s", "t") };
    let mut counts: Vec<_> = (0..50).map(|_| open(&reader, &count)).collect();
    for at in 0..100 {
        let key = format!("s{at:04}").into();
        let small = RangeRequest { key, ..RangeRequest::default() };
        let answer: RangeResponse = other.call("/etcdserverpb.KV/Range", &small).unwrap();
        assert_eq!(answer.kvs[0].value, "small");
    }
    for stream in &mut long {
        assert_eq!(stream.next().unwrap().unwrap().kvs.len(), LARGE);
    }
    for stream in &mut counts {
        assert_eq!(stream.next().unwrap().unwrap().count, 2_000);
    }
}

/// As etcd answers them, however many keys there are; and in no more memory than the same without.
#[test]
fn ranges_that_descend_or_filter_are_answered_piece_by_piece() {
    let member = Member::start();
    let client = Client::connect(&member);
    fill(&client);
    let all = RangeRequest { key: "l".into(), range_end: "t".into(), ..RangeRequest::default() };
    let ask = |request: &RangeRequest| -> RangeResponse {
        client.call("/etcdserverpb.KV/Range", request).unwrap()
    };
    let whole = ask(&all);
    let total = LARGE + SMALL;
    assert_eq!(whole.kvs.len(), total);
    let back = ask(&RangeRequest { sort_order: 2, ..all.clone() });
    assert!(back.kvs.iter().eq(whole.kvs.iter().rev()));
    let last = ask(&RangeRequest { sort_order: 2, limit: 3, ..all.clone() });
    assert!(last.kvs.iter().eq(whole.kvs.iter().rev().take(3)));
    assert_eq!((last.more, last.count), (true, whole.count));
    for (min, max) in [(0, 31), (12, 0), (12, 45), (60, 0), (70, 0)] {
        let is_within =
            |kv: &&KeyValue| min <= kv.mod_revision && (max == 0 || kv.mod_revision <= max);
        for sort_order in [0, 2] {
            let request = RangeRequest {
                min_mod_revision: min,
                max_create_revision: max,
                sort_order,
                ..all.clone()
            };
            let found = ask(&request);
            let mut expected: Vec<_> = whole.kvs.iter().filter(is_within).collect();
            if sort_order == 2 {
                expected.reverse();
            }
            assert!(found.kvs.iter().eq(expected), "{request:?}");
            assert_eq!(found.count, whole.count);
        }
    }
}
