//! Stories of whole members: on a disk in memory that can fail, and on files.

#![allow(
    clippy::disallowed_methods,
    clippy::await_holding_lock,
    clippy::wildcard_enum_match_arm,
    reason = "tests wait in real time and look at real files"
)]

mod corruption;
mod expiry;
mod lone_writes;
mod starting;

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use base::{Clock, Disk, Index, OsClock, OsDisk, UnixNanos, disk::MemDisk, limits};
use bytes::Bytes;
use mvcc::Kind;
use proto::{
    command::{KeysMethod, KeysWrite, LeaseRevoke, Op},
    etcdserverpb::{LeaseGrantRequest, LeaseTimeToLiveRequest},
};
use state::Response;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
};

use crate::{Config, Handle, StartError, Unserved, start};

fn config(dir: &Path) -> Config {
    let url = || "http://localhost:2380".to_owned();
    Config {
        name: "default".to_owned(),
        data_dir: dir.to_owned(),
        wal_dir: None,
        initial_cluster: vec![("default".to_owned(), vec![url()])],
        initial_cluster_token: "etcd-cluster".to_owned(),
        new_cluster: true,
        force_new_cluster: false,
        forcing: tokio::sync::watch::Sender::default(),
        strict_reconfig_check: true,
        peer_urls: vec![url()],
        client_urls: vec!["http://localhost:2379".to_owned()],
        heartbeat: Duration::from_millis(100),
        election: Duration::from_secs(1),
        snapshot_count: 10_000,
        quota_bytes: limits::QUOTA_BYTES_DEFAULT,
        request_bytes_max: limits::REQUEST_BYTES_MAX,
        auto_compaction: None,
        apply_expected: Duration::from_millis(100),
        corruption: crate::CorruptionChecks::default(),
        learners_max: 1,
        catch_up_entries: 5_000,
        dialer: peer::Dialer::default(),
        timeouts: peer::Timeouts::default(),
    }
}

pub(crate) fn mem_config() -> Config {
    config(Path::new("/data"))
}

pub(crate) fn start_on(disk: &Arc<dyn Disk>, config: Config) -> Result<Handle, StartError> {
    start(config, Arc::clone(disk), Arc::new(OsClock::new()))
}

