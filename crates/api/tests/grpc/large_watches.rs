//! Revisions that are too large to be told from memory: in fragments, in one message that is made while it
//! is sent, and as JSON.

use std::time::Duration;

use proto::{
    Message as _,
    etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, WatchCreateRequest,
        WatchRequest, WatchResponse, watch_request::RequestUnion,
    },
    mvccpb::Event,
};
use serde_json::{Value, json};

use crate::{
    client::{Client, Stream},
    member::Member,
};

const KEYS: usize = 60;
const VALUE_BYTES: usize = 100_000;
/// As in etcd: of an answer that is cut.
const FRAGMENT_BYTES_MAX: usize = base::limits::REQUEST_BYTES_MAX;

/// A member where all keys were deleted at once; and at which revision.
fn member() -> (Member, i64) {
    let member = Member::start();
    let client = Client::connect(&member);
    for at in 0..KEYS {
        let (key, value) = (format!("k{at:02}").into(), vec![b'v'; VALUE_BYTES].into());
        let put = PutRequest { key, value, ..PutRequest::default() };
        drop::<PutResponse>(client.call("/etcdserverpb.KV/Put", &put).unwrap());
    }
    let (key, range_end) = ("k".into(), "l".into());
    let delete = DeleteRangeRequest { key, range_end, prev_kv: false };
    let deleted: DeleteRangeResponse =
        client.call("/etcdserverpb.KV/DeleteRange", &delete).unwrap();
    (member, deleted.header.unwrap().revision)
}

fn create(start_revision: i64, fragment: bool) -> WatchCreateRequest {
    WatchCreateRequest {
        key: "k".into(),
        range_end: "l".into(),
        start_revision,
        prev_kv: true,
        fragment,
        ..WatchCreateRequest::default()
    }
}

/// Opens a watch, which is created.
fn open(client: &Client, request: WatchCreateRequest) -> Stream<WatchRequest, WatchResponse> {
    let mut stream = client.open("/etcdserverpb.Watch/Watch");
    let request_union = Some(RequestUnion::CreateRequest(request));
    stream.send(&WatchRequest { request_union });
    let created: WatchResponse = stream.next().unwrap().unwrap();
    assert!(created.created && !created.canceled, "{created:?}");
    stream
}

/// A message is one to whoever counts them, in however many pieces it is sent.
#[track_caller]
fn were_sent(member: &Member, messages: usize) {
    let page = member.get("/metrics").text();
    let labels =
        "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"";
    let line = format!("grpc_server_msg_sent_total{{{labels}}} {messages}\n");
    assert!(page.contains(&line), "{line}{page}");
}

#[track_caller]
fn is_all(events: &[Event], revision: i64) {
    assert_eq!(events.len(), KEYS);
    for (at, event) in events.iter().enumerate() {
        let (kv, before) = (event.kv.as_ref().unwrap(), event.prev_kv.as_ref().unwrap());
        assert_eq!((kv.key.as_ref(), kv.mod_revision), (format!("k{at:02}").as_bytes(), revision));
        assert_eq!(before.value.len(), VALUE_BYTES);
    }
}

#[test]
fn a_large_revision_comes_whole_or_in_fragments_and_the_watch_goes_on() {
    let (member, revision) = member();
    let client = Client::connect(&member);
    for fragment in [true, false] {
        let mut stream = open(&client, create(revision, fragment));
        let (mut events, mut answers) = (Vec::new(), 0);
        loop {
            let answer = stream.next().unwrap().unwrap();
            assert_eq!(answer.header.unwrap().revision, revision);
            answers += 1;
            assert!(!fragment || answer.encoded_len() < FRAGMENT_BYTES_MAX);
            events.extend(answer.events);
            if !answer.fragment {
                break;
            }
        }
        is_all(&events, revision);
        assert_eq!(answers > 3, fragment, "{answers}");
        assert!(fragment || answers == 1);
        // What comes later comes.
        let put = PutRequest { key: "k".into(), ..PutRequest::default() };
        drop::<PutResponse>(client.call("/etcdserverpb.KV/Put", &put).unwrap());
        let next = stream.next().unwrap().unwrap();
        assert_eq!(next.events[0].kv.as_ref().unwrap().mod_revision, revision + 1);
    }
}

/// Another watch of the same stream comes behind what is under way, and misses nothing.
#[test]
fn who_reads_a_large_revision_late_has_it_and_what_came_meanwhile() {
    let (member, revision) = member();
    let client = Client::connect(&member);
    let mut stream = open(&client, create(revision, false));
    let other = WatchCreateRequest { key: "other".into(), ..WatchCreateRequest::default() };
    let request_union = Some(RequestUnion::CreateRequest(other));
    stream.send(&WatchRequest { request_union });
    // Nobody has read more than its beginning.
    std::thread::sleep(Duration::from_millis(200));
    let second = Client::connect(&member);
    let large = stream.next().unwrap().unwrap();
    is_all(&large.events, revision);
    assert!(stream.next().unwrap().unwrap().created);
    let put = PutRequest { key: "other".into(), ..PutRequest::default() };
    drop::<PutResponse>(second.call("/etcdserverpb.KV/Put", &put).unwrap());
    let told = stream.next().unwrap().unwrap();
    assert_eq!((told.watch_id, told.events.len()), (1, 1));
    were_sent(&member, 4);
}

#[test]
fn a_large_revision_is_a_line_of_json() {
    let (member, revision) = member();
    let mut wire = member.connect();
    // `k` to `l`.
    let create = json!({"create_request": {"key": "aw==", "range_end": "bA==", "prev_kv": true,
        "start_revision": revision.to_string()}});
    let create = create.to_string();
    wire.send(format!(
        "POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{create}",
        create.len()
    ));
    assert_eq!(wire.head().status, 200);
    let mut text = Vec::new();
    let mut line = || -> Value {
        loop {
            if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            text.extend(wire.chunk().unwrap().expect("it goes on"));
        }
    };
    assert_eq!(line()["result"]["created"], true);
    let told = &line()["result"];
    assert_eq!(told["header"]["revision"], revision.to_string());
    let events = told["events"].as_array().unwrap();
    assert_eq!(events.len(), KEYS);
    for event in events {
        assert_eq!(event["type"], "DELETE");
        assert_eq!(event["kv"]["mod_revision"], revision.to_string());
        let value = event["prev_kv"]["value"].as_str().unwrap();
        assert_eq!(value.len(), VALUE_BYTES.div_ceil(3) * 4);
    }
    were_sent(&member, 2);
}
