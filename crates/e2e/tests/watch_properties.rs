//! The nine properties of a watch, through the binaries: three members, with a change of leader,
//! clients that do not read for a while, clients that come and go, and compaction meanwhile.

#[path = "watch_properties/holds.rs"]
mod holds;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use client::v3::{Client, Config, Error};
use e2e::{cluster::Cluster, v3};
use holds::{Event, Interest, Seen, Story};
use proto::{
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        TxnResponse, WatchCreateRequest, request_op::Request, watch_create_request::FilterType,
    },
    mvccpb::event::EventType,
};
use tokio::runtime::Runtime;

const KEYS: u64 = 30;
/// Enough that what a client does not read does not fit into buffers on the way.
const VALUE_BYTES: usize = 8 << 10;
/// So large may a fragment be: two puts with what was there before do not fit, and every other client asks
/// for fragments.
const FRAGMENT_BYTES: usize = 30 << 10;
/// Revisions between two phases.
const PHASE: i64 = 400;
const PATIENCE: Duration = Duration::from_mins(1);
const WHOLE: Interest = Interest { key: "k/", range_end: "k0", filter: None };

fn client(urls: &[String]) -> Client {
    Client::new(urls, Config::default()).expect("a client")
}

fn key(number: u64) -> Bytes {
    format!("k/{number:02}").into()
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put(number: u64, value: &Bytes) -> RequestOp {
    let (key, value) = (key(number), value.clone());
    op(Request::RequestPut(PutRequest { key, value, ..PutRequest::default() }))
}

fn delete(from: u64, to: u64) -> RequestOp {
    let (key, range_end) = (key(from), key(to));
    op(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, ..Default::default() }))
}

/// Revisions of writes that were acknowledged, with the keys that they have put.
type Done = Arc<Mutex<Vec<(i64, Vec<Bytes>)>>>;

