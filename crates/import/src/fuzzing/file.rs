//! A bbolt file: of rows that the input names, of pages that it gives, or a sound one with damage.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use base::{Disk, disk::MemDisk};
use prost::Message as _;
use proto::mvccpb::KeyValue;
use sha2::{Digest as _, Sha256};

use super::{Input, imported};
use crate::{
    bolt::{
        Bolt,
        making::{self, Content, Maker, Rows, seal},
    },
    messages::Lease,
    samples::{LEASE, Version, buckets, write},
};

/// Those that are read.
const BUCKETS: [&str; 6] = ["alarm", "auth", "key", "lease", "members", "meta"];
/// Of `auth` and `meta`, the rows that are read.
const NAMES: [&str; 6] = [
    "authEnabled",
    "consistent_index",
    "finishedCompactRev",
    "scheduledCompactRev",
    "storageVersion",
    "term",
];

type All = [BTreeMap<Vec<u8>, Vec<u8>>; BUCKETS.len()];

/// A byte for how it is imported, one for how the file comes about, and what it is made of; then
/// damage.
pub fn file(data: &[u8]) {
    let mut input = Input(data);
    let (how, kind) = (input.byte(), input.byte());
    let page_bytes = if kind & 4 == 0 { 512 } else { 4_096 };
    let mut live = None;
    let mut bytes = match kind & 3 {
        0 | 1 => {
            let all = rows(&mut input);
            let bytes = made(page_bytes, &all, kind & 8 != 0);
            assert_eq!(read(&bytes), all.clone().map(Rows::from_iter));
            live = input.is_over().then_some(all);
            bytes
        }
        2 => pages(page_bytes, input.take(usize::MAX)),
        _ => making::file(page_bytes, &buckets(Version::V3_6, &[LEASE])),
    };
    input.overwrite(&mut bytes);
    seal(&mut bytes, page_bytes);
    if kind & 16 != 0 {
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
    }
    let disk = disk(&bytes);
    if let (Ok(done), Some(all)) = (imported(&disk, how), live) {
        assert_eq!(done.keys, keys_of(&all));
    }
}

fn disk(bytes: &[u8]) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    write(disk.as_ref(), Path::new("/from"), bytes);
    disk
}

/// Rows until one says that it is none.
fn rows(input: &mut Input<'_>) -> All {
    let mut all = All::default();
    while !input.is_over() {
        let what = input.byte();
        let Some(bucket) = all.get_mut(usize::from(what & 7)) else { break };
        let is_raw = what & 8 != 0;
        let (key, value) = match BUCKETS[usize::from(what & 7)] {
            "key" if !is_raw => pair(input),
            "lease" if !is_raw => lease(input),
            "auth" | "meta" if !is_raw => {
                let name = NAMES[usize::from(input.byte()) % NAMES.len()];
                (name.as_bytes().to_vec(), input.short().to_vec())
            }
            _ => (input.short().to_vec(), input.short().to_vec()),
        };
        bucket.insert(key, value);
    }
    all
}

fn pair(input: &mut Input<'_>) -> (Vec<u8>, Vec<u8>) {
    let (how, main, sub) = (input.byte(), input.number(), input.number());
    let mut name = [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes()].concat();
    if how & 1 != 0 {
        name.push(b't');
    }
    let [key, value] = [(); 2].map(|()| input.short().to_vec().into());
    let (create_revision, version, lease) = (input.number(), input.number(), input.number());
    let mod_revision = if how & 2 == 0 { main } else { input.number() };
    let pair = KeyValue { key, value, create_revision, version, mod_revision, lease };
    (name, pair.encode_to_vec())
}

fn lease(input: &mut Input<'_>) -> (Vec<u8>, Vec<u8>) {
    let lease = Lease { id: input.number(), ttl: input.number(), remaining: input.number() };
    (lease.id.to_be_bytes().to_vec(), lease.encode_to_vec())
}

fn made(page_bytes: usize, all: &All, are_inline: bool) -> Vec<u8> {
    let content = if are_inline { Content::Inline } else { Content::Rows };
    let contents = all.clone().map(|rows| content(Rows::from_iter(rows)));
    making::file(page_bytes, &BUCKETS.into_iter().zip(contents).collect::<Vec<_>>())
}

/// All buckets; their pages are those that were given, in turn.
fn pages(page_bytes: usize, given: &[u8]) -> Vec<u8> {
    let mut maker = Maker::new(page_bytes);
    let (first, count) = (maker.next() + 1, given.len().div_ceil(page_bytes).max(1) as u64);
    let at = |number| Content::At(first + number % count);
    let root = maker.buckets(&BUCKETS.into_iter().zip((0..).map(at)).collect::<Vec<_>>());
    maker.give(given);
    maker.finish(root)
}

fn read(bytes: &[u8]) -> [Rows; BUCKETS.len()] {
    let bolt = Bolt::open(disk(bytes).as_ref(), Path::new("/from")).unwrap();
    BUCKETS.map(|name| {
        let mut all = Rows::new();
        let mut rows = bolt.rows(bolt.bucket(name.as_bytes()).unwrap().unwrap()).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            all.push((row.key.to_vec(), row.value.to_vec()));
        }
        all
    })
}

/// How many keys there are at the end: those of which the last row is no deletion.
fn keys_of([_, _, rows, ..]: &All) -> u64 {
    let last: BTreeMap<_, _> = rows
        .iter()
        .map(|(name, pair)| (KeyValue::decode(&pair[..]).unwrap().key, name.len() == 17))
        .collect();
    last.values().filter(|is_live| **is_live).count() as u64
}
