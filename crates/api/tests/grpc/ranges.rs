//! Ranges that come in messages of some size.

use proto::etcdserverpb::{
    PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
};

use crate::{client::Client, member::Member};

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
