//! Files made here, whole and damaged. Those that etcd made are read in `e2e`.

use std::{path::Path, sync::Arc};

use base::{Disk, Open, disk::MemDisk};
use bytes::Bytes;

use super::{
    Bolt, BoltError,
    making::{Content, Maker, Rows, file, meta_page},
    rows::Row,
};

/// A disk with this file at `/db`.
pub(crate) fn disk(bytes: &[u8]) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    let file = disk.open(Path::new("/db"), Open::Create).unwrap();
    file.write_at(bytes, 0).unwrap();
    disk
}

fn open(bytes: &[u8]) -> Result<Bolt, BoltError> {
    Bolt::open(disk(bytes).as_ref(), Path::new("/db"))
}

fn rows(count: usize, value: impl Fn(usize) -> Vec<u8>) -> Rows {
    (0..count).map(|at| (format!("{at:06}").into_bytes(), value(at))).collect()
}

fn read(bolt: &Bolt, bucket: &str) -> Result<Option<Rows>, BoltError> {
    let Some(bucket) = bolt.bucket(bucket.as_bytes())? else { return Ok(None) };
    let mut all = Vec::new();
    let mut rows = bolt.rows(bucket)?;
    while let Some(Row { key, value, .. }) = rows.next_row()? {
        all.push((key.to_vec(), value.to_vec()));
    }
    Ok(Some(all))
}

/// One of each kind.
fn samples() -> Vec<(&'static str, Rows, bool)> {
    vec![
        ("deep", rows(1_000, |at| format!("value {at}").into_bytes()), false),
        ("empty", Vec::new(), false),
        ("inline", rows(3, |at| vec![u8::try_from(at).unwrap(); at]), true),
        ("large", rows(20, |at| vec![u8::try_from(at).unwrap(); at * 3_000]), false),
        ("nothing inline", Vec::new(), true),
    ]
}

fn sample(page_bytes: usize) -> Vec<u8> {
    let buckets: Vec<_> = samples()
        .into_iter()
        .map(|(name, rows, inline)| {
            (name, if inline { Content::Inline(rows) } else { Content::Rows(rows) })
        })
        .collect();
    file(page_bytes, &buckets)
}

#[test]
fn all_rows_are_read_whatever_the_size_of_a_page() {
    for page_bytes in [1 << 10, 1 << 12, 1 << 14, 1 << 16] {
        let bolt = open(&sample(page_bytes)).unwrap();
        for (name, rows, _) in samples() {
            assert_eq!(read(&bolt, name).unwrap(), Some(rows), "{name} in pages of {page_bytes}");
        }
        assert_eq!(read(&bolt, "other").unwrap(), None);
    }
}

#[test]
fn buckets_in_buckets_are_found() {
    let inner = Content::Buckets(vec![
        ("one", Content::Rows(rows(50, |_| b"x".to_vec()))),
        ("two", Content::Inline(rows(2, |_| b"y".to_vec()))),
    ]);
    let bolt = open(&file(4_096, &[("outer", inner)])).unwrap();
    let outer = bolt.bucket(b"outer").unwrap().unwrap();
    let mut names = bolt.rows(outer).unwrap();
    let mut found = Vec::new();
    while let Some(row) = names.next_row().unwrap() {
        assert!(row.is_bucket);
        let inner = super::Bucket::of(row.page, &row.value).unwrap();
        let mut rows = bolt.rows(inner).unwrap();
        let mut count = 0;
        while let Some(row) = rows.next_row().unwrap() {
            assert!(!row.is_bucket);
            count += 1;
        }
        found.push((row.key, count));
    }
    assert_eq!(found, [(Bytes::from_static(b"one"), 50), (Bytes::from_static(b"two"), 2)]);
}

#[test]
fn the_newer_meta_counts_and_the_other_where_it_is_broken() {
    let mut maker = Maker::new(4_096);
    let old = maker.buckets(&[("old", Content::Rows(Vec::new()))]);
    let new = maker.buckets(&[("new", Content::Rows(Vec::new()))]);
    let pages = maker.next();
    let body = maker.pages.clone();
    let metas = |first, second| {
        [meta_page(4_096, 0, first), meta_page(4_096, 1, second), body.clone()].concat()
    };
    let has = |bytes: &[u8]| open(bytes).map(|bolt| bolt.bucket(b"new").unwrap().is_some());
    let (older, newer) = ((old, pages, 7), (new, pages, 8));
    assert!(has(&metas(older, newer)).unwrap());
    assert!(has(&metas(newer, older)).unwrap());
    let broken = |mut bytes: Vec<u8>, pages: &[usize]| {
        for page in pages {
            bytes[page * 4_096 + 40] ^= 1;
        }
        bytes
    };
    assert!(!has(&broken(metas(older, newer), &[1])).unwrap());
    assert!(has(&broken(metas(older, newer), &[0])).unwrap());
    let error = has(&broken(metas(older, newer), &[0, 1])).unwrap_err().to_string();
    assert!(error.contains("checksum does not match"), "{error}");
}

#[test]
fn what_is_no_file_of_bbolt_is_told() {
    for bytes in [Vec::new(), b"no".to_vec(), vec![0; 100_000], vec![0xff; 9_000]] {
        let error = open(&bytes).unwrap_err().to_string();
        assert!(error.starts_with("it is no file of bbolt"), "{error}");
    }
    let bytes = sample(4_096);
    let error = open(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
    assert!(error.contains("it was cut off"), "{error}");
}

#[test]
fn a_way_that_goes_in_a_circle_ends() {
    let mut maker = Maker::new(4_096);
    // The next page is the branch itself.
    let id = maker.next();
    let circle = maker.branch(&[(b"a".to_vec(), id)]);
    let root = maker.tree(&[(b"b".to_vec(), [circle.to_le_bytes(), [0; 8]].concat(), true)]);
    let bolt = open(&maker.finish(root)).unwrap();
    let error = read(&bolt, "b").unwrap_err().to_string();
    assert_eq!(error, format!("page {circle} is damaged: the way to it goes in a circle"));
}

/// What a damaged file gives: rows as they were, other values, or an error; never a panic or an
/// endless walk.
#[test]
fn damage_is_an_error_or_shows_in_values_alone() {
    let sound = sample(1_024);
    let mut dice = fastrand::Rng::with_seed(7);
    let mut errors = 0;
    for _ in 0..3_000 {
        let mut bytes = sound.clone();
        match dice.u8(..4) {
            0 => bytes.truncate(dice.usize(..bytes.len())),
            1 => bytes[dice.usize(..sound.len())] ^= 1 << dice.u8(..8),
            2 => {
                // A page's head.
                let page = dice.usize(2..sound.len() / 1_024);
                bytes[page * 1_024 + dice.usize(..48)] = dice.u8(..);
            }
            _ => {
                let at = dice.usize(..sound.len() - 1_024);
                let to = dice.usize(..sound.len() - 1_024);
                bytes.copy_within(at..at + 1_024, to);
            }
        }
        let outcome = open(&bytes).and_then(|bolt| {
            for (name, ..) in samples() {
                read(&bolt, name)?;
            }
            Ok(())
        });
        errors += u32::from(outcome.is_err());
    }
    assert!(errors > 1_000, "{errors}");
}
