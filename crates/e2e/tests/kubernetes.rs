//! What Kubernetes' API servers do to a cluster, with a change of leader in the middle: lists in pages,
//! optimistic updates, watches with bookmarks, leases shared by many keys, compaction.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use client::v3::{Client, Config, Error, after, prefix_end};
use e2e::{
    cluster::Cluster,
    v3::{self, number},
};
use proto::{
    etcdserverpb::{
        CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest,
        RangeRequest, RequestOp, TxnRequest, TxnResponse, WatchCreateRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
        response_op::Response,
    },
    mvccpb::{KeyValue, event::EventType},
};
use serde_json::json;
use tokio::runtime::Runtime;

const REGISTRY: &str = "/registry/";
const PODS: &str = "/registry/pods/";
const EVENTS: &str = "/registry/events/";
const COMPACTED: &str = "compact_rev_key";
/// More than some pages.
const OBJECTS: u64 = 600;
const PAGE: i64 = 100;
/// Keys that go with one lease.
const SHARED: u64 = 1_000;
const LEASE_SECONDS: i64 = 5;
const PATIENCE: Duration = Duration::from_mins(1);

fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime")
}

fn client(urls: &[String]) -> Client {
    Client::new(urls, Config::default()).expect("a client")
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn get(key: &Bytes) -> Request {
    Request::RequestRange(RangeRequest { key: key.clone(), ..RangeRequest::default() })
}

fn put(key: &Bytes, value: &str, lease: i64) -> Request {
    let (key, value) = (key.clone(), Bytes::copy_from_slice(value.as_bytes()));
    Request::RequestPut(PutRequest { key, value, lease, ..PutRequest::default() })
}

fn delete(key: &Bytes) -> Request {
    let key = key.clone();
    Request::RequestDeleteRange(DeleteRangeRequest { key, ..DeleteRangeRequest::default() })
}

/// If a key is as it was at this revision, then do that, else get it.
fn guarded(key: &Bytes, revision: i64, then: Request) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    };
    TxnRequest { compare: vec![compare], success: vec![op(then)], failure: vec![op(get(key))] }
}

/// What a guarded transaction has found instead.
fn found(answer: &TxnResponse) -> Option<KeyValue> {
    match answer.responses.first()?.response.as_ref()? {
        Response::ResponseRange(range) => range.kvs.first().cloned(),
        _ => None,
    }
}

fn pod(number: u64) -> Bytes {
    format!("{PODS}default/p-{number:04}").into()
}

/// A change that was acknowledged: key, revision and value, none if it was deleted.
type Done = (Bytes, i64, Option<String>);

/// One API server: a client with some work to do until it is told to stop.
struct Server {
    client: Client,
    stops: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Done>>>,
    conflicts: Arc<AtomicU64>,
}

