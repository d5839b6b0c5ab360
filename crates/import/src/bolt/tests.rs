//! Files made here, byte by byte, and what becomes of damaged ones. Those that etcd made are read in
//! `e2e`.

use std::{path::Path, sync::Arc};

use base::{Disk, Open, disk::MemDisk};
use bytes::Bytes;

use super::{Bolt, BoltError, fnv1a, rows::Row};

/// A bbolt file in the making.
pub(crate) struct Maker {
    page_bytes: usize,
    /// From page 2 on.
    pages: Vec<u8>,
}

pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// What a bucket is to hold.
pub(crate) enum Content {
    Rows(Rows),
    /// In the row that names it.
    Inline(Rows),
    /// Buckets inside.
    Buckets(Vec<(&'static str, Content)>),
}

impl Maker {
    pub(crate) fn new(page_bytes: usize) -> Self {
        Self { page_bytes, pages: Vec::new() }
    }

    fn next(&self) -> u64 {
        2 + (self.pages.len() / self.page_bytes) as u64
    }

    fn add(&mut self, flags: u16, count: usize, body: &[u8]) -> u64 {
        let id = self.next();
        let length = 16 + body.len();
        let run = length.div_ceil(self.page_bytes);
        self.pages.extend(header(id, flags, count, run - 1));
        self.pages.extend(body);
        self.pages.resize((usize::try_from(id).unwrap() - 2 + run) * self.page_bytes, 0);
        id
    }

    fn leaf(&mut self, rows: &[(Vec<u8>, Vec<u8>, bool)]) -> u64 {
        let body = leaf_body(rows);
        self.add(2, rows.len(), &body)
    }

    pub(crate) fn branch(&mut self, children: &[(Vec<u8>, u64)]) -> u64 {
        let mut body = Vec::new();
        let mut from = children.len() * 16;
        for (index, (key, page)) in children.iter().enumerate() {
            body.extend(u32::try_from(from - index * 16).unwrap().to_le_bytes());
            body.extend(u32::try_from(key.len()).unwrap().to_le_bytes());
            body.extend(page.to_le_bytes());
            from += key.len();
        }
        body.extend(children.iter().flat_map(|(key, _)| key));
        self.add(1, children.len(), &body)
    }

    /// A tree over these rows; its root.
    fn tree(&mut self, rows: &[(Vec<u8>, Vec<u8>, bool)]) -> u64 {
        let mut level: Vec<(Vec<u8>, u64)> =
            rows.chunks(7).map(|rows| (rows[0].0.clone(), self.leaf(rows))).collect();
        if level.is_empty() {
            return self.leaf(&[]);
        }
        while level.len() > 1 {
            level = level
                .chunks(5)
                .map(|children| (children[0].0.clone(), self.branch(children)))
                .collect();
        }
        level[0].1
    }

    fn bucket(&mut self, content: &Content) -> Vec<u8> {
        let plain = |rows: &Rows| -> Vec<_> {
            rows.iter().map(|(key, value)| (key.clone(), value.clone(), false)).collect()
        };
        let root = match content {
            Content::Inline(rows) => {
                let rows = plain(rows);
                let mut value = vec![0; 16];
                value.extend(header(0, 2, rows.len(), 0));
                value.extend(leaf_body(&rows));
                return value;
            }
            Content::Rows(rows) => self.tree(&plain(rows)),
            Content::Buckets(buckets) => self.buckets(buckets),
        };
        [root.to_le_bytes(), [0; 8]].concat()
    }

    fn buckets(&mut self, buckets: &[(&'static str, Content)]) -> u64 {
        let rows: Vec<_> = buckets
            .iter()
            .map(|(name, content)| (name.as_bytes().to_vec(), self.bucket(content), true))
            .collect();
        self.tree(&rows)
    }

    /// The file, with this root and both metas, the newer of which is page 0.
    pub(crate) fn finish(self, root: u64) -> Vec<u8> {
        let pages = self.next();
        let mut file = meta_page(self.page_bytes, 0, (root, pages, 8));
        file.extend(meta_page(self.page_bytes, 1, (root, pages, 7)));
        file.extend(self.pages);
        file
    }
}

fn header(id: u64, flags: u16, count: usize, overflow: usize) -> Vec<u8> {
    let mut header = id.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    header.extend(u16::try_from(count).unwrap().to_le_bytes());
    header.extend(u32::try_from(overflow).unwrap().to_le_bytes());
    header
}

fn leaf_body(rows: &[(Vec<u8>, Vec<u8>, bool)]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut from = rows.len() * 16;
    for (index, (key, value, is_bucket)) in rows.iter().enumerate() {
        body.extend(u32::from(*is_bucket).to_le_bytes());
        body.extend(u32::try_from(from - index * 16).unwrap().to_le_bytes());
        body.extend(u32::try_from(key.len()).unwrap().to_le_bytes());
        body.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        from += key.len() + value.len();
    }
    body.extend(rows.iter().flat_map(|(key, value, _)| [&key[..], value].concat()));
    body
}

fn meta_page(page_bytes: usize, id: u64, (root, pages, transaction): (u64, u64, u64)) -> Vec<u8> {
    let mut meta = 0xED0C_DAED_u32.to_le_bytes().to_vec();
    meta.extend(2_u32.to_le_bytes());
    meta.extend(u32::try_from(page_bytes).unwrap().to_le_bytes());
    meta.extend([0; 4]);
    for number in [root, 0, u64::MAX, pages, transaction] {
        meta.extend(number.to_le_bytes());
    }
    meta.extend(fnv1a(&meta).to_le_bytes());
    let mut page = header(id, 4, 0, 0);
    page.extend(meta);
    page.resize(page_bytes, 0);
    page
}

/// What a meta ends with.
pub(crate) fn sum(meta: &[u8]) -> u64 {
    fnv1a(meta)
}

/// A file with these buckets.
pub(crate) fn file(page_bytes: usize, buckets: &[(&'static str, Content)]) -> Vec<u8> {
    let mut maker = Maker::new(page_bytes);
    let root = maker.buckets(buckets);
    maker.finish(root)
}

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
