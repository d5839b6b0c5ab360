//! The tables as their users see them, and what a loss of power leaves.

mod copying;
mod saving;
mod transfer;

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use base::{Disk, Index, Open, Term, disk::MemDisk, limits::TAIL_FLUSH_BYTES};
use bytes::Bytes;

use crate::{Applied, Backend, Change, Error, Options, Table, tail::Found};

const PATH: &str = "/data/keyspace";

fn disk(seed: u64) -> MemDisk {
    let disk = MemDisk::new(seed);
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk
}

fn try_open(disk: &MemDisk) -> Result<Backend, Error> {
    let options = Options { cache_bytes: 1 << 20 };
    Backend::open(Arc::new(disk.clone()), Path::new(PATH), options)
}

fn open(disk: &MemDisk) -> Backend {
    try_open(disk).unwrap()
}

fn at(index: u64) -> Applied {
    Applied { index: Index(index), term: Term(index / 10 + 1) }
}

fn change(table: Table, key: &str, value: Option<&str>) -> Change {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Change { table, key: bytes(key), value: value.map(bytes) }
}

fn rows(backend: &Backend, table: Table) -> Vec<(String, String)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let rows = backend.scan(table, b" ", None, usize::MAX).unwrap();
    rows.iter().map(|(key, value)| (text(key), text(value))).collect()
}