impl Server {
    /// Updates, deletes and creates pods, each only as it has last seen it.
    async fn work(self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        // What it believes.
        let mut seen: BTreeMap<u64, i64> = BTreeMap::new();
        while !self.stops.load(SeqCst) {
            let pod_number = random.u64(0..OBJECTS);
            let key = pod(pod_number);
            let revision = seen.get(&pod_number).copied().unwrap_or(0);
            let deletes = revision > 0 && random.u8(0..6) == 0;
            let value = format!("{seed}/{}", random.u64(..));
            let then = if deletes { delete(&key) } else { put(&key, &value, 0) };
            match self.client.txn(guarded(&key, revision, then)).await {
                Ok(answer) if answer.succeeded => {
                    let at = answer.header.expect("a header").revision;
                    seen.insert(pod_number, if deletes { 0 } else { at });
                    let change = (key, at, (!deletes).then_some(value));
                    self.done.lock().expect("nobody panics").push(change);
                }
                Ok(answer) => {
                    self.conflicts.fetch_add(1, SeqCst);
                    let there = found(&answer).map_or(0, |kv| kv.mod_revision);
                    assert_ne!(there, revision, "refused, and yet it is as was expected");
                    seen.insert(pod_number, there);
                }
                // Whether it was carried out will be seen.
                Err(error) => assert!(is_passing(&error), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What a client hears while a leader is away.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Lost { .. } | Error::Deadline { .. } => true,
        Error::Refused(refusal) => refusal.message.starts_with("etcdserver: "),
        _ => false,
    }
}

/// All pods as they were at one revision, page by page; none if that is compacted meanwhile.
async fn list(client: &Client) -> Option<(i64, BTreeMap<Bytes, KeyValue>)> {
    let (mut key, mut revision): (Bytes, i64) = (PODS.into(), 0);
    let mut all = BTreeMap::new();
    loop {
        let request = RangeRequest {
            key,
            range_end: prefix_end(PODS.as_bytes()),
            limit: PAGE,
            revision,
            ..RangeRequest::default()
        };
        let page = match client.range(request).await {
            Ok(page) => page,
            Err(Error::Refused(refusal)) if refusal.message.contains("compacted") => return None,
            Err(error) if is_passing(&error) => return None,
            Err(error) => panic!("{error}"),
        };
        if revision == 0 {
            revision = page.header.expect("a header").revision;
        }
        assert!(page.kvs.len() as u64 <= PAGE.unsigned_abs());
        assert!(page.kvs.iter().all(|kv| kv.mod_revision <= revision), "later than asked for");
        let left = page.count - i64::try_from(page.kvs.len()).expect("few");
        assert_eq!(page.more, left > 0, "{left} are left");
        let Some(last) = page.kvs.last() else { break };
        key = after(&last.key);
        all.extend(page.kvs.into_iter().map(|kv| (kv.key.clone(), kv)));
        if !page.more {
            break;
        }
    }
    Some((revision, all))
}

/// What a watch has told.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    revision: i64,
    key: Bytes,
    value: Option<Bytes>,
    /// The revision of what was there before.
    before: i64,
}

/// A watch cache: everything below a prefix from a revision on.
struct Cache {
    told: Arc<Mutex<Vec<Told>>>,
    bookmarks: Arc<Mutex<Vec<i64>>>,
}

impl Cache {
    fn start(runtime: &Runtime, client: &Client, from: i64, asks: bool) -> Self {
        let cache = Self { told: Arc::default(), bookmarks: Arc::default() };
        let (told, bookmarks) = (Arc::clone(&cache.told), Arc::clone(&cache.bookmarks));
        let mut watcher = client.watch(WatchCreateRequest {
            key: REGISTRY.into(),
            range_end: prefix_end(REGISTRY.as_bytes()),
            start_revision: from,
            progress_notify: !asks,
            prev_kv: true,
            ..WatchCreateRequest::default()
        });
        let asker = watcher.asker();
        if asks {
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    asker.ask();
                }
            });
        }
        runtime.spawn(async move {
            let mut last = from - 1;
            loop {
                let answer = watcher.next().await.expect("it goes on for ever");
                if answer.events.is_empty() {
                    let bookmark = answer.header.expect("a header").revision;
                    assert!(bookmark >= last, "a bookmark at {bookmark} behind {last}");
                    last = bookmark;
                    bookmarks.lock().expect("nobody panics").push(bookmark);
                    continue;
                }
                let mut all = told.lock().expect("nobody panics");
                let first = answer.events[0].kv.as_ref().expect("a pair").mod_revision;
                assert!(first > last, "revision {first} is told behind {last}");
                for event in answer.events {
                    let is_put = event.r#type == i32::from(EventType::Put);
                    let kv = event.kv.expect("a pair");
                    last = kv.mod_revision;
                    let before = event.prev_kv.map_or(0, |kv| kv.mod_revision);
                    let value = is_put.then_some(kv.value);
                    all.push(Told { revision: last, key: kv.key, value, before });
                }
            }
        });
        cache
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().expect("nobody panics").clone()
    }

    fn bookmark(&self) -> i64 {
        self.bookmarks.lock().expect("nobody panics").last().copied().unwrap_or(0)
    }

    fn waits_for(&self, what: &str, is_told: impl Fn(&Self) -> bool) {
        e2e::eventually(PATIENCE, what, || is_told(self).then_some(()));
    }
}

