//! Measures the keyspace on a real disk.
//!
//! `cargo run --release -p mvcc --example keyspace -- DIR keys|million|reopen|overwrites|sizes…`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a measurement, not a product: it may stop at any error, and it needs real time"
)]

use std::{
    fs,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backend::{Applied, Backend, Change, Options, Table};
use base::{Index, OsDisk, Revision, Term, limits};
use bytes::Bytes;
use mvcc::{Action, Kind, ReadError, Store, Writer, store::Put};

/// A keyspace with a flusher thread, as in a member.
struct Keyspace {
    backend: Arc<Backend>,
    writer: Writer,
    entry: u64,
    stop: Arc<AtomicBool>,
    flusher: Option<thread::JoinHandle<()>>,
}

impl Keyspace {
    fn open(dir: &Path) -> Self {
        let options = Options { cache_bytes: 8 << 20 };
        let backend = Backend::open(Arc::new(OsDisk), &dir.join("keyspace"), options).unwrap();
        let backend = Arc::new(backend);
        let writer = Writer::open(Arc::clone(&backend)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flusher = thread::spawn({
            let (backend, stop) = (Arc::clone(&backend), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if backend.tail_bytes() >= limits::TAIL_FLUSH_BYTES {
                        backend.flush().unwrap();
                    } else {
                        thread::sleep(Duration::from_millis(2));
                    }
                }
            }
        });
        let entry = backend.applied().index.0;
        Self { backend, writer, entry, stop, flusher: Some(flusher) }
    }

    fn put(&mut self, name: Bytes, value: Bytes) {
        let put = Put {
            kind: Kind::Key,
            name,
            value,
            lease: 0,
            expiry: None,
            new_node: true,
            action: Action::Set,
            told: true,
        };
        let written: Result<_, ReadError> = self.writer.transact(|txn| {
            txn.put(put.clone());
            Ok(())
        });
        written.unwrap();
        self.finish();
    }

    fn finish(&mut self) {
        self.entry += 1;
        self.writer.finish_entry(Applied { index: Index(self.entry), term: Term(1) });
        while self.backend.tail_bytes() > limits::TAIL_BYTES_MAX {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn flush_all(&self) {
        while self.backend.tail_bytes() > 0 {
            self.backend.flush().unwrap();
        }
    }

    fn compact(&mut self, keep: i64) {
        let revision = self.writer.store().revision() - keep;
        if self.writer.compact(revision).is_ok() {
            self.finish();
        }
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(flusher) = self.flusher.take() {
            flusher.join().unwrap();
        }
    }
}

/// 64 bytes, in no order. Made when needed, so that a list of names is not measured too.
fn name(number: usize) -> Bytes {
    let mut name = *b"/registry/services/0000000000000000/endpoints/0000000000000000/x";
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for digit in 0..16 {
        let nibble = |number: u64| b"0123456789abcdef"[(number >> (digit * 4) & 15) as usize];
        name[19 + digit] = nibble(mixed);
        name[46 + digit] = nibble(number as u64);
    }
    Bytes::copy_from_slice(&name)
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn mb(bytes: u64) -> String {
    format!("{}.{} MB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

fn rate(count: usize, since: Instant) -> String {
    let nanos = since.elapsed().as_nanos() / count as u128;
    format!("{:>9}/s, {nanos} ns each", 1_000_000_000 / nanos.max(1))
}

fn gets(store: &Store, names: Range<usize>, what: &str) {
    let count = 200_000;
    let start = Instant::now();
    let mut at = 0_usize;
    for _ in 0..count {
        at = (at + 7_919) % names.len();
        assert!(store.get(Kind::Key, &name(names.start + at), 0).unwrap().is_some());
    }
    println!("  gets, {what:<28} {}", rate(count, start));
}

fn fresh(dir: &Path) {
    drop(fs::remove_dir_all(dir));
    fs::create_dir_all(dir).unwrap();
}

fn keys(dir: &Path, count: usize) {
    fresh(dir);
    println!("{count} keys of 64 bytes with values of 64 bytes");
    let before = resident();
    let mut keyspace = Keyspace::open(dir);
    let value = Bytes::from(vec![b'v'; 64]);
    let start = Instant::now();
    for number in 0..count {
        keyspace.put(name(number), value.clone());
    }
    println!("  puts                               {}", rate(count, start));
    gets(keyspace.writer.store(), count - 1_000..count, "cached");
    gets(keyspace.writer.store(), count - 25_000..count, "newest 25,000 (tail, cache)");
    keyspace.flush_all();
    gets(keyspace.writer.store(), 0..count, "anywhere (file)");
    let grown = resident() - before;
    println!("  resident: {} before, {} more", mb(before), mb(grown));
    println!("  file: {}", size(&keyspace, dir));
}

/// What [`keys`] left, in a process of its own.
fn reopen(dir: &Path) {
    let before = resident();
    let start = Instant::now();
    let keyspace = Keyspace::open(dir);
    let opened = start.elapsed();
    let count = keyspace.writer.store().usage().live_records;
    let after = resident();
    println!("{count} keys reopened in {opened:?}");
    println!(
        "  resident: {} before, {} more, {} bytes a key",
        mb(before),
        mb(after - before),
        (after - before) / count
    );
    gets(keyspace.writer.store(), 0..count as usize, "anywhere (file)");
    println!("  resident after reading: {}", mb(resident()));
}

fn size(keyspace: &Keyspace, dir: &Path) -> String {
    let (len, used) = keyspace.backend.size();
    let blocks = fs::metadata(dir.join("keyspace")).unwrap().blocks() * 512;
    format!("{} long, {} on disk, {} used", mb(len), mb(blocks), mb(used))
}

fn overwrites(dir: &Path, count: usize) {
    fresh(dir);
    println!("{count} overwrites of 100 keys, compacted to the newest 10,000 every 100,000");
    let mut keyspace = Keyspace::open(dir);
    let value = Bytes::from(vec![b'v'; 64]);
    let start = Instant::now();
    let mut worst = Duration::ZERO;
    for number in 0..count {
        keyspace.put(name(number % 100), value.clone());
        if number % 100_000 == 99_999 {
            keyspace.compact(10_000);
        }
        if number % 20 == 0 {
            let step = Instant::now();
            keyspace.writer.compact_step(100).unwrap();
            worst = worst.max(step.elapsed());
        }
        if number % (count / 10) == count / 10 - 1 {
            let (file, used) = keyspace.backend.size();
            println!(
                "  {:>9}: file {}, used {}, resident {}",
                number + 1,
                mb(file),
                mb(used),
                mb(resident())
            );
        }
    }
    println!("  overwrites with compaction         {}; longest step {worst:?}", rate(count, start));
}

fn value_sizes(dir: &Path) {
    println!("values of other sizes, 128 MB of each");
    for bytes in [256, 1 << 10, 4 << 10, 64 << 10] {
        fresh(dir);
        let count = (128 << 20) / bytes;
        let mut keyspace = Keyspace::open(dir);
        let value = Bytes::from(vec![b'v'; bytes]);
        let start = Instant::now();
        for number in 0..count {
            keyspace.put(name(number), value.clone());
        }
        keyspace.flush_all();
        println!("  {bytes} B: puts {}; file {}", rate(count, start), size(&keyspace, dir));
        gets(keyspace.writer.store(), 0..count, "anywhere (file)");
    }
}

/// Rows alone, without the index and the cache above them.
fn points(dir: &Path) {
    fresh(dir);
    let options = Options { cache_bytes: 8 << 20 };
    let backend = Backend::open(Arc::new(OsDisk), &dir.join("keyspace"), options).unwrap();
    let key = |number: usize| Revision::new(number as i64, 0).to_bytes();
    let count = 15_000;
    for number in 0..count {
        let (key, value) = (Bytes::copy_from_slice(&key(number)), Bytes::from(vec![b'v'; 140]));
        let change = Change { table: Table::Records, key, value: Some(value) };
        backend.write(Some(Applied { index: Index(number as u64), term: Term(1) }), vec![change]);
    }
    for place in ["tail", "file, its pages cached"] {
        let start = Instant::now();
        for number in 0..1_000_000 {
            let key = key(number * 7_919 % count);
            assert!(backend.get(Table::Records, &key).unwrap().is_some());
        }
        println!("one of {count} rows from the {place}: {}", rate(1_000_000, start));
        backend.flush().unwrap();
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap();
    let dir = Path::new(&dir);
    for part in args {
        match part.as_str() {
            "keys" => keys(dir, 100_000),
            "million" => keys(dir, 1_000_000),
            "reopen" => reopen(dir),
            "overwrites" => overwrites(dir, 1_000_000),
            "long" => overwrites(dir, 10_000_000),
            "sizes" => value_sizes(dir),
            "points" => points(dir),
            part => println!("no such part: {part}"),
        }
    }
}