/// Puts and deletes some keys at once, again and again.
async fn write(client: Client, seed: u64, stops: Arc<AtomicBool>, done: Done) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !stops.load(SeqCst) {
        let mut value = format!("{seed}/{}/", random.u64(..)).into_bytes();
        value.resize(VALUE_BYTES, b'.');
        let value = Bytes::from(value);
        let (first, count) = (random.u64(0..KEYS - 3), random.u64(0..3));
        let puts: Vec<_> = (first..first + count).collect();
        let mut success: Vec<_> = puts.iter().map(|number| put(*number, &value)).collect();
        if random.bool() {
            let from = first + 3;
            success.push(delete(from, from + random.u64(1..4)));
        }
        match client.txn(TxnRequest { success, ..TxnRequest::default() }).await {
            Ok(TxnResponse { header: Some(header), .. }) if !puts.is_empty() => {
                let puts = puts.into_iter().map(key).collect();
                done.lock().expect("nobody panics").push((header.revision, puts));
            }
            // Whether what was lost was carried out the watches tell.
            Ok(_) | Err(Error::Lost { .. } | Error::Deadline { .. }) => {}
            Err(Error::Refused(refusal)) if refusal.message.starts_with("etcdserver: ") => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How a client goes about reading.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Steady,
    /// After its first answer it does not read until it is woken.
    Sleeps,
    /// It closes its watch after some answers, and goes on at another member.
    ComesAndGoes,
}

/// A watch, with all that its client sees of it.
#[derive(Clone)]
struct Watch {
    what: String,
    interest: Interest,
    fragment: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Up to which revision it has come.
    position: Arc<AtomicI64>,
}

impl Watch {
    fn start(
        runtime: &Runtime,
        urls: Vec<String>,
        (interest, fragment): (Interest, bool),
        manner: Manner,
        wakes: &Arc<AtomicBool>,
    ) -> Self {
        let parts = if fragment { " in fragments" } else { "" };
        let what = format!("{interest:?} {manner:?}{parts} at {}", urls[0]);
        let (seen, position) = (Arc::default(), Arc::default());
        let watch = Self { what, interest, fragment, seen, position };
        runtime.spawn(watch.clone().read(urls, manner, Arc::clone(wakes)));
        watch
    }

    async fn read(self, mut urls: Vec<String>, manner: Manner, wakes: Arc<AtomicBool>) {
        let (mut position, mut sleeps) = (2, manner == Manner::Sleeps);
        loop {
            self.see(Seen::Opened(position));
            let request = WatchCreateRequest {
                key: self.interest.key.into(),
                range_end: self.interest.range_end.into(),
                start_revision: position,
                filters: self.interest.filter.iter().map(|one| (*one).into()).collect(),
                prev_kv: true,
                progress_notify: true,
                fragment: self.fragment,
                ..WatchCreateRequest::default()
            };
            let one_alone = manner != Manner::Steady;
            let mut watcher = client(if one_alone { &urls[..1] } else { &urls }).watch(request);
            // Some answers, if it is to come back at all.
            let mut left = if manner == Manner::ComesAndGoes { 40 } else { usize::MAX };
            while 0 < left {
                left -= 1;
                let next = tokio::time::timeout(Duration::from_secs(2), watcher.next());
                match next.await {
                    // Perhaps this member is away: somebody else has more to tell.
                    Err(_) if manner == Manner::ComesAndGoes => break,
                    Err(_) => continue,
                    Ok(Err(Error::Compacted { revision })) => {
                        self.see(Seen::Compacted(revision));
                        position = revision;
                        break;
                    }
                    Ok(Err(error)) if error.is_passing() => break,
                    Ok(Err(error)) => panic!("{}: {error}", self.what),
                    Ok(Ok(answer)) => {
                        let now = answer.header.as_ref().expect("a header").revision;
                        let events: Vec<_> = answer.events.into_iter().map(event).collect();
                        let told = events.last().map_or(now, |event| event.revision);
                        let is_bookmark = events.is_empty();
                        self.see(if is_bookmark {
                            Seen::Bookmark(now)
                        } else {
                            Seen::Events(events)
                        });
                        position = position.max(told + 1);
                        self.position.store(position, SeqCst);
                    }
                }
                while sleeps && !wakes.load(SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                sleeps = false;
            }
            drop(watcher);
            urls.rotate_left(1);
        }
    }

    fn see(&self, seen: Seen) {
        self.seen.lock().expect("nobody panics").push(seen);
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics").clone()
    }

    fn waits_for(&self, revision: i64) {
        let is_there = || (revision < self.position.load(SeqCst)).then_some(());
        e2e::eventually(PATIENCE, &format!("{} comes to {revision}", self.what), is_there);
    }
}

fn event(event: proto::mvccpb::Event) -> Event {
    let is_put = event.r#type == i32::from(EventType::Put);
    let kv = event.kv.expect("a pair");
    Event {
        revision: kv.mod_revision,
        key: kv.key,
        value: is_put.then_some(kv.value),
        create: kv.create_revision,
        version: kv.version,
        before: event.prev_kv.map(|kv| (kv.mod_revision, kv.value)),
    }
}

fn watches(runtime: &Runtime, urls: &[String], wakes: &Arc<AtomicBool>) -> Vec<Watch> {
    let filtered = |filter| Interest { filter: Some(filter), ..WHOLE };
    let part = Interest { key: "k/1", range_end: "k/2", filter: None };
    let one = Interest { key: "k/07", range_end: "", filter: None };
    let mut watches = Vec::new();
    let mut start = |at: usize, interest: Interest, manner| {
        let mut urls = urls.to_vec();
        urls.rotate_left(at % 3);
        let fragment = watches.len() % 2 == 1;
        watches.push(Watch::start(runtime, urls, (interest, fragment), manner, wakes));
    };
    for at in 0..3 {
        start(at, WHOLE, Manner::Steady);
        start(at, WHOLE, Manner::Sleeps);
        start(at, WHOLE, Manner::ComesAndGoes);
        start(at, filtered(FilterType::Noput), Manner::Steady);
        start(at, filtered(FilterType::Nodelete), Manner::ComesAndGoes);
        start(at, part.clone(), Manner::ComesAndGoes);
        start(at, one.clone(), Manner::Steady);
    }
    watches
}

#[test]
fn watches_keep_their_nine_properties_while_leaders_change_and_history_is_compacted() {
    let fragments = format!("--max-request-bytes={FRAGMENT_BYTES}");
    let flags = ["--watch-progress-notify-interval=100ms", fragments.as_str()];
    let mut cluster = Cluster::start_with(3, &flags);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    let urls: Vec<_> = cluster.members.iter().map(e2e::Member::url).collect();
    let wakes = Arc::default();
    let watches = watches(&runtime, &urls, &wakes);
    // Nothing is compacted that this one has not been told.
    let whole = &watches[0];
    let (stops, done) = (Arc::<AtomicBool>::default(), Done::default());
    let writers: Vec<_> = (0..3)
        .map(|seed| {
            let mut urls = urls.clone();
            urls.rotate_left(usize::try_from(seed).expect("small"));
            let client = client(&urls).within(PATIENCE);
            runtime.spawn(write(client, seed, Arc::clone(&stops), Arc::clone(&done)))
        })
        .collect();
    let everybody = client(&urls);
    let mut compacted = 0;
    for phase in 0..4 {
        if phase == 1 {
            let leader = cluster.leader();
            cluster.members[leader].kill();
            whole.waits_for(whole.position.load(SeqCst) + PHASE / 4);
            cluster.members[leader].restart();
        }
        whole.waits_for(whole.position.load(SeqCst) + PHASE);
        compacted = whole.position.load(SeqCst) - PHASE / 8;
        let request = CompactionRequest { revision: compacted, physical: false };
        runtime.block_on(everybody.compact(request)).expect("it is compacted");
        if phase == 2 {
            wakes.store(true, SeqCst);
        }
    }
    stops.store(true, SeqCst);
    for writer in writers {
        runtime.block_on(writer).expect("it does not panic");
    }
    let last = runtime.block_on(async {
        let request = PutRequest { key: "last".into(), ..PutRequest::default() };
        everybody.put(request).await.expect("it is written").header.expect("a header").revision
    });
    for watch in &watches {
        watch.waits_for(last);
    }
    check(&watches, compacted, &done.lock().expect("nobody panics"), &runtime, &everybody);
    v3::agree(&cluster.members);
}

fn check(
    watches: &[Watch],
    compacted: i64,
    done: &[(i64, Vec<Bytes>)],
    runtime: &Runtime,
    client: &Client,
) {
    let whole = watches[0].seen();
    assert!(!whole.iter().any(|seen| matches!(seen, Seen::Compacted(_))), "it lags behind");
    let events = whole.iter().filter_map(|seen| match seen {
        Seen::Events(events) => Some(events.clone()),
        Seen::Opened(_) | Seen::Bookmark(_) | Seen::Compacted(_) => None,
    });
    let story = Story::new(events.flatten(), compacted);
    // What was acknowledged is in it, and it ends with what there is.
    for (revision, keys) in done {
        let told = |key| story.at(*revision).iter().any(|event| event.key == key);
        assert!(keys.iter().all(told), "{keys:?} at {revision}: {:?}", story.at(*revision));
    }
    let (key, range_end) = (WHOLE.key.into(), WHOLE.range_end.into());
    let all = RangeRequest { key, range_end, ..RangeRequest::default() };
    let all = runtime.block_on(client.range(all)).expect("it answers").kvs;
    let end: BTreeMap<_, _> =
        all.into_iter().map(|kv| (kv.key, (kv.mod_revision, kv.value))).collect();
    assert_eq!(story.end, end);
    let mut counts = [0; 4];
    for watch in watches {
        let seen = watch.seen();
        for (name, holds) in holds::ALL {
            holds(&story, &watch.interest, &seen)
                .unwrap_or_else(|why| panic!("not {name}: {}: {why}", watch.what));
        }
        for one in seen {
            counts[match one {
                Seen::Opened(_) => 0,
                Seen::Events(_) => 1,
                Seen::Bookmark(_) => 2,
                Seen::Compacted(_) => 3,
            }] += 1;
        }
    }
    let [opened, answers, bookmarks, compactions] = counts;
    println!(
        "{opened} watches opened, {answers} answers, {bookmarks} bookmarks, {compactions} compacted"
    );
    assert!(watches.len() < opened && 0 < bookmarks && 0 < compactions, "too quiet: {counts:?}");
}

/// Each property notices its own fault in what was told.
#[test]
fn each_property_can_fail() {
    let change =
        |revision, key: &'static str, value: Option<&'static str>, create, version, before| Event {
            revision,
            key: key.into(),
            value: value.map(Bytes::from),
            create,
            version,
            before,
        };
    let value = |text: &'static str| Bytes::from(text);
    let all = [
        change(2, "k/1", Some("v"), 2, 1, None),
        change(3, "k/1", Some("w"), 2, 2, Some((2, value("v")))),
        change(3, "k/2", Some("v"), 3, 1, None),
        change(4, "k/1", None, 0, 0, Some((3, value("w")))),
    ];
    let story = Story::new(all.clone(), 0);
    let told = |from: usize, to: usize| Seen::Events(all[from..to].to_vec());
    let altered = |at: usize, alter: fn(&mut Event)| {
        let mut all = all.to_vec();
        alter(&mut all[at]);
        vec![Seen::Opened(2), Seen::Events(all)]
    };
    let good = vec![Seen::Opened(2), told(0, 1), Seen::Bookmark(2), told(1, 4), Seen::Bookmark(9)];
    for (name, holds) in holds::ALL {
        holds(&story, &WHOLE, &good).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    let faults = [
        ("ordered", vec![Seen::Opened(2), told(1, 4), told(0, 1)]),
        ("unique", vec![Seen::Opened(2), told(0, 4), told(3, 4)]),
        ("atomic", vec![Seen::Opened(2), told(0, 2), told(2, 4)]),
        ("reliable", vec![Seen::Opened(2), told(0, 1), told(3, 4)]),
        ("resumable", vec![Seen::Opened(2), told(0, 1), Seen::Opened(3), told(3, 4)]),
        ("bookmarkable", vec![Seen::Opened(2), told(0, 1), Seen::Bookmark(3), told(1, 4)]),
        ("prev_kv", altered(1, |event| event.before = None)),
        ("is-create", altered(1, |event| event.create = event.revision)),
        ("filter", altered(1, |event| event.key = "z".into())),
    ];
    assert_eq!(faults.len(), holds::ALL.len());
    for ((name, seen), (property, holds)) in faults.iter().zip(holds::ALL) {
        assert_eq!(*name, property);
        assert!(holds(&story, &WHOLE, seen).is_err(), "{name} is not noticed");
    }
}
