//! How fast a member takes writes, without HTTP: p50 at one writer against a bare fdatasync, then
//! writes/s and CPU time per write with many.
//!
//! `cargo run --release -p server --example write_latency [DIR]`; the directory must be on a real
//! disk.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::unchecked_time_subtraction,
    reason = "a measuring tool"
)]

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use base::{OsClock, OsDisk, limits};
use proto::command::{KeysMethod, KeysWrite, Op};
use server::{Config, Handle};

const SECONDS: u64 = 3;

fn main() {
    let root = std::env::args().nth(1).unwrap_or_else(|| "target".to_owned());
    let dir = tempfile::tempdir_in(root).unwrap();
    println!("fdatasync of 4 KiB: p50 {:?}", fdatasync(dir.path()));
    let handle =
        server::start(config(&dir.path().join("m")), Arc::new(OsDisk), Arc::new(OsClock::new()))
            .unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        handle.ready().await;
        for writers in [1, 64, 256] {
            measure(&handle, writers).await;
        }
        handle.stop().await;
    });
}

async fn measure(handle: &Handle, writers: usize) {
    let (began, cpu) = (Instant::now(), cpu_time());
    let end = began + Duration::from_secs(SECONDS);
    let tasks: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(write_until(handle.clone(), writer, end))).collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    let (wall, cpu) = (began.elapsed(), cpu_time() - cpu);
    took.sort_unstable();
    println!(
        "{writers:>3} writers: {:>7.0} writes/s, p50 {:?}, p99 {:?}, {:.1} µs CPU per write",
        took.len() as f64 / wall.as_secs_f64(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        cpu.as_secs_f64() * 1e6 / took.len() as f64,
    );
}

async fn write_until(handle: Handle, writer: usize, end: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    let value = vec![b'v'; 64];
    while Instant::now() < end {
        let began = Instant::now();
        let path = format!("/bench/{writer}/{}", took.len() % 1_000);
        let write = KeysWrite {
            method: KeysMethod::Set.into(),
            path: path.into(),
            value: value.clone().into(),
            ..KeysWrite::default()
        };
        handle.write(Op::Keys(write)).await.unwrap();
        took.push(began.elapsed());
    }
    took
}

/// The median of syncing 4 KiB at a time into a file that has its length.
fn fdatasync(dir: &Path) -> Duration {
    let file = File::create(dir.join("probe")).unwrap();
    file.write_all_at(&vec![0; 8 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let mut took: Vec<Duration> = (0..1_000)
        .map(|n| {
            let began = Instant::now();
            file.write_all_at(&[1; 4096], n * 4096).unwrap();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

/// Of the whole process.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 wherever Linux runs.
    Duration::from_millis(ticks * 10)
}

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
        snapshot_count: 100_000,
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
