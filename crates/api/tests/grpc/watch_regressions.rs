//! What the original got wrong in its watch streams, by the numbers of its issues.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, PutRequest, PutResponse, WatchCreateRequest,
    WatchProgressRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};

use crate::{
    client::{Client, Stream},
    member::Member,
};

/// Tells others to stop, whether or not all is well.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

type Watching = Stream<WatchRequest, WatchResponse>;

fn open(client: &Client) -> Watching {
    client.open("/etcdserverpb.Watch/Watch")
}

fn ask(watching: &Watching, request: RequestUnion) {
    watching.send(&WatchRequest { request_union: Some(request) });
}

/// Watches all keys that begin with `k`.
fn create(watching: &Watching, start_revision: i64) {
    let (key, range_end) = ("k".into(), "l".into());
    let asked = WatchCreateRequest { key, range_end, start_revision, ..Default::default() };
    ask(watching, RequestUnion::CreateRequest(asked));
}

fn ask_progress(watching: &Watching) {
    ask(watching, RequestUnion::ProgressRequest(WatchProgressRequest {}));
}

#[track_caller]
fn next(watching: &mut Watching) -> WatchResponse {
    watching.next().expect("it goes on").expect("without an error")
}

fn put(client: &Client, key: &str, value: &str) -> i64 {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    let put = PutRequest { key, value, ..PutRequest::default() };
    let done: PutResponse = client.call("/etcdserverpb.KV/Put", &put).unwrap();
    done.header.unwrap().revision
}

fn revision(answer: &WatchResponse) -> i64 {
    answer.header.unwrap().revision
}

fn revisions(answer: &WatchResponse) -> Vec<i64> {
    answer.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect()
}

/// Progress that a client asked for did not go through the queue of events: it could say "all up to
/// revision R" while events of R and before were still to come, or less than had been told.
#[test]
fn issue_15220_progress_that_was_asked_for_comes_behind_the_events_that_it_speaks_of() {
    let member = Member::start();
    let client = Client::connect(&member);
    let mut watching = open(&client);
    create(&watching, 2);
    assert!(next(&mut watching).created);
    let over = AtomicBool::new(false);
    let (mut told, mut progresses) = (1, 0);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (client, over) = (Client::connect(&member), &over);
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    put(&client, &format!("k{writer}"), "x");
                }
            });
        }
        let _stops = Stops(&over);
        while progresses < 200 || told < 500 {
            ask_progress(&watching);
            // Until it is answered: it may take some events.
            loop {
                let answer = next(&mut watching);
                if answer.events.is_empty() {
                    assert_eq!(answer.watch_id, -1);
                    assert_eq!(revision(&answer), told, "neither less nor more than was told");
                    progresses += 1;
                    break;
                }
                for event in revisions(&answer) {
                    assert_eq!(event, told + 1, "events one after the other");
                    told = event;
                }
            }
        }
    });
}

/// Many slow watches on one stream: a watch that had fallen behind a compaction, while its stream was
/// full, was moved on behind it without a word. Its client missed events and was not told so.
#[test]
fn issue_17529_a_starved_watch_misses_nothing_or_is_told_that_history_is_gone() {
    const WATCHES: i64 = 50;
    let member = Member::start();
    let client = Client::connect(&member);
    // Their own connection: whoever does not read stops it.
    let slow = Client::connect(&member);
    let mut watching = open(&slow);
    for _ in 0..WATCHES {
        create(&watching, 2);
    }
    let value = "x".repeat(10_000);
    let mut last = 0;
    for number in 0..500 {
        last = put(&client, &format!("k{}", number % 7), &value);
    }
    let compacted = last - 50;
    let asked = CompactionRequest { revision: compacted, physical: false };
    let _: CompactionResponse = client.call("/etcdserverpb.KV/Compact", &asked).unwrap();
    // By watch: the next revision that it is to be told, and whether it was ended.
    let mut watches: BTreeMap<i64, (i64, bool)> = (0..WATCHES).map(|id| (id, (2, false))).collect();
    let done = |(next, ended): &(i64, bool)| *ended || *next == last + 1;
    let mut ends = 0;
    while !watches.values().all(done) {
        let answer = next(&mut watching);
        let (next, ended) = watches.get_mut(&answer.watch_id).unwrap();
        assert!(!*ended, "{} was ended before", answer.watch_id);
        for event in revisions(&answer) {
            assert_eq!(event, *next, "watch {} misses something", answer.watch_id);
            *next = event + 1;
        }
        if answer.canceled {
            assert_eq!(answer.compact_revision, compacted);
            assert!(*next < compacted, "it could have gone on");
            *ended = true;
            ends += 1;
        }
    }
    assert!(ends > 0, "none of them was slow");
}

/// A watch of a revision that is still to come was sent progress of earlier ones. Its client, when it
/// came back after a lost connection, began behind that progress, and was told what it had not asked
/// for.
#[test]
fn issue_20221_a_watch_of_the_future_is_told_no_progress_before_it_begins() {
    let mut config = api::Config::default();
    config.grpc.progress_interval = Duration::from_millis(20);
    let member = Member::start_with(config);
    let client = Client::connect(&member);
    let mut watching = open(&client);
    let (key, range_end) = ("k".into(), "l".into());
    let asked = WatchCreateRequest {
        key,
        range_end,
        start_revision: 5,
        progress_notify: true,
        ..Default::default()
    };
    ask(&watching, RequestUnion::CreateRequest(asked));
    assert!(next(&mut watching).created);
    for expected in 2..=3 {
        assert_eq!(put(&client, "k", "early"), expected);
        ask_progress(&watching);
        assert!(watching.is_silent(Duration::from_millis(100)), "of its own accord or asked");
    }
    // All before its start has happened: it stands there now.
    assert_eq!(put(&client, "k", "early"), 4);
    ask_progress(&watching);
    for _ in 0..3 {
        let answer = next(&mut watching);
        assert_eq!((revision(&answer), revisions(&answer)), (4, vec![]));
    }
    assert_eq!(put(&client, "k", "now"), 5);
    let told = loop {
        let answer = next(&mut watching);
        if !answer.events.is_empty() {
            break revisions(&answer);
        }
        assert_eq!(revision(&answer), 4);
    };
    assert_eq!(told, [5]);
}