pub(crate) fn mem() -> (MemDisk, Arc<dyn Disk>) {
    let disk = MemDisk::new(1);
    (disk.clone(), Arc::new(disk))
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

pub(crate) fn set(path: &str, value: &str) -> Op {
    Op::Keys(KeysWrite {
        method: KeysMethod::Set.into(),
        path: Bytes::copy_from_slice(path.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..KeysWrite::default()
    })
}

fn set_until(path: &str, expiry: UnixNanos) -> Op {
    match set(path, "x") {
        Op::Keys(write) => Op::Keys(KeysWrite { expiry: Some(expiry.0), ..write }),
        _ => panic!("not a write to keys"),
    }
}

fn read(handle: &Handle, path: &str) -> Option<String> {
    let record = handle.reader().store().get(Kind::Key, path.as_bytes(), 0).unwrap()?;
    Some(String::from_utf8(record.value.to_vec()).unwrap())
}

/// The index at which v2 has the write.
fn written(response: &Response) -> u64 {
    match response {
        Response::Keys(Ok(event)) => event.node.modified_index,
        other => panic!("not a write that succeeded: {other:?}"),
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The raft thread stops applying when it takes long, and the apply thread goes on: raft must hear of
/// both in this order.
#[test]
fn what_two_threads_apply_is_told_in_order() {
    let (_, disk) = mem();
    let clock = RestlessClock { clock: OsClock::new(), looks: AtomicU64::new(0) };
    runtime().block_on(async {
        let handle = start(mem_config(), disk, Arc::new(clock)).unwrap();
        handle.ready().await;
        for _ in 0..500 {
            let writes: Vec<_> = (0..40).map(|_| spawn_write(&handle, set("/a", "1"))).collect();
            for write in writes {
                write.await.unwrap().unwrap();
            }
        }
        handle.stop().await;
    });
}

#[test]
fn a_write_is_applied_answered_and_there_after_a_restart() {
    let (_, disk) = mem();
    runtime().block_on(async {
        let handle = start_on(&disk, mem_config()).unwrap();
        handle.ready().await;
        let first = handle.write(set("/a", "1")).await.unwrap();
        let second = handle.write(set("/a", "2")).await.unwrap();
        assert_eq!(written(&second.response), written(&first.response) + 1);
        assert_eq!(second.index, Index(first.index.0 + 1));
        handle.read_barrier().await.unwrap();
        assert_eq!(read(&handle, "/a").as_deref(), Some("2"));
        let status = handle.status();
        assert!(status.is_leader && status.leader == Some(handle.member_id()));
        handle.stop().await;
        assert_eq!(handle.write(set("/a", "3")).await.unwrap_err(), Unserved::Stopped);

        let again = start_on(&disk, mem_config()).unwrap();
        assert_eq!(again.member_id(), handle.member_id());
        again.ready().await;
        assert_eq!(read(&again, "/a").as_deref(), Some("2"));
        let third = again.write(set("/b", "3")).await.unwrap();
        assert_eq!(written(&third.response), written(&second.response) + 1);
        again.stop().await;
    });
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_at_any_time() {
    for seed in 0..20 {
        let disk = MemDisk::new(seed);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let handle = start_on(&shared, mem_config()).unwrap();
        let writes = 1 + seed * 7;
        runtime().block_on(async {
            for n in 0..writes {
                handle.write(set(&format!("/k{n}"), "v")).await.unwrap();
            }
        });
        // The other process goes on on the old disk, and knows nothing of this one.
        let after = disk.fork(seed);
        after.crash();
        let after: Arc<dyn Disk> = Arc::new(after);
        let again = start_on(&after, mem_config()).unwrap();
        runtime().block_on(async {
            again.ready().await;
            for n in 0..writes {
                assert!(read(&again, &format!("/k{n}")).is_some(), "seed {seed} lost write {n}");
            }
            again.stop().await;
            handle.stop().await;
        });
    }
}

#[test]
fn a_failed_sync_stops_the_member_and_nobody_is_told_of_success_any_more() {
    let (mem, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        handle.write(set("/before", "1")).await.unwrap();
        mem.fail_next_sync();
        let answers: Vec<_> =
            (0..10).map(|n| spawn_write(&handle, set(&format!("/after{n}"), "1"))).collect();
        for answer in answers {
            assert_eq!(answer.await.unwrap().unwrap_err(), Unserved::Stopped);
        }
        let why = handle.failed().await;
        assert!(why.contains("the sync failed"), "{why}");
        handle.stop().await;
        assert_eq!(handle.write(set("/later", "1")).await.unwrap_err(), Unserved::Stopped);
    });
}

#[test]
fn beyond_the_bounds_requests_are_refused_at_once() {
    let (_, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        // The log is busy: one write waits for it, and whatever comes then waits for the one.
        let wal = handle.shared.wal.lock();
        let mut waiting = vec![spawn_write(&handle, set("/a", "first"))];
        tokio::task::yield_now().await;
        wait_until("the raft thread takes it", || !handle.shared.inbox.has_proposals());
        for n in 0..limits::PROPOSALS_WAITING_MAX {
            waiting.push(spawn_write(&handle, set("/a", &n.to_string())));
        }
        let refused = || handle.counters().proposals_failed.load(Relaxed);
        while handle.shared.waiters.waiting() as u64 + refused() < waiting.len() as u64 {
            tokio::task::yield_now().await;
        }
        // The log is still busy: the answer did not wait for it.
        assert_eq!(handle.write(set("/b", "x")).await.unwrap_err(), Unserved::TooManyRequests);
        let revoke =
            spawn_write(&handle, Op::LeaseRevoke(LeaseRevoke { id: 7, ..LeaseRevoke::default() }));
        drop(wal);
        let mut taken = 0;
        for write in waiting {
            match write.await.unwrap() {
                Ok(_) => taken += 1,
                // On a slow machine they are a crowd that has waited for long before all have come.
                Err(why) => assert_eq!(why, Unserved::TooManyRequests),
            }
        }
        assert!(taken > limits::WRITES_IN_A_CROWD, "{taken}");
        assert_eq!(refused(), limits::PROPOSALS_WAITING_MAX as u64 + 2 - taken as u64);
        revoke.await.unwrap().expect("it is answered");
        handle.stop().await;
    });
}

#[test]
fn whoever_waits_too_long_is_told_even_if_the_disk_hangs() {
    let (_, disk) = mem();
    let clock = Arc::new(JumpingClock::default());
    let handle = start(mem_config(), disk, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        let hanging = handle.shared.wal.lock();
        let write = spawn_write(&handle, set("/a", "1"));
        tokio::task::yield_now().await;
        wait_until("the raft thread takes it", || !handle.shared.inbox.has_proposals());
        clock.jump(Duration::from_secs(6));
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!write.is_finished(), "5 s and two elections are 7 s");
        clock.jump(Duration::from_secs(1));
        let told = tokio::time::timeout(Duration::from_secs(3), write).await;
        assert_eq!(told.expect("nobody looks").unwrap().unwrap_err(), Unserved::Timeout);
        drop(hanging);
        handle.write(set("/b", "1")).await.unwrap();
        handle.stop().await;
    });
}

/// A long lease begins with what was noted down of it, whoever leads next; unless it was kept since.
#[test]
fn what_is_left_of_a_long_lease_outlives_its_leader() {
    let (_, disk) = mem();
    let clock = Arc::new(JumpingClock::default());
    let begin = || start(mem_config(), Arc::clone(&disk), Arc::clone(&clock) as Arc<dyn Clock>);
    let left = async |handle: &Handle| {
        let asked = LeaseTimeToLiveRequest { id: 7, keys: false };
        let told = handle.lease_time_to_live(asked).await.unwrap();
        assert_eq!(told.granted_ttl, 1_000);
        told.ttl
    };
    runtime().block_on(async {
        let handle = begin().unwrap();
        handle.ready().await;
        let granted = handle.write(Op::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 1_000 })).await;
        granted.unwrap();
        assert!(left(&handle).await > 990);
        clock.jump(limits::LEASE_CHECKPOINT_INTERVAL + Duration::from_secs(1));
        let note = || handle.reader().leases().all().get(&7).map_or(0, |lease| lease.remaining);
        wait_until("what is left is noted down", || (1..=700).contains(&note()));
        handle.stop().await;

        let next = begin().unwrap();
        next.ready().await;
        assert!((600..=701).contains(&left(&next).await), "{}", left(&next).await);
        assert_eq!(next.keep_lease(7).await, Ok(1_000));
        next.stop().await;

        let last = begin().unwrap();
        last.ready().await;
        assert!(left(&last).await > 990, "the note was taken back");
        last.stop().await;
    });
}