/// As API servers do it: whoever moves the key on compacts to where it stood the last time.
async fn compact(client: &Client, time: &mut i64, revision: &mut i64) -> Option<i64> {
    let key = Bytes::from(COMPACTED);
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Version.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::Version(*time)),
    };
    let request = TxnRequest {
        compare: vec![compare],
        success: vec![op(put(&key, &revision.to_string(), 0))],
        failure: vec![op(get(&key))],
    };
    let answer = client.txn(request).await.ok()?;
    let now = answer.header.expect("a header").revision;
    if !answer.succeeded {
        // Somebody else was quicker.
        *time = found(&answer).map_or(0, |kv| kv.version);
        *revision = now;
        return None;
    }
    let to = std::mem::replace(revision, now);
    *time += 1;
    if to == 0 {
        return None;
    }
    client.compact(CompactionRequest { revision: to, physical: false }).await.ok().map(|_| to)
}

/// The pods after all that was told up to a revision.
fn replay(
    begin: &BTreeMap<Bytes, KeyValue>,
    told: &[Told],
    to: i64,
) -> BTreeMap<Bytes, (Bytes, i64)> {
    let begin = begin.iter().map(|(key, kv)| (key.clone(), (kv.value.clone(), kv.mod_revision)));
    let mut pods: BTreeMap<_, _> = begin.collect();
    for one in told.iter().filter(|one| one.revision <= to && one.key.starts_with(PODS.as_bytes()))
    {
        let before = match &one.value {
            Some(value) => pods.insert(one.key.clone(), (value.clone(), one.revision)),
            None => pods.remove(&one.key),
        };
        // Of what was compacted nobody tells.
        let before = before.map_or(0, |(_, revision)| revision);
        assert!(one.before == before || one.before == 0, "{one:?} instead of {before}");
    }
    pods
}

