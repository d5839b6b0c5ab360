//! Members of a cluster in one process, one of whose disks fails under many writers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests wait in real time, and fail by panicking"
)]

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use base::{Clock, Disk, OsClock, disk::MemDisk, limits};
use bytes::Bytes;
use mvcc::Kind;
use proto::command::{KeysMethod, KeysWrite, Op};
use server::{Handle, Unserved};
use state::Response;
use tokio::{runtime::Runtime, sync::watch, task::JoinHandle};

/// Several times as many as are a crowd to a leader.
const WRITERS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// How a disk fails.
type Fault = fn(&MemDisk);

/// One sync of the log fails, and the next would succeed; or nothing works any more.
const FAULTS: [Fault; 2] = [MemDisk::fail_next_sync, |disk| disk.fail_after(20)];

fn has_failed(disk: &MemDisk) -> bool {
    disk.failed_syncs() > 0 || disk.failed()
}

fn config(at: usize, peers: &[SocketAddr]) -> server::Config {
    let url = |address: &SocketAddr| vec![format!("http://{address}")];
    let named = |(at, address)| (format!("m{at}"), url(address));
    server::Config {
        name: format!("m{at}"),
        data_dir: Path::new("/data").to_owned(),
        wal_dir: None,
        initial_cluster: peers.iter().enumerate().map(named).collect(),
        initial_cluster_token: "etcd-cluster".to_owned(),
        new_cluster: true,
        force_new_cluster: false,
        forcing: watch::Sender::default(),
        strict_reconfig_check: true,
        peer_urls: url(&peers[at]),
        client_urls: vec!["http://localhost:2379".to_owned()],
        heartbeat: Duration::from_millis(100),
        election: Duration::from_secs(1),
        snapshot_count: 10_000,
        quota_bytes: limits::QUOTA_BYTES_DEFAULT,
        request_bytes_max: limits::REQUEST_BYTES_MAX,
        auto_compaction: None,
        apply_expected: Duration::from_millis(100),
        corruption: server::CorruptionChecks::default(),
        learners_max: 1,
        catch_up_entries: 5_000,
        dialer: server::Dialer::default(),
        timeouts: server::Timeouts::default(),
    }
}

/// A member that others hear, as long as its own runtime lives: with it all ends that would end with the
/// process.
struct Running {
    handle: Handle,
    runtime: Runtime,
}

fn runtime() -> Runtime {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(2).enable_all().build().unwrap()
}

/// Three members, each with a disk in memory.
struct Cluster {
    /// Of the clients.
    runtime: Runtime,
    peers: Vec<SocketAddr>,
    disks: Vec<MemDisk>,
    members: Vec<Option<Running>>,
}

impl Cluster {
    fn start() -> Self {
        let runtime = runtime();
        let any = || TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listeners = [any(), any(), any()];
        let peers = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let disks = (0..3).map(MemDisk::new).collect();
        let mut cluster = Self { runtime, peers, disks, members: Vec::new() };
        for (at, listener) in listeners.into_iter().enumerate() {
            let member = cluster.launch(at, listener);
            cluster.members.push(Some(member));
        }
        cluster.leader();
        cluster
    }

    fn launch(&self, at: usize, listener: TcpListener) -> Running {
        let runtime = runtime();
        let context = runtime.enter();
        let disk: Arc<dyn Disk> = Arc::new(self.disks[at].clone());
        let clock: Arc<dyn Clock> = Arc::new(OsClock::new());
        let handle = server::start(config(at, &self.peers), disk, clock).expect("it starts");
        listener.set_nonblocking(true).unwrap();
        let port = api::Port::plain(tokio::net::TcpListener::from_std(listener).unwrap());
        let stop = watch::Sender::new(false);
        let served = api::serve_peers(port, handle.clone(), stop.subscribe());
        runtime.spawn(async move {
            served.await;
            drop(stop);
        });
        drop(context);
        Running { handle, runtime }
    }

    fn handle(&self, at: usize) -> &Handle {
        &self.members[at].as_ref().expect("it runs").handle
    }

    fn running(&self) -> Vec<usize> {
        (0..3).filter(|at| self.members[*at].is_some()).collect()
    }

    /// Who leads those that run and have not failed.
    fn leader(&self) -> usize {
        let leads = |at: &usize| {
            let status = self.handle(*at).status();
            status.is_leader && self.is_fine(*at)
        };
        eventually("somebody leads", || self.running().into_iter().find(leads))
    }

    /// It has not failed so far.
    fn is_fine(&self, at: usize) -> bool {
        let failed = self.handle(at).failed();
        let now = async { tokio::time::timeout(Duration::ZERO, failed).await };
        self.runtime.block_on(now).is_err()
    }

