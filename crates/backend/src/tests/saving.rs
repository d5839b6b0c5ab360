//! Tables as a file to be kept.

use super::*;
use crate::{Head, SHA256_BYTES, Sum, Unloadable, load};

const LOADED: &str = "/data/loaded";

fn options() -> Options {
    Options { cache_bytes: 1 << 20 }
}

fn filled(disk: &MemDisk, rows: u64) -> Backend {
    let backend = open(disk);
    for index in 1..=rows {
        let mut changes = entry(index);
        let value = "x".repeat(if index % 50 == 0 { 300_000 } else { 200 });
        changes.push(change(Table::Values, &format!("{index:09}"), Some(&value)));
        if index % 3 == 0 {
            changes.push(change(Table::Values, &format!("{:09}", index - 1), None));
        }
        changes.push(change(
            Table::Meta,
            "again",
            Some(&"y".repeat(usize::try_from(index).unwrap())),
        ));
        backend.write(Some(at(index)), changes);
    }
    while backend.durable() < backend.applied() {
        backend.flush().unwrap();
    }
    backend
}

/// The whole file; its source goes on meanwhile.
fn saved(backend: &Backend, note: &[u8]) -> Vec<u8> {
    let mut saving = backend.save(note).unwrap();
    let (mut file, total) = (Vec::new(), saving.total());
    while let Some(blob) = saving.next_blob(64 << 10).unwrap() {
        let next = backend.applied().index.0 + 1;
        backend.write(Some(at(next)), entry(next));
        backend.flush().unwrap();
        file.extend_from_slice(&blob.bytes);
        assert_eq!(blob.remaining, total.saturating_sub(file.len() as u64));
    }
    assert_eq!(file.len() as u64, total + SHA256_BYTES as u64);
    file
}

fn tables(backend: &Backend) -> Vec<Vec<(String, String)>> {
    Table::ALL.map(|table| rows(backend, table)).to_vec()
}

#[test]
fn what_was_saved_is_loaded_as_it_was() {
    for count in [0, 1, 400] {
        let from = filled(&disk(1), count);
        let (expected, applied) = (tables(&from), from.applied());
        let file = saved(&from, b"a note");
        let disk = disk(2);
        let head = load(&mut &file[..], Sum::Needed, &disk, Path::new(LOADED), &options()).unwrap();
        assert_eq!(head, Head { applied, note: "a note".into() });
        let loaded = Backend::open(Arc::new(disk.clone()), Path::new(LOADED), options()).unwrap();
        assert_eq!(loaded.durable(), applied);
        assert_eq!(tables(&loaded), expected);
    }
}

/// By this etcd's clients tell whether a file ends in a checksum.
#[test]
fn a_files_length_tells_of_its_checksum() {
    use sha2::{Digest as _, Sha256};
    let backend = filled(&disk(1), 10);
    for note in 0..600 {
        let file = saved(&backend, &vec![b'n'; note]);
        assert_eq!(file.len() % 512, SHA256_BYTES);
        let (content, sum) = file.split_at(file.len() - SHA256_BYTES);
        assert_eq!(Sha256::digest(content)[..], *sum);
    }
}

#[test]
fn a_file_that_is_damaged_or_cut_or_none_leaves_nothing_behind() {
    let file = saved(&filled(&disk(1), 60), b"a note");
    let check = |file: &[u8], expected: &str| {
        let disk = disk(2);
        let failed =
            load(&mut &*file, Sum::Needed, &disk, Path::new(LOADED), &options()).unwrap_err();
        assert!(failed.to_string().contains(expected), "{failed}, not {expected}");
        assert!(!disk.exists(Path::new(LOADED)).unwrap());
    };
    check(b"", "no snapshot");
    check(b"SQLite format 3\0and then much more of something else", "no snapshot");
    let mut newer = file.clone();
    newer[11] = 2;
    check(&newer, "newer than this build");
    for end in [40, 45, 1_000, file.len() / 2, file.len() - 33, file.len() - 1] {
        check(&file[..end], "ends too soon");
    }
    for at in [13, 40, 400, file.len() / 2, file.len() - 40, file.len() - 1] {
        let mut rotten = file.clone();
        rotten[at] ^= 1;
        let disk = disk(2);
        let failed = load(&mut &rotten[..], Sum::Needed, &disk, Path::new(LOADED), &options());
        assert!(failed.is_err(), "byte {at}");
        assert!(!disk.exists(Path::new(LOADED)).unwrap());
    }
    let longer = [&file[..], b"x"].concat();
    check(&longer, "it is damaged");
    let unread =
        load(&mut Failing, Sum::Needed, &disk(3), Path::new(LOADED), &options()).unwrap_err();
    assert!(matches!(unread, Unloadable::Read(_)));
}

#[test]
fn a_checksum_can_be_missing_or_ignored_where_that_is_wanted() {
    let file = saved(&filled(&disk(1), 60), b"a note");
    let load = |file: &[u8], sum| {
        load(&mut &*file, sum, &disk(2), Path::new(LOADED), &options()).map(|_| ())
    };
    let bare = &file[..file.len() - SHA256_BYTES];
    assert!(matches!(load(bare, Sum::Needed), Err(Unloadable::NoSum)));
    load(bare, Sum::Matching).unwrap();
    load(bare, Sum::Ignored).unwrap();
    // In the middle of a value.
    let mut rotten = file.clone();
    let at = file.windows(100).position(|found| found == [b'x'; 100]).unwrap() + 50;
    rotten[at] = b'z';
    for sum in [Sum::Needed, Sum::Matching] {
        let error = load(&rotten, sum).unwrap_err();
        assert!(matches!(error, Unloadable::Sum { .. }), "{error}");
        assert!(error.to_string().starts_with("expected sha256 ["), "{error}");
    }
    load(&rotten, Sum::Ignored).unwrap();
}

struct Failing;

impl io::Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("no"))
    }
}