#[test]
fn api_servers_notice_nothing_of_a_change_of_leader_but_time() {
    let mut cluster = Cluster::start_with(3, &["--watch-progress-notify-interval=100ms"]);
    let runtime = runtime();
    let urls: Vec<_> = cluster.members.iter().map(e2e::Member::url).collect();
    let everybody = client(&urls);
    runtime.block_on(async {
        for number in 0..OBJECTS {
            let request = guarded(&pod(number), 0, put(&pod(number), "first", 0));
            assert!(everybody.txn(request).await.expect("it is made").succeeded);
        }
    });
    let (begin, first) = runtime.block_on(list(&everybody)).expect("nothing is compacted");
    assert_eq!(first.len() as u64, OBJECTS);
    // One cache at each member; and one that goes to whoever is there, and asks how far it is.
    let mut caches: Vec<_> = urls
        .iter()
        .map(|url| Cache::start(&runtime, &client(std::slice::from_ref(url)), begin + 1, false))
        .collect();
    caches.push(Cache::start(&runtime, &everybody, begin + 1, true));
    let stops = Arc::new(AtomicBool::new(false));
    let (done, conflicts) = (Arc::default(), Arc::default());
    let servers: Vec<_> = (0..3)
        .map(|seed| {
            let mut urls = urls.clone();
            urls.rotate_left(usize::try_from(seed).expect("small"));
            let server = Server {
                client: client(&urls).within(PATIENCE * 10),
                stops: Arc::clone(&stops),
                done: Arc::clone(&done),
                conflicts: Arc::clone(&conflicts),
            };
            runtime.spawn(server.work(seed))
        })
        .collect();
    let changes = || done.lock().expect("nobody panics").len();
    let go_on = |count: usize| {
        let wanted = changes() + count;
        e2e::eventually(PATIENCE, "writes go on", || (wanted <= changes()).then_some(()));
    };
    // A lease for a thousand events, which nobody keeps.
    let lease = runtime.block_on(async {
        let request = LeaseGrantRequest { id: 0, ttl: LEASE_SECONDS };
        let lease = everybody.lease_grant(request).await.expect("it is granted").id;
        for chunk in 0..SHARED / 100 {
            let key = |number| format!("{EVENTS}e-{:04}", chunk * 100 + number).into();
            let puts = (0..100).map(|number| op(put(&key(number), "an event", lease)));
            let request = TxnRequest { success: puts.collect(), ..TxnRequest::default() };
            everybody.txn(request).await.expect("they are made");
        }
        lease
    });
    // Two compact, every so often, of whom one does each time.
    let mut compactors = [(0, 0), (0, 0)];
    let (mut compactions, mut lists) = (0, Vec::new());
    for round in 0..12 {
        go_on(60);
        if round == 5 {
            let leader = cluster.leader();
            cluster.members[leader].kill();
            go_on(60);
            cluster.members[leader].restart();
        }
        lists.extend(runtime.block_on(list(&everybody)));
        if round % 3 == 2 {
            for (time, revision) in &mut compactors {
                let compacted = runtime.block_on(compact(&everybody, time, revision));
                compactions += u64::from(compacted.is_some());
            }
        }
    }
    // The lease ends, whoever leads, and all its keys with it, at once.
    let gone = |cache: &Cache| {
        let told = cache.told();
        let events = told.iter().filter(|one| one.key.starts_with(EVENTS.as_bytes()));
        events.filter(|one| one.value.is_none()).count() as u64 == SHARED
    };
    caches[3].waits_for("the events end with their lease", gone);
    stops.store(true, SeqCst);
    for server in servers {
        runtime.block_on(server).expect("it does not panic");
    }
    let last = runtime.block_on(async {
        let request = PutRequest { key: format!("{PODS}last").into(), ..PutRequest::default() };
        everybody.put(request).await.expect("it is written").header.expect("a header").revision
    });
    for cache in &caches {
        let is_told = |cache: &Cache| cache.told().last().is_some_and(|one| one.revision == last);
        cache.waits_for("all is told", is_told);
        cache.waits_for("and that it is", |cache| cache.bookmark() >= last);
    }
    let story = caches[3].told();
    for cache in &caches {
        // What is before an event depends on what was compacted when it was told.
        let without = |told: &[Told]| -> Vec<_> {
            told.iter().map(|one| (one.revision, one.key.clone(), one.value.clone())).collect()
        };
        assert_eq!(without(&cache.told()), without(&story), "caches differ");
    }
    check_changes(&done.lock().expect("nobody panics"), &story);
    println!(
        "{} lists, {compactions} compactions, {} conflicts, {} events",
        lists.len(),
        conflicts.load(SeqCst),
        story.len()
    );
    assert!(lists.len() > 5 && compactions > 0 && conflicts.load(SeqCst) > 0);
    for (revision, all) in &lists {
        let listed: BTreeMap<_, _> = all
            .iter()
            .map(|(key, kv)| (key.clone(), (kv.value.clone(), kv.mod_revision)))
            .collect();
        assert_eq!(listed, replay(&first, &story, *revision), "the list at {revision}");
    }
    check_lease(&story, lease, &cluster);
    from_a_bookmark(&runtime, &cluster, &caches, &story);
    v3::agree(&cluster.members);
}

/// Each change that a client was told of is an event, at its revision.
fn check_changes(done: &[Done], story: &[Told]) {
    let told: BTreeMap<_, _> = story.iter().map(|one| ((one.revision, &one.key), one)).collect();
    for (key, revision, value) in done {
        let event = told.get(&(*revision, key)).unwrap_or_else(|| panic!("{revision} is lost"));
        let expected = value.as_ref().map(|value| Bytes::copy_from_slice(value.as_bytes()));
        assert_eq!(event.value, expected, "at {revision}");
    }
}

