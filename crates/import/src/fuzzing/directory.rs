//! A data directory: a log of entries that the input names, with their checksums; a file or none; a
//! v2 store or none.

use std::{path::Path, sync::Arc};

use base::{Disk, disk::MemDisk};
use prost::Message as _;

use super::{Input, LOG, LOG_ELSEWHERE, imported};
use crate::{
    bolt::making::file,
    log::making::Maker,
    messages::{ConfChange, Entry, Request, SnapFile, Snapshot, SnapshotMetadata},
    samples::{LEASE, SNAP, Version, WAL, buckets, entries, write},
};

const WITH_FILE: u8 = 4;
const WITH_STORE: u8 = 8;
const OF_3_6: u8 = 16;
/// A v2 store with history, as `nodes/tests.rs` has it.
const STORE: &str = include_str!("store.json");

/// A byte for what there is and how it is imported, the v2 store if there is one, the records of the
/// log, and damage to its segments.
pub fn directory(data: &[u8]) {
    let mut input = Input(data);
    let how = input.byte();
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    let mut last = 0;
    if how & WITH_STORE != 0 {
        let (index, bytes) = store(&mut input);
        let path = Path::new(SNAP).join("0000000000000001-0000000000000001.snap");
        write(disk.as_ref(), &path, &bytes);
        last = index;
    }
    if how & WITH_FILE != 0 {
        let version = if how & OF_3_6 == 0 { Version::V3_5 } else { Version::V3_6 };
        let bytes = file(4_096, &buckets(version, &[LEASE]));
        write(disk.as_ref(), &Path::new(SNAP).join("db"), &bytes);
    }
    let mut segments = log(&mut input, last);
    while !input.is_over() {
        let number = usize::from(input.byte()) % segments.len();
        input.patch(&mut segments[number].1);
    }
    let log = Path::new(if how & LOG_ELSEWHERE == 0 { WAL } else { LOG });
    for (name, bytes) in segments {
        write(disk.as_ref(), &log.join(name), &bytes);
    }
    drop(imported(&disk, how));
}

/// The index of a snapshot, and its file: one byte for whether the JSON is the input's own or ours with
/// a few changes.
fn store(input: &mut Input<'_>) -> (u64, Vec<u8>) {
    let (changes, index) = (input.byte(), input.number().cast_unsigned());
    let json = if changes == 0xff {
        input.long().to_vec()
    } else {
        let mut json = STORE.trim_end().as_bytes().to_vec();
        (0..changes % 8).for_each(|_| input.patch(&mut json));
        json
    };
    let metadata = Some(SnapshotMetadata { index });
    let data = Snapshot { data: json.into(), metadata }.encode_to_vec();
    let crc = crc32c::crc32c(&data);
    (index, SnapFile { crc, data: data.into() }.encode_to_vec())
}

/// Records until one says that there are no more.
fn log(input: &mut Input<'_>, mut last: u64) -> Vec<(String, Vec<u8>)> {
    let mut maker = Maker::new();
    let samples = entries();
    while !input.is_over() {
        let what = input.byte();
        let mut next = |kind, data: Vec<u8>| {
            last = last.wrapping_add(1);
            Entry { kind, term: 2, index: last, data: data.into() }
        };
        match what % 16 {
            // All of the sample up to one.
            0 => {
                let count = usize::from(input.byte()) % (samples.len() + 1);
                for entry in &samples[..count] {
                    maker.add(&next(entry.kind, entry.data.to_vec()));
                }
            }
            // One of the sample, with a change.
            1 | 2 => {
                let entry = &samples[usize::from(input.byte()) % samples.len()];
                let mut data = entry.data.to_vec();
                input.patch(&mut data);
                maker.add(&next(entry.kind, data));
            }
            3..=5 => maker.add(&next(0, v2(input).encode_to_vec())),
            6 | 7 => maker.add(&next(0, input.short().to_vec())),
            8 => maker.add(&next(0, input.long().to_vec())),
            9 => {
                let (kind, context) = (input.byte().into(), input.short().to_vec().into());
                maker.add(&next(1, ConfChange { kind, context }.encode_to_vec()));
            }
            // Another leader had others.
            10 => {
                last = last.saturating_sub(input.byte().into());
                maker.add(&Entry {
                    kind: 2,
                    term: 3,
                    index: last,
                    data: input.short().to_vec().into(),
                });
            }
            11 => maker.commit(last.saturating_sub(input.byte().into())),
            12 => maker.cut(last),
            13 => maker.record(input.byte().into(), input.long().to_vec()),
            14 => {
                let mut entry = next(input.byte().into(), input.short().to_vec());
                entry.index = input.number().cast_unsigned();
                maker.add(&entry);
            }
            _ => break,
        }
    }
    maker.finish()
}

/// A write through v2, as a log has it.
fn v2(input: &mut Input<'_>) -> Request {
    const METHODS: [&str; 6] = ["PUT", "POST", "DELETE", "SYNC", "QGET", "PUT"];
    const ROOTS: [&str; 4] = ["/1/", "/1/a/", "/0/members/", "/2/"];
    let (what, how) = (input.byte(), input.byte());
    let below = String::from_utf8_lossy(input.short()).into_owned();
    let option = |bits: u8| [None, None, Some(false), Some(true)][usize::from(bits & 3)];
    let mut request = Request {
        method: METHODS[usize::from(what & 7) % METHODS.len()].to_owned(),
        path: format!("{}{below}", ROOTS[usize::from(what >> 3) % ROOTS.len()]),
        value: input.short().to_vec().into(),
        dir: how & 1 != 0,
        recursive: how & 2 != 0,
        prev_exist: option(how >> 2),
        refresh: option(how >> 4),
        ..Request::default()
    };
    if how & 64 != 0 {
        request.prev_value = input.short().to_vec().into();
        request.prev_index = input.number().cast_unsigned();
    }
    if how & 128 != 0 {
        request.expiration = input.number();
        request.time = input.number();
    }
    request
}