#[test]
fn a_read_barrier_waits_for_a_member_that_has_just_started() {
    let (mem, disk) = mem();
    runtime().block_on(async {
        let handle = start_on(&disk, mem_config()).unwrap();
        handle.ready().await;
        for n in 0..1_000 {
            handle.write(set("/a", &n.to_string())).await.unwrap();
        }
        // Killed before a flush: all comes from the log.
        let killed: Arc<dyn Disk> = Arc::new(mem.fork(1));
        let began = Instant::now();
        let again = start_on(&killed, slow_ticks(mem_config())).unwrap();
        again.read_barrier().await.unwrap();
        again.ready().await;
        assert!(began.elapsed() < TICK / 2, "{:?}: it waited for a tick", began.elapsed());
        assert_eq!(read(&again, "/a").as_deref(), Some("999"));
        assert!(again.status().is_leader);
        again.stop().await;
        assert_eq!(again.read_barrier().await, Err(Unserved::Stopped));
        handle.stop().await;
    });
}

#[test]
fn a_command_that_is_too_large_is_refused() {
    let (_, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    runtime().block_on(async {
        let large = "x".repeat(limits::REQUEST_BYTES_MAX);
        assert_eq!(handle.write(set("/a", &large)).await.unwrap_err(), Unserved::TooLarge);
        handle.stop().await;
    });
}

#[test]
fn a_client_that_goes_away_costs_nothing() {
    let (_, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        let write = spawn_write(&handle, set("/gone", "1"));
        tokio::task::yield_now().await;
        write.abort();
        handle.write(set("/b", "1")).await.unwrap();
        assert_eq!(handle.shared.waiters.waiting(), 0);
        assert_eq!(read(&handle, "/gone").as_deref(), Some("1"));
        handle.stop().await;
    });
}

