//! How fast entries are appended and read back: `cargo test --release -p wal --test speed --
//! --ignored --nocapture`. `WAL_DIR` names another directory than the temporary one.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "measures real time on a real disk")]

use std::{path::PathBuf, sync::Arc, time::Instant};

use base::{ClusterId, Index, MemberId, OsDisk, Term};
use bytes::Bytes;
use wal::{Entry, HardState, Held, Identity, Looked, Options, Wal};

#[test]
#[ignore = "a measurement; run it in release"]
fn speed() {
    for (batch, bytes, syncs) in [(500, 64, false), (500, 64, true), (64, 256, true), (1, 64, true)]
    {
        measure(batch, bytes, syncs);
    }
}

fn measure(batch: usize, bytes: usize, syncs: bool) {
    let parent = std::env::var("WAL_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let dir = parent.join(format!("retcd-wal-speed-{}", std::process::id()));
    let identity = Identity { cluster: ClusterId(1), member: MemberId(1) };
    let mut wal = Wal::create(Arc::new(OsDisk), &dir, identity, Options::default()).unwrap();
    let data = Bytes::from(vec![b'x'; bytes]);
    let mut entries: Vec<Entry> = (0..batch)
        .map(|_| Entry {
            index: Index(0),
            term: Term(1),
            kind: 0,
            data: data.clone(),
            context: Bytes::new(),
        })
        .collect();
    let batches = if batch == 1 { 5_000 } else { 1_000_000_usize.div_ceil(batch) };
    let mut last = 0;
    let start = Instant::now();
    for _ in 0..batches {
        for entry in &mut entries {
            last += 1;
            entry.index = Index(last);
        }
        let hard_state =
            HardState { term: Term(1), vote: MemberId(1), commit: Index(last - batch as u64) };
        wal.append(Some(hard_state), &entries).unwrap();
        if syncs {
            wal.sync().unwrap();
        }
    }
    let appended = start.elapsed();
    let size = wal.bytes();
    drop(wal);
    let start = Instant::now();
    let looked = Looked::look(Arc::new(OsDisk), &dir, Held::NOTHING).unwrap().unwrap();
    let (_, found) = looked.open(Options::default()).unwrap();
    let opened = start.elapsed();
    assert_eq!(found.entries.len() as u64, last);
    std::fs::remove_dir_all(&dir).unwrap();
    println!(
        "batches of {batch} entries of {bytes} B, {}: {:.0} entries/s; {last} entries in {} MiB \
         opened in {opened:.1?}",
        if syncs { "each synced" } else { "not synced" },
        last as f64 / appended.as_secs_f64(),
        size >> 20,
    );
}