/// All keys of the lease have gone at one revision, and nothing else with them.
fn check_lease(story: &[Told], lease: i64, cluster: &Cluster) {
    let ends =
        story.iter().filter(|one| one.key.starts_with(EVENTS.as_bytes()) && one.value.is_none());
    let ends: Vec<_> = ends.map(|one| one.revision).collect();
    assert!(ends.iter().all(|one| *one == ends[0]), "the lease's keys have gone one by one");
    let told = v3::post(&cluster.members[0], "lease/timetolive", &json!({"ID": lease}));
    assert_eq!(number(&told["TTL"]), -1, "the lease has gone");
}

/// Whoever has heard of a bookmark goes on from there, at any member.
fn from_a_bookmark(runtime: &Runtime, cluster: &Cluster, caches: &[Cache], story: &[Told]) {
    let compacted = v3::hash(&cluster.members[0], 0).1;
    let last = story.last().expect("there was something").revision;
    for (cache, member) in caches.iter().zip(cluster.members.iter().cycle().skip(1)) {
        let bookmarks = cache.bookmarks.lock().expect("nobody panics").clone();
        let bookmark = bookmarks.iter().copied().find(|one| *one > compacted);
        let bookmark = bookmark.expect("bookmarks come all the time");
        let again = Cache::start(runtime, &client(&[member.url()]), bookmark + 1, true);
        let expected: Vec<_> =
            story.iter().filter(|one| one.revision > bookmark).cloned().collect();
        let is_told = |cache: &Cache| cache.bookmark() >= last;
        again.waits_for("it goes on from there", is_told);
        let key = |told: &[Told]| -> Vec<_> {
            told.iter().map(|one| (one.revision, one.key.clone(), one.value.clone())).collect()
        };
        assert_eq!(key(&again.told()), key(&expected), "from {bookmark}");
    }
}

/// Transactions that depend on what they have seen: of many who want the same, one gets it.
#[test]
fn of_many_optimistic_updates_of_one_object_none_is_lost() {
    const SERVERS: u64 = 4;
    const UPDATES: u64 = 40;
    let cluster = Cluster::start(3);
    let runtime = runtime();
    let key = Bytes::from("/registry/counter");
    let counts: Vec<_> = (0..SERVERS)
        .map(|server| {
            let member = usize::try_from(server).expect("small") % 3;
            let (client, key) = (client(&[cluster.members[member].url()]), key.clone());
            runtime.spawn(async move {
                let (mut revision, mut count) = (0, 0_u64);
                for _ in 0..UPDATES {
                    let began = Instant::now();
                    loop {
                        let value = (count + 1).to_string();
                        let request = guarded(&key, revision, put(&key, &value, 0));
                        let answer = client.txn(request).await.expect("a healthy cluster answers");
                        if answer.succeeded {
                            revision = answer.header.expect("a header").revision;
                            count += 1;
                            break;
                        }
                        let kv = found(&answer).expect("somebody has made it");
                        revision = kv.mod_revision;
                        count = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
                        assert!(began.elapsed() < PATIENCE, "it never gets its turn");
                    }
                }
            })
        })
        .collect();
    for one in counts {
        runtime.block_on(one).expect("it does not panic");
    }
    let client = client(&[cluster.members[0].url()]);
    let request = RangeRequest { key, ..RangeRequest::default() };
    let counted = runtime.block_on(client.range(request)).expect("it answers");
    assert_eq!(counted.kvs[0].value, (SERVERS * UPDATES).to_string());
    assert_eq!(counted.kvs[0].version, i64::try_from(SERVERS * UPDATES).expect("small"));
    v3::agree(&cluster.members);
}