const TICK: Duration = Duration::from_secs(3);

/// So that what happens on a tick only can be told from what happens at once.
fn slow_ticks(config: Config) -> Config {
    Config { heartbeat: TICK, election: 10 * TICK, ..config }
}

#[test]
fn an_idle_member_writes_nothing() {
    let (mem, disk) = mem();
    let handle = start_on(&disk, mem_config()).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        handle.write(set("/a", "1")).await.unwrap();
    });
    wait_until("all is flushed", || handle.status().durable == handle.status().applied);
    let operations = mem.operations();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(mem.operations(), operations);
    let commits = handle.counters().backend_commit.count();
    runtime().block_on(handle.stop());
    assert_eq!(handle.counters().backend_commit.count(), commits, "nothing is left to flush");
}

#[test]
fn writes_that_change_nothing_do_not_let_the_log_grow_for_ever() {
    let (_, disk) = mem();
    let config = Config { snapshot_count: 100, ..mem_config() };
    let handle = start_on(&disk, config).unwrap();
    runtime().block_on(async {
        handle.ready().await;
        handle.write(set("/lock", "mine")).await.unwrap();
        for _ in 0..500 {
            let taken = Op::Keys(KeysWrite {
                method: KeysMethod::Create.into(),
                path: Bytes::from_static(b"/lock"),
                ..KeysWrite::default()
            });
            let refused = handle.write(taken).await.unwrap();
            assert!(matches!(refused.response, Response::Keys(Err(_))));
        }
        wait_until("they are flushed", || {
            let status = handle.status();
            status.applied.0 - status.durable.0 < 100
        });
        handle.stop().await;
    });
}

#[test]
fn a_member_lives_on_real_files() {
    let dir = real_dir();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let config = Config { snapshot_count: 50, ..config(&dir.path().join("m")) };
    for round in 0..3 {
        let handle = start_on(&disk, config.clone()).unwrap();
        runtime().block_on(async {
            handle.ready().await;
            for n in 0..100 {
                handle.write(set(&format!("/{round}/{n}"), "v")).await.unwrap();
            }
            handle.stop().await;
            assert_eq!(handle.status().durable, handle.status().applied);
        });
    }
    let handle = start_on(&disk, config).unwrap();
    for round in 0..3 {
        assert!((0..100).all(|n| read(&handle, &format!("/{round}/{n}")).is_some()));
    }
    runtime().block_on(handle.stop());
}

/// The real clock, put forward at will.
#[derive(Debug, Default)]
struct JumpingClock {
    clock: OsClock,
    ahead_millis: AtomicU64,
}

impl JumpingClock {
    fn jump(&self, by: Duration) {
        self.ahead_millis.fetch_add(by.as_millis().try_into().unwrap(), Relaxed);
    }
}

impl Clock for JumpingClock {
    fn monotonic(&self) -> Duration {
        self.clock.monotonic() + Duration::from_millis(self.ahead_millis.load(Relaxed))
    }

    fn wall(&self) -> UnixNanos {
        self.clock.wall()
    }
}

/// A millisecond passes whenever somebody looks.
#[derive(Debug)]
struct RestlessClock {
    clock: OsClock,
    looks: AtomicU64,
}

impl Clock for RestlessClock {
    fn monotonic(&self) -> Duration {
        self.clock.monotonic() + Duration::from_millis(self.looks.fetch_add(1, Relaxed))
    }

    fn wall(&self) -> UnixNanos {
        self.clock.wall()
    }
}

/// On the disk of the repository: the one under `/tmp` may be memory.
fn real_dir() -> tempfile::TempDir {
    let target: PathBuf = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into();
    tempfile::tempdir_in(target).unwrap()
}

fn spawn_write(handle: &Handle, op: Op) -> tokio::task::JoinHandle<Result<crate::Done, Unserved>> {
    let handle = handle.clone();
    tokio::spawn(async move { handle.write(op).await })
}

/// A runtime as the product has it: others go on while one waits for the disk.
fn network() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