fn row(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn the_tail_shadows_the_file_in_reads_and_scans() {
    let backend = open(&disk(1));
    let write = |index, changes: &[(&str, Option<&str>)]| {
        let changes = changes.iter().map(|(key, value)| change(Table::Meta, key, *value));
        backend.write(Some(at(index)), changes.collect());
    };
    write(1, &[("a", Some("1")), ("b", Some("1")), ("c", Some("1")), ("e", Some("1"))]);
    assert_eq!(backend.flush().unwrap(), at(1));
    write(2, &[("b", None), ("c", Some("2")), ("d", Some("2"))]);
    let expected = [row("a", "1"), row("c", "2"), row("d", "2"), row("e", "1")];
    for _ in 0..2 {
        assert_eq!(rows(&backend, Table::Meta), expected);
        assert_eq!(backend.get(Table::Meta, b"b").unwrap(), None);
        assert_eq!(backend.get(Table::Meta, b"c").unwrap().unwrap(), "2");
        for limit in 0..6 {
            let some = backend.scan(Table::Meta, b"a", Some(b"e"), limit).unwrap();
            assert_eq!(some.len(), limit.min(3));
        }
        assert_eq!(backend.scan(Table::Meta, b"e", Some(b"a"), 9).unwrap(), []);
        backend.flush().unwrap();
    }
    assert_eq!((backend.durable(), backend.tail_bytes()), (at(2), 0));
}

/// Deletions in the tail and more generations than one, against a map.
#[test]
fn a_scan_by_pages_finds_what_a_map_holds() {
    let backend = open(&disk(1));
    let mut model = BTreeMap::new();
    let mut rng = 7_u32;
    let mut random = move |below: u32| {
        rng = rng.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (rng >> 8) % below
    };
    for index in 1..400 {
        let mut changes = Vec::new();
        for _ in 0..random(9) {
            let key = format!("{:03}", random(150));
            if random(2) == 0 {
                changes.push(change(Table::Meta, &key, None));
                model.remove(&key);
            } else {
                let value = index.to_string();
                changes.push(change(Table::Meta, &key, Some(&value)));
                model.insert(key, value);
            }
        }
        backend.write(Some(at(index)), changes);
        match random(12) {
            0 => drop(backend.flush().unwrap()),
            1 => backend.state.write().tail.seal(),
            _ => {}
        }
        let mut found = Vec::new();
        let mut from = b" ".to_vec();
        let limit = 1 + random(7) as usize;
        loop {
            let page = backend.scan(Table::Meta, &from, None, limit).unwrap();
            let Some((last, _)) = page.last() else { break };
            from = [last.as_ref(), b"\0"].concat();
            found.extend(page.iter().map(|(key, value)| {
                row(std::str::from_utf8(key).unwrap(), std::str::from_utf8(value).unwrap())
            }));
        }
        assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_row_that_came_and_went_leaves_no_trace() {
    let backend = open(&disk(1));
    backend.write(Some(at(1)), vec![change(Table::Records, "r", Some("1"))]);
    backend.write(None, vec![change(Table::Records, "r", None)]);
    assert_eq!(backend.state.read().tail.get(Table::Records, b"r"), Found::Nothing);
    assert_eq!(backend.tail_bytes(), 0);
    // A row of `Meta` may be in the file, under the one that is deleted here.
    backend.write(Some(at(2)), vec![change(Table::Meta, "m", Some("1"))]);
    backend.write(Some(at(3)), vec![change(Table::Meta, "m", None)]);
    assert_eq!(backend.state.read().tail.get(Table::Meta, b"m"), Found::Deleted);
    assert_eq!(backend.flush().unwrap(), at(3));
    assert_eq!(rows(&backend, Table::Records), []);
}

#[test]
fn a_flush_is_a_bounded_prefix_of_whole_entries() {
    let backend = open(&disk(1));
    let value = "v".repeat(TAIL_FLUSH_BYTES / 4);
    for index in 1..=10 {
        let key = format!("{index:02}");
        let records = change(Table::Records, &key, Some("r"));
        backend.write(Some(at(index)), vec![records, change(Table::Values, &key, Some(&value))]);
    }
    let mut durable = Applied::default();
    let mut flushes = 0;
    while durable < at(10) {
        let before = backend.tail_bytes();
        let next = backend.flush().unwrap();
        assert!(next > durable && before - backend.tail_bytes() <= 2 * TAIL_FLUSH_BYTES);
        durable = next;
        flushes += 1;
    }
    assert!(flushes >= 3, "{flushes}");
    assert_eq!((backend.tail_bytes(), backend.flush().unwrap()), (0, at(10)));
}

#[test]
fn an_entry_without_changes_becomes_durable_too() {
    let disk = disk(1);
    let backend = open(&disk);
    backend.write(Some(at(5)), Vec::new());
    assert_eq!((backend.applied(), backend.durable()), (at(5), Applied::default()));
    assert_eq!(backend.flush().unwrap(), at(5));
    disk.crash();
    assert_eq!(open(&disk).durable(), at(5));
}

#[test]
fn bytes_in_use_are_those_of_the_rows() {
    let disk = disk(1);
    let backend = open(&disk);
    let (_, empty) = backend.size();
    backend.write(Some(at(1)), vec![change(Table::Values, "12", Some("345"))]);
    backend.write(Some(at(2)), vec![change(Table::Meta, "1", Some("2"))]);
    backend.flush().unwrap();
    assert_eq!(backend.size().1 - empty, 7);
    backend.write(Some(at(3)), vec![change(Table::Meta, "1", Some("234"))]);
    backend.write(None, vec![change(Table::Values, "12", None)]);
    backend.flush().unwrap();
    assert_eq!(backend.size().1 - empty, 4);
    drop(backend);
    assert_eq!(open(&disk).size().1 - empty, 4);
}

#[test]
fn freed_space_is_used_again() {
    let backend = open(&disk(1));
    let value = "v".repeat(900);
    let mut longest = 0;
    for round in 0..60_u32 {
        for number in 0..200 {
            let key = format!("{:06}", round * 200 + number);
            backend.write(Some(at(1)), vec![change(Table::Values, &key, Some(&value))]);
            if round > 0 {
                let old = format!("{:06}", (round - 1) * 200 + number);
                backend.write(None, vec![change(Table::Values, &old, None)]);
            }
        }
        backend.flush().unwrap();
        if round == 20 {
            longest = backend.size().0;
        }
    }
    assert!(backend.size().0 <= longest, "{longest} {:?}", backend.size());
}

#[test]
fn a_file_of_a_newer_build_is_refused() {
    let disk = disk(1);
    let backend = open(&disk);
    let format = Bytes::copy_from_slice(&2_u32.to_be_bytes());
    let key = Bytes::from_static(b"\0format");
    backend.write(Some(at(1)), vec![Change { table: Table::Meta, key, value: Some(format) }]);
    backend.flush().unwrap();
    drop(backend);
    let error = try_open(&disk).unwrap_err().to_string();
    assert!(error.contains("has format 2, newer than this build knows (1)"), "{error}");
}

#[test]
fn something_else_in_the_file_is_an_error_and_stays_as_it_is() {
    let disk = disk(1);
    let file = disk.open(Path::new(PATH), Open::Create).unwrap();
    file.write_at(&[b'x'; 10_000], 0).unwrap();
    let error = try_open(&disk).unwrap_err().to_string();
    assert!(error.starts_with("open /data/keyspace: "), "{error}");
    let mut content = vec![0; 10_000];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(content, [b'x'; 10_000]);
}

fn content(disk: &MemDisk) -> Vec<u8> {
    let file = disk.open(Path::new(PATH), Open::Read).unwrap();
    let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut content, 0).unwrap();
    content
}

fn look(disk: &MemDisk) -> Result<Backend, Error> {
    let options = Options { cache_bytes: 1 << 20 };
    Backend::look(Arc::new(disk.clone()), Path::new(PATH), options)
}

/// What a killed process leaves has to be mended: the engine does so at once when it may.
#[test]
fn who_only_looks_finds_everything_and_leaves_every_byte_as_it_was() {
    let killed = disk(1);
    let backend = open(&killed);
    for index in 1..=12 {
        backend.write(Some(at(index)), entry(index));
    }
    backend.flush().unwrap();
    let disk = killed.fork(1);
    let before = content(&disk);
    let looking = look(&disk).unwrap();
    assert_eq!(Table::ALL.map(|table| rows(&looking, table)).to_vec(), state_after(12));
    assert_eq!(looking.durable(), at(12));
    looking.write(Some(at(13)), entry(13));
    assert!(looking.flush().is_err(), "nothing may be written yet");
    drop(looking);
    assert!(content(&disk) == before);
    drop(try_open(&disk).unwrap());
    assert!(content(&disk) != before, "nothing had to be mended: this test shows nothing");
}

#[test]
fn who_has_looked_can_begin_to_write() {
    let disk = disk(1);
    let backend = open(&disk);
    backend.write(Some(at(1)), entry(1));
    backend.flush().unwrap();
    backend.close().unwrap();
    let looking = look(&disk).unwrap();
    looking.write(Some(at(2)), entry(2));
    looking.begin_writing().unwrap();
    assert_eq!(Table::ALL.map(|table| rows(&looking, table)).to_vec(), state_after(2));
    assert_eq!(looking.flush().unwrap(), at(2));
    drop(looking);
    let backend = open(&disk);
    assert_eq!(Table::ALL.map(|table| rows(&backend, table)).to_vec(), state_after(2));
}

#[test]
fn a_row_that_has_rotted_is_named_and_not_served() {
    let disk = disk(1);
    let backend = open(&disk);
    let value = "a value that is easily found";
    backend.write(Some(at(1)), vec![change(Table::Values, "k", Some(value))]);
    backend.flush().unwrap();
    backend.close().unwrap();
    let bytes = content(&disk);
    let found = bytes.windows(value.len()).rposition(|part| part == value.as_bytes()).unwrap();
    let file = disk.open(Path::new(PATH), Open::Write).unwrap();
    file.write_at(b"A", u64::try_from(found).unwrap()).unwrap();
    let backend = open(&disk);
    let expected = "Values row 6b cannot be read (its checksum does not match)";
    let error = backend.get(Table::Values, b"k").unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
    let error = backend.scan(Table::Values, b"", None, 9).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}

/// A file that only may not be read must not be taken for a damaged one.
#[test]
fn each_error_comes_with_its_own_advice() {
    let check = |kind: Option<io::ErrorKind>, advice: &str| {
        let (path, text) = ("/data/keyspace".to_owned(), "no".to_owned());
        let error = Error::Engine { verb: "open", path, text, kind }.to_string();
        assert!(error.starts_with("open /data/keyspace: no") && error.contains(advice), "{error}");
        assert!(advice.contains("backup") || !error.contains("backup"), "{error}");
    };
    check(None, "restore this member from a backup");
    check(Some(io::ErrorKind::UnexpectedEof), "restore this member from a backup");
    check(Some(io::ErrorKind::PermissionDenied), "let the user who runs the member");
    check(Some(io::ErrorKind::StorageFull), "free space on this disk");
    check(Some(io::ErrorKind::ReadOnlyFilesystem), "mount this file system for writing");
    check(Some(io::ErrorKind::NotFound), "no");
}

#[test]
fn after_a_failed_sync_every_flush_fails() {
    let disk = disk(1);
    let backend = open(&disk);
    backend.write(Some(at(1)), vec![change(Table::Meta, "a", Some("1"))]);
    disk.fail_next_sync();
    assert!(backend.flush().is_err());
    backend.write(Some(at(2)), vec![change(Table::Meta, "b", Some("1"))]);
    assert!(backend.flush().is_err());
    assert_eq!(backend.durable(), Applied::default());
}

/// Entries of a made-up history: entry `index` puts a record and a value, overwrites a row of
/// `Meta`, and deletes what entry `index - 3` has put.
fn entry(index: u64) -> Vec<Change> {
    let key = |index: u64| format!("{index:04}");
    let value = "v".repeat(usize::try_from(index * 397 % 3_000).unwrap());
    let mut changes = vec![
        change(Table::Records, &key(index), Some(&key(index))),
        change(Table::Values, &key(index), Some(&value)),
        change(Table::Meta, "revision", Some(&key(index))),
    ];
    if index > 3 {
        changes.push(change(Table::Records, &key(index - 3), None));
        changes.push(change(Table::Values, &key(index - 3), None));
    }
    changes
}

/// All tables as entry `index` leaves them.
fn state_after(index: u64) -> Vec<Vec<(String, String)>> {
    let mut tables = [const { BTreeMap::new() }; 3];
    for change in (1..=index).flat_map(entry) {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let table = &mut tables[change.table as usize];
        match &change.value {
            Some(value) => table.insert(text(&change.key), text(value)),
            None => table.remove(&text(&change.key)),
        };
    }
    tables.into_iter().map(|table| table.into_iter().collect()).collect()
}

/// Opens, writes entries, flushes now and then; returns what was durable when the disk failed.
fn live(disk: &MemDisk, entries: u64) -> Applied {
    let Ok(backend) = try_open(disk) else { return Applied::default() };
    let mut durable = backend.durable();
    for index in backend.applied().index.0 + 1..=entries {
        backend.write(Some(at(index)), entry(index));
        if index % 3 == 0 {
            match backend.flush() {
                Ok(now) => durable = now,
                Err(_) => break,
            }
        }
    }
    durable
}

/// Cuts the power in every single operation of making the file, flushing, closing, and opening
/// again; then the file must hold the tables as some entry left them, no older than promised.
#[test]
fn a_crash_at_any_operation_leaves_the_tables_of_a_whole_entry() {
    let whole = disk(0);
    live(&whole, 12);
    let operations = whole.operations();
    assert!(operations > 50, "{operations}");
    for crash_at in 0..operations {
        let disk = disk(crash_at);
        let start = disk.operations();
        disk.fail_after(crash_at.saturating_sub(start));
        let mut durable = live(&disk, 12);
        disk.crash();
        // The second crash comes while the first one's damage is repaired.
        for again in [crash_at % 17, u64::MAX] {
            disk.fail_after(again);
            let opened = try_open(&disk);
            if let Err(error) = &opened {
                assert!(disk.failed(), "crash at {crash_at}, then {again}: {error}");
            }
            if let Ok(backend) = opened {
                let applied = backend.durable();
                assert!(applied >= durable, "crash at {crash_at}: {applied:?} of {durable:?}");
                assert_eq!(applied.index.0 % 3, 0);
                let found = Table::ALL.map(|table| rows(&backend, table));
                assert_eq!(found.to_vec(), state_after(applied.index.0), "crash at {crash_at}");
                drop(backend);
                durable = live(&disk, 15).max(durable);
            }
            disk.crash();
        }
        let backend = open(&disk);
        assert!(backend.durable() >= durable);
    }
}