    fn stop(&mut self, at: usize) {
        let Running { handle, runtime } = self.members[at].take().expect("it runs");
        self.runtime.block_on(handle.stop());
        runtime.shutdown_timeout(PATIENCE);
    }

    /// Of what was not synced chance decides.
    fn restart_after_a_loss_of_power(&mut self, at: usize) {
        self.disks[at] = self.disks[at].fork(at as u64);
        self.disks[at].crash();
        self.restart(at);
    }

    fn restart(&mut self, at: usize) {
        let listener = TcpListener::bind(self.peers[at]).unwrap();
        self.members[at] = Some(self.launch(at, listener));
    }

    /// Waits until a member has failed, and nobody else. Returns whether that was known to the log at once:
    /// now and then it is the keyspace whose sync fails, by another thread.
    fn fails(&self, at: usize) -> bool {
        let why = self.runtime.block_on(async {
            let failed = self.handle(at).failed();
            tokio::time::timeout(PATIENCE, failed).await.expect("it fails")
        });
        let (synced, lost) = (why.contains("the sync failed"), why.contains("lost power"));
        assert!(synced || lost, "{why}");
        let others = self.running().into_iter().filter(|other| *other != at);
        assert!(others.into_iter().all(|other| self.is_fine(other)));
        lost || why.contains("/wal/")
    }

