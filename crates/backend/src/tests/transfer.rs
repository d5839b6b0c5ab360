//! Tables on their way to another member.

use super::*;
use crate::{Incoming, discard};

const INCOMING: &str = "/data/keyspace.incoming";

fn options() -> Options {
    Options { cache_bytes: 1 << 20 }
}

/// A backend with so many rows, some of them large, all durable.
fn filled(disk: &MemDisk, rows: u64) -> Backend {
    let backend = open(disk);
    for index in 1..=rows {
        let mut changes = entry(index);
        let value = "x".repeat(if index % 50 == 0 { 300_000 } else { 200 });
        changes.push(change(Table::Values, &format!("{index:09}"), Some(&value)));
        backend.write(Some(at(index)), changes);
    }
    while backend.durable() < backend.applied() {
        backend.flush().unwrap();
    }
    backend
}

/// Carries the tables over; the source goes on meanwhile.
fn carry(from: &Backend, disk: &MemDisk) -> Result<Applied, Error> {
    let mut export = from.export();
    let applied = export.applied();
    let mut incoming = Incoming::create(disk, Path::new(INCOMING), &options())?;
    while let Some(chunk) = export.next_chunk(64 << 10).unwrap() {
        let next = from.applied().index.0 + 1;
        from.write(Some(at(next)), entry(next));
        from.flush().unwrap();
        incoming.add(chunk)?;
    }
    incoming.finish(applied)?;
    Ok(applied)
}

fn tables(backend: &Backend) -> Vec<Vec<(String, String)>> {
    Table::ALL.map(|table| rows(backend, table)).to_vec()
}

#[test]
fn the_tables_arrive_as_they_were_and_take_the_place_of_those_that_were_there() {
    let from = filled(&disk(1), 400);
    let expected = tables(&from);
    let disk = disk(2);
    let to = filled(&disk, 7);
    let before = to.export();
    let applied = carry(&from, &disk).unwrap();
    assert_eq!(to.look_aside(Path::new(INCOMING)).unwrap().durable(), applied);
    // What is not flushed goes too.
    to.write(Some(at(8)), vec![change(Table::Meta, "gone", Some("1"))]);
    to.replace(Path::new(INCOMING), || ()).unwrap();
    assert_eq!(tables(&to), expected);
    assert_eq!((to.applied(), to.durable(), to.tail_bytes()), (applied, applied, 0));
    // Whoever reads what was there goes on doing so.
    assert!(before.get(Table::Values, b"000000007").unwrap().is_some());
    to.write(Some(at(401)), vec![change(Table::Meta, "new", Some("1"))]);
    assert_eq!(to.flush().unwrap(), at(401));
    drop(to);
    disk.crash();
    let again = open(&disk);
    assert_eq!(again.durable(), at(401));
    assert_eq!(again.get(Table::Meta, b"new").unwrap().unwrap(), "1");
    assert!(!disk.exists(Path::new(INCOMING)).unwrap());
}

#[test]
fn a_crash_at_any_operation_leaves_a_file_that_is_whole_or_says_so() {
    let from = filled(&disk(1), 60);
    let (mut halves, mut wholes) = (0, 0);
    for operations in (0..).step_by(3) {
        let disk = disk(operations);
        disk.fail_after(operations);
        let done = carry(&from, &disk);
        disk.crash();
        disk.fail_after(u64::MAX);
        if disk.exists(Path::new(INCOMING)).unwrap() {
            let found =
                Backend::look(Arc::new(disk.clone()), Path::new(INCOMING), options()).unwrap();
            if found.durable() == Applied::default() {
                halves += 1;
                assert!(done.is_err());
            } else {
                wholes += 1;
                assert_eq!(tables(&found)[1].len(), tables(&from)[1].len());
            }
        }
        discard(&disk, Path::new(INCOMING)).unwrap();
        assert!(disk.list(Path::new("/data")).unwrap().is_empty());
        if done.is_ok() {
            break;
        }
    }
    assert!(halves > 3 && wholes > 0, "{halves} {wholes}");
}

#[test]
fn what_is_no_chunk_is_an_error() {
    let disk = disk(1);
    let from = filled(&disk, 3);
    let chunk = from.export().next_chunk(1 << 20).unwrap().unwrap();
    let add = |chunk: &[u8]| {
        let mut incoming = Incoming::create(&disk, Path::new(INCOMING), &options()).unwrap();
        incoming.add(Bytes::copy_from_slice(chunk))
    };
    add(&chunk).unwrap();
    assert!(add(&chunk[..chunk.len() - 1]).is_err());
    assert!(add(&[9, 0, 0, 0, 1, 0, 0, 0, 0, b'x']).is_err(), "an unknown table");
    assert!(add(&[2, 0, 0, 0, 1, 0, 0, 0, 0, 0]).is_err(), "a row of the file's own");
    assert!(add(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).is_err());
}
