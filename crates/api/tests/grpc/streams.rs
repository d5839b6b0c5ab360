//! Streams at once on one connection, and answers that are given up in the middle.

use std::time::Duration;

use proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, RangeStreamResponse, WatchCreateRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    mvccpb::KeyValue,
};

use crate::{
    client::{Client, Stream},
    member::{Member, eventually},
};

const RANGE: &str = "/etcdserverpb.KV/Range";
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEYS: usize = 40;
const VALUE_BYTES: usize = 250_000;

fn all() -> RangeRequest {
    RangeRequest { key: "k".into(), range_end: "l".into(), ..RangeRequest::default() }
}

fn put_all(client: &Client) {
    for at in 0..KEYS {
        let put = PutRequest {
            key: format!("k{at:02}").into(),
            value: vec![b'v'; VALUE_BYTES].into(),
            ..PutRequest::default()
        };
        drop::<PutResponse>(client.call("/etcdserverpb.KV/Put", &put).unwrap());
    }
}

fn compact(client: &Client, revision: i64) {
    let request = CompactionRequest { revision, physical: false };
    let _: CompactionResponse = client.call("/etcdserverpb.KV/Compact", &request).unwrap();
}

#[test]
fn only_so_many_streams_are_open_at_once() {
    let config = api::Config {
        grpc: api::Grpc { streams_max: 2, ..api::Grpc::default() },
        ..api::Config::default()
    };
    let member = Member::start_with(config);
    let client = Client::connect(&member);
    let watch = || {
        let stream: Stream<WatchRequest, WatchResponse> = client.open(WATCH);
        let create = WatchCreateRequest { key: "a".into(), ..WatchCreateRequest::default() };
        stream.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
        stream
    };
    let (mut first, mut second) = (watch(), watch());
    assert!(first.next().unwrap().unwrap().created && second.next().unwrap().unwrap().created);
    let mut third = watch();
    assert!(third.is_silent(Duration::from_millis(300)), "it waits for a place");
    drop(first);
    assert!(third.next().unwrap().unwrap().created);
}

#[test]
fn a_large_answer_is_one_message_and_the_same_as_in_many() {
    let member = Member::start();
    let client = Client::connect(&member);
    put_all(&client);
    let whole: RangeResponse = client.call(RANGE, &all()).unwrap();
    assert_eq!((whole.kvs.len(), whole.count, whole.more), (KEYS, 40, false));
    assert_eq!(whole.header.as_ref().unwrap().revision, 41);
    let mut stream: Stream<RangeRequest, RangeStreamResponse> = client.open(RANGE_STREAM);
    stream.send(&all());
    stream.close();
    let (mut pairs, mut last): (Vec<KeyValue>, _) = (Vec::new(), RangeResponse::default());
    let mut messages = 0;
    while let Some(message) = stream.next() {
        last = message.unwrap().range_response.unwrap();
        pairs.append(&mut last.kvs);
        messages += 1;
    }
    assert!(messages >= KEYS / 2, "{messages}");
    assert_eq!((pairs, last.count), (whole.kvs, 40));
    // A limit counts.
    let some = RangeRequest { limit: 30, ..all() };
    let some: RangeResponse = client.call(RANGE, &some).unwrap();
    assert_eq!((some.kvs.len(), some.count, some.more), (30, 40, true));
}

#[test]
fn an_answer_that_its_client_gives_up_holds_compaction_no_longer() {
    let member = Member::start();
    let client = Client::connect(&member);
    put_all(&client);
    let mut stream: Stream<RangeRequest, RangeResponse> = client.open(RANGE);
    stream.send(&all());
    stream.close();
    // It has begun, and waits for the client to read.
    assert!(stream.begins());
    put_all(&client);
    compact(&client, 81);
    let store = member.handle.reader().store();
    std::thread::sleep(Duration::from_millis(300));
    assert!(store.is_compacting(), "what is being read is there");
    drop(stream);
    eventually("compaction goes on", || !store.is_compacting());
}

#[test]
fn progress_is_told_again_once_all_events_are() {
    let mut config = api::Config::default();
    config.grpc.progress_interval = Duration::from_millis(20);
    let member = Member::start_with(config);
    let client = Client::connect(&member);
    let mut stream: Stream<WatchRequest, WatchResponse> = client.open(WATCH);
    let create =
        WatchCreateRequest { key: "k".into(), progress_notify: true, ..Default::default() };
    stream.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
    assert!(stream.next().unwrap().unwrap().created);
    for expected in 2..6 {
        let put = PutRequest { key: "k".into(), ..PutRequest::default() };
        drop::<PutResponse>(client.call("/etcdserverpb.KV/Put", &put).unwrap());
        let mut is_told = false;
        loop {
            let answer = stream.next().unwrap().unwrap();
            is_told |= !answer.events.is_empty();
            // An interval with an event in it needs no progress; the next one does.
            if is_told && answer.events.is_empty() {
                assert_eq!(answer.header.unwrap().revision, expected);
                break;
            }
        }
    }
}
