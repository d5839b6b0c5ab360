//! A revision of a quarter of a gigabyte is told to who asks for no fragments, and costs the member that sends
//! it little, however slowly it is read.

use std::{thread::sleep, time::Duration};

use client::v3::{Client, Config};
use e2e::{Connection, Member, Request, memory, v3};
use proto::etcdserverpb::{DeleteRangeRequest, WatchCreateRequest};
use serde_json::json;

const KEYS: usize = 250;
const VALUE_BYTES: usize = 1_000_000;
const MORE_MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_mins(2);

#[track_caller]
fn costs_little(member: &Member, how: &str, tell: impl FnOnce()) {
    let before = memory::at_rest(member.pid());
    memory::forget_peak(member.pid());
    tell();
    let more = memory::peak(member.pid()).saturating_sub(before);
    println!("{how}: {} MiB more than {} MiB", more >> 20, before >> 20);
    assert!(more <= MORE_MAX, "{how}: {} MiB more than {} MiB", more >> 20, before >> 20);
}

#[test]
fn a_revision_that_fits_in_no_memory_is_told_as_a_whole() {
    let member = Member::start();
    for at in 0..KEYS {
        v3::put(&member, &format!("k{at:03}"), &"v".repeat(VALUE_BYTES));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let client = Client::new(&[member.url()], Config::default()).expect("a client");
    let delete = DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: false };
    let deleted = runtime.block_on(client.delete_range(delete)).expect("it is done");
    let revision = deleted.header.expect("a header").revision;
    costs_little(&member, "gRPC", || {
        let request = WatchCreateRequest {
            key: "k".into(),
            range_end: "l".into(),
            start_revision: revision,
            prev_kv: true,
            ..WatchCreateRequest::default()
        };
        let mut watcher = client.watch(request);
        let told = runtime.block_on(async { tokio::time::timeout(PATIENCE, watcher.next()).await });
        let told = told.expect("in time").expect("it is told");
        assert_eq!(told.events.len(), KEYS);
        let of = |event: &proto::mvccpb::Event| event.prev_kv.as_ref().map(|kv| kv.value.len());
        assert!(told.events.iter().all(|event| of(event) == Some(VALUE_BYTES)));
    });
    costs_little(&member, "the gateway, read slowly", || {
        let create = json!({"key": v3::bytes("k"), "range_end": v3::bytes("l"), "prev_kv": true,
            "start_revision": revision.to_string()});
        let body = json!({"create_request": create}).to_string();
        let mut connection = Connection::open(member.address()).expect("it listens");
        connection.set_patience(PATIENCE);
        connection.send(&Request::json("POST", "/v3/watch", &body)).expect("it is read");
        assert_eq!(connection.receive_head().expect("it begins").status, 200);
        let (mut lines, mut bytes) = (0, 0);
        while lines < 2 {
            let chunk = connection.receive_chunk().expect("it goes on").expect("it does not end");
            #[allow(clippy::naive_bytecount, reason = "it takes no time that counts")]
            let ends = chunk.iter().filter(|byte| **byte == b'\n').count();
            lines += ends;
            bytes += chunk.len();
            sleep(Duration::from_micros(300));
        }
        assert!(bytes > KEYS * VALUE_BYTES * 4 / 3, "{bytes}");
    });
}