    /// Waits until all that run hold what was acknowledged, and the same.
    fn hold(&self, book: &Book) {
        let acknowledged = book.acknowledged();
        assert!(acknowledged.len() == WRITERS, "{acknowledged:?}");
        let running = self.running();
        for at in &running {
            self.runtime.block_on(async {
                let barrier = self.handle(*at).read_barrier();
                tokio::time::timeout(PATIENCE, barrier).await.expect("it reads").unwrap();
            });
            for (writer, number) in &acknowledged {
                let held = read(self.handle(*at), *writer);
                assert!(held >= *number, "writer {writer} at member {at}: {held}, not {number}");
            }
        }
        let all = |at: &usize| (0..WRITERS).map(|writer| read(self.handle(*at), writer)).collect();
        eventually("they agree", || {
            let held: Vec<Vec<u64>> = running.iter().map(all).collect();
            held.iter().all(|one| *one == held[0]).then_some(())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for at in self.running() {
            if !std::thread::panicking() {
                self.stop(at);
            }
        }
    }
}

fn key(writer: usize) -> String {
    format!("/k{writer}")
}

/// The number that a member holds of a writer.
fn read(handle: &Handle, writer: usize) -> u64 {
    let record = handle.reader().store().get(Kind::Key, key(writer).as_bytes(), 0).unwrap();
    record.map_or(0, |record| std::str::from_utf8(&record.value).unwrap().parse().unwrap())
}

fn set(writer: usize, number: u64) -> Op {
    Op::Keys(KeysWrite {
        method: KeysMethod::Set.into(),
        path: Bytes::from(key(writer)),
        value: Bytes::from(number.to_string()),
        ..KeysWrite::default()
    })
}

/// What writers were told.
#[derive(Default)]
struct Book {
    stops: AtomicBool,
    /// The last number of each that was acknowledged.
    last: Mutex<BTreeMap<usize, u64>>,
    /// Writes that were acknowledged and had begun when the disk had failed.
    after_the_failure: AtomicU64,
    /// Writers that gave up: their member has stopped.
    stopped: AtomicU64,
}

impl Book {
    fn acknowledged(&self) -> BTreeMap<usize, u64> {
        self.last.lock().unwrap().clone()
    }

    /// So many writers at this member; each goes on until it is told that the member has stopped.
    fn begin(
        self: &Arc<Self>,
        cluster: &Cluster,
        at: usize,
        watched: usize,
    ) -> Vec<JoinHandle<()>> {
        self.stopped.store(0, SeqCst);
        let write = |writer| {
            let (book, handle) = (Arc::clone(self), cluster.handle(at).clone());
            let disk = cluster.disks[watched].clone();
            cluster.runtime.spawn(async move { book.write(writer, &handle, &disk).await })
        };
        (0..WRITERS).map(write).collect()
    }

    async fn write(&self, writer: usize, handle: &Handle, disk: &MemDisk) {
        let mut number = self.acknowledged().get(&writer).copied().unwrap_or(0);
        while !self.stops.load(SeqCst) {
            number += 1;
            let was_failed = has_failed(disk);
            match handle.write(set(writer, number)).await {
                Ok(done) => {
                    assert!(matches!(done.response, Response::Keys(Ok(_))), "{done:?}");
                    self.last.lock().unwrap().insert(writer, number);
                    self.after_the_failure.fetch_add(u64::from(was_failed), SeqCst);
                }
                Err(Unserved::Stopped) => {
                    self.stopped.fetch_add(1, SeqCst);
                    return;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Waits until each has had one more write acknowledged.
    fn goes_on(&self) {
        let before = self.acknowledged();
        eventually("writes go on", || {
            let now = self.acknowledged();
            let goes_on = |writer| now.get(&writer) > before.get(&writer);
            (0..WRITERS).all(goes_on).then_some(())
        });
    }

    /// Waits until all writers have been told that their member has stopped.
    fn end_by_themselves(&self, cluster: &Cluster, writers: Vec<JoinHandle<()>>) {
        let told = || self.stopped.load(SeqCst) == WRITERS as u64;
        eventually("all writers are told", || told().then_some(()));
        self.end(cluster, writers);
    }

    /// Nothing was acknowledged that was asked for after the failure.
    fn nobody_is_told_after(&self, by_log: bool) {
        let told = self.after_the_failure.load(SeqCst);
        assert!(told == 0 || !by_log, "{told} acknowledged after the failure");
    }

    fn end(&self, cluster: &Cluster, writers: Vec<JoinHandle<()>>) {
        self.stops.store(true, SeqCst);
        for writer in writers {
            cluster.runtime.block_on(writer).unwrap();
        }
        self.stops.store(false, SeqCst);
    }
}

#[track_caller]
fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_leader_whose_log_fails_stops_and_the_others_go_on() {
    for fault in FAULTS {
        let mut cluster = Cluster::start();
        let (leader, book) = (cluster.leader(), Arc::new(Book::default()));
        let writers = book.begin(&cluster, leader, leader);
        book.goes_on();
        fault(&cluster.disks[leader]);
        let by_log = cluster.fails(leader);
        // Each is told.
        book.end_by_themselves(&cluster, writers);
        book.nobody_is_told_after(by_log);
        let next = cluster.leader();
        assert_ne!(next, leader);
        let writers = book.begin(&cluster, next, next);
        book.goes_on();
        cluster.stop(leader);
        cluster.restart_after_a_loss_of_power(leader);
        book.goes_on();
        book.end(&cluster, writers);
        cluster.hold(&book);
    }
}

#[test]
fn a_follower_whose_log_fails_stops_and_the_others_go_on() {
    for fault in FAULTS {
        let mut cluster = Cluster::start();
        let (leader, book) = (cluster.leader(), Arc::new(Book::default()));
        let follower = (leader + 1) % 3;
        let (at_leader, at_follower) = (Arc::clone(&book), Arc::new(Book::default()));
        let writers = at_leader.begin(&cluster, leader, leader);
        at_leader.goes_on();
        fault(&cluster.disks[follower]);
        cluster.fails(follower);
        // It is told to whoever asks there, and is nothing to the others.
        let told = at_follower.begin(&cluster, follower, follower);
        at_follower.end_by_themselves(&cluster, told);
        assert_eq!(at_follower.acknowledged(), BTreeMap::new());
        at_leader.goes_on();
        assert_eq!(cluster.leader(), leader);
        cluster.stop(follower);
        cluster.restart_after_a_loss_of_power(follower);
        at_leader.goes_on();
        book.end(&cluster, writers);
        cluster.hold(&book);
    }
}

/// The third is down, so that whatever is acknowledged must be on both their disks: when the one fails,
/// what it holds after a loss of power is enough without the other.
#[test]
fn what_was_acknowledged_by_two_is_on_the_disk_of_either_when_it_fails() {
    for (fault, leads) in FAULTS.into_iter().flat_map(|fault| [(fault, true), (fault, false)]) {
        let mut cluster = Cluster::start();
        let (leader, book) = (cluster.leader(), Arc::new(Book::default()));
        let (follower, third) = ((leader + 1) % 3, (leader + 2) % 3);
        let (fails, other) = if leads { (leader, follower) } else { (follower, leader) };
        cluster.stop(third);
        let writers = book.begin(&cluster, leader, fails);
        book.goes_on();
        fault(&cluster.disks[fails]);
        let by_log = cluster.fails(fails);
        // An acknowledgement that must not come has time to.
        std::thread::sleep(Duration::from_millis(300));
        cluster.stop(other);
        cluster.stop(fails);
        book.end_by_themselves(&cluster, writers);
        book.nobody_is_told_after(by_log);
        cluster.restart(third);
        cluster.restart_after_a_loss_of_power(fails);
        cluster.leader();
        cluster.hold(&book);
    }
}
