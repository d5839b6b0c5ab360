//! The log through its public face: what it keeps, refuses, mends and will not touch.

use std::fmt::Write as _;

use base::disk::MemDisk;

use super::*;

const DIR: &str = "/data/member/wal";
const IDENTITY: Identity = Identity { cluster: ClusterId(0xc1), member: MemberId(0xa1) };
const SMALL: Options = Options { segment_bytes: 4096 };

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn segment(id: u64) -> PathBuf {
    dir().join(Name::segment(id))
}

fn entry(index: u64, term: u64, data: impl Into<Bytes>) -> Entry {
    Entry {
        index: Index(index),
        term: Term(term),
        kind: 0,
        data: data.into(),
        context: Bytes::new(),
    }
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: MemberId(vote), commit: Index(commit) }
}

fn create(disk: &MemDisk) -> Wal {
    Wal::create(Arc::new(disk.clone()), dir(), IDENTITY, SMALL).unwrap()
}

fn try_open(disk: &MemDisk) -> Result<Option<(Wal, Recovered)>, Error> {
    look_and_open(disk, Held::NOTHING)
}

fn look_and_open(disk: &MemDisk, held: Held) -> Result<Option<(Wal, Recovered)>, Error> {
    let looked = Looked::look(Arc::new(disk.clone()), dir(), held)?;
    looked.map(|looked| looked.open(SMALL)).transpose()
}

fn open(disk: &MemDisk) -> (Wal, Recovered) {
    try_open(disk).unwrap().unwrap()
}

/// Appends entries of 1000 bytes, each synced: three to a segment.
fn fill(wal: &mut Wal, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        wal.append(None, &[entry(index, 1, vec![b'x'; 1000])]).unwrap();
        wal.sync().unwrap();
    }
}

fn put_file(disk: &MemDisk, path: &Path, data: &[u8]) {
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    let file = disk.open(path, Open::Create).unwrap();
    file.write_at(data, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path.parent().unwrap()).unwrap();
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered.entries.iter().map(|entry| entry.index.0).collect()
}

fn invalid(result: Result<(), Error>) -> bool {
    matches!(result, Err(Error::Io { source, .. })
        if source.kind() == io::ErrorKind::InvalidInput)
}

#[test]
fn what_was_appended_is_there_after_opening() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    let entries = [
        entry(1, 1, "first"),
        Entry { kind: 2, context: Bytes::from_static(b"ctx"), ..entry(2, 1, "") },
        entry(3, 4, vec![0xff; 300]),
    ];
    wal.append(Some(hard_state(4, 0xa1, 2)), &entries[..1]).unwrap();
    wal.append(None, &entries[1..]).unwrap();
    wal.append(Some(hard_state(5, 0, 3)), &[]).unwrap();
    wal.append(None, &[]).unwrap();
    wal.sync().unwrap();
    disk.crash();
    let (wal, recovered) = open(&disk);
    assert_eq!(wal.identity(), IDENTITY);
    assert_eq!(recovered.hard_state, hard_state(5, 0, 3));
    assert_eq!(recovered.before, (Index(0), Term(0)));
    assert_eq!(recovered.entries, entries);
}

#[test]
fn a_directory_without_a_log_opens_as_none() {
    let disk = MemDisk::new(1);
    assert!(try_open(&disk).unwrap().is_none(), "missing");
    disk.create_dir_all(dir()).unwrap();
    assert!(try_open(&disk).unwrap().is_none(), "empty");
    put_file(&disk, &dir().join(Name::half_made(1)), b"retcdwal");
    disk.create_dir_all(&dir().join("lost+found")).unwrap();
    assert!(try_open(&disk).unwrap().is_none(), "half made");
    drop(create(&disk));
    assert_eq!(disk.list(dir()).unwrap(), ["0000000000000001.log", "lost+found"]);
    assert_eq!(open(&disk).1.entries, []);
}

#[test]
fn a_log_is_not_made_over_another() {
    let disk = MemDisk::new(1);
    drop(create(&disk));
    let again = Wal::create(Arc::new(disk.clone()), dir(), IDENTITY, SMALL);
    assert!(matches!(again, Err(Error::Io { source, .. })
        if source.kind() == io::ErrorKind::AlreadyExists));
}

#[test]
fn what_is_not_ours_is_named_and_left_alone() {
    let cases: [(&str, &[u8], &str); 3] = [
        ("0000000000000000-0000000000000000.wal", b"\x04\0\0\0\0\0\0\x84", "the original etcd"),
        ("0000000000000001.log", b"2024-01-01 a line of some log", "no raft log"),
        ("0000000000000001.log", b"", "no raft log"),
    ];
    for (name, data, text) in cases {
        let disk = MemDisk::new(1);
        put_file(&disk, &dir().join(name), data);
        put_file(&disk, &dir().join("0000000000000009.log.tmp"), b"");
        let before = disk.operations();
        let error = try_open(&disk).unwrap_err();
        assert!(matches!(&error, Error::Foreign { path, .. } if path == &dir().join(name)));
        assert!(error.to_string().contains(text), "{error}");
        assert!(Wal::create(Arc::new(disk.clone()), dir(), IDENTITY, SMALL).is_err());
        assert_eq!(disk.operations(), before, "nothing was touched");
    }

    let disk = MemDisk::new(1);
    drop(create(&disk));
    let header = Header {
        id: 2,
        identity: Identity { member: MemberId(0xa2), ..IDENTITY },
        before: (Index(0), Term(0)),
        hard_state: HardState::default(),
        previous_end: 512,
        previous_crc: 0,
        anew: false,
    };
    put_file(&disk, &segment(2), &header.encode().0);
    let error = try_open(&disk).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
}

#[test]
fn an_entry_replaces_all_from_its_index_on() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    wal.append(None, &[entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")]).unwrap();
    // Also within one batch, as the log writer gathers them.
    wal.append(None, &[entry(3, 2, "d"), entry(4, 2, "e"), entry(2, 3, "f")]).unwrap();
    wal.append(None, &[entry(3, 3, "g")]).unwrap();
    wal.sync().unwrap();
    let expected = [entry(1, 1, "a"), entry(2, 3, "f"), entry(3, 3, "g")];
    assert_eq!(open(&disk).1.entries, expected);
}

#[test]
fn a_conflict_reaches_into_older_segments() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    fill(&mut wal, 1..=8);
    assert_eq!(disk.list(dir()).unwrap().len(), 3);
    wal.append(None, &[entry(2, 5, "new")]).unwrap();
    wal.sync().unwrap();
    assert_eq!(disk.list(dir()).unwrap().len(), 4, "in a segment that begins after entry 1");
    let (mut wal, recovered) = open(&disk);
    assert_eq!(recovered.entries[1..], [entry(2, 5, "new")]);

    // Entry 2 is in the newest segment, so all before it may go; the crash leaves some of them.
    wal.append(None, &[entry(3, 5, "newer")]).unwrap();
    wal.sync().unwrap();
    for operations in 0..=6 {
        let disk = disk.fork(operations);
        let mut wal = open(&disk).0;
        disk.fail_after(operations);
        assert_eq!(wal.cut(Index(1)).is_ok(), operations == 6);
        disk.crash();
        let (_, recovered) = open(&disk);
        let last = recovered.entries.last().unwrap();
        assert_eq!(*last, entry(3, 5, "newer"), "{operations}");
        assert!(recovered.before.0 <= Index(1));
        assert_eq!(recovered.before.1.0, recovered.before.0.0, "the term of 1 is 1, of 0 is 0");
    }
}

#[test]
fn what_raft_would_never_append_is_refused() {
    let cases: [&[Entry]; 6] = [
        &[entry(5, 9, "")],
        &[entry(0, 9, "")],
        &[entry(3, 9, ""), entry(5, 9, "")],
        &[entry(4, 1, "")],
        &[entry(4, 9, ""), entry(5, 8, "")],
        &[entry(3, 1, "")],
    ];
    for entries in cases {
        let disk = MemDisk::new(1);
        let mut wal = create(&disk);
        wal.append(None, &[entry(1, 1, ""), entry(2, 2, ""), entry(3, 2, "")]).unwrap();
        assert!(invalid(wal.append(None, entries)), "{entries:?}");
        assert!(wal.append(None, &[entry(4, 2, "")]).is_err(), "and the log is closed");
        assert!(wal.sync().is_err());
        assert_eq!(indexes(&open(&disk).1), [1, 2, 3]);
    }
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    fill(&mut wal, 1..=8);
    wal.cut(Index(6)).unwrap();
    assert!(invalid(wal.append(None, &[entry(5, 2, "")])), "it was cut");
}

#[test]
fn a_cut_takes_whole_segments_that_lie_below() {
    // Segments hold 1-3, 4-6, 7-8.
    for (index, before) in [(0, 0), (2, 0), (3, 3), (5, 3), (6, 6), (8, 6)] {
        let disk = MemDisk::new(1);
        let mut wal = create(&disk);
        wal.append(Some(hard_state(7, 0xa1, 0)), &[]).unwrap();
        fill(&mut wal, 1..=8);
        let bytes = wal.bytes();
        assert_eq!(bytes, 3 * 4096);
        wal.cut(Index(index)).unwrap();
        assert_eq!(wal.bytes(), bytes - before / 3 * 4096, "{index}");
        disk.crash();
        let (mut wal, recovered) = open(&disk);
        assert_eq!(recovered.before, (Index(before), Term(u64::from(before > 0))));
        assert_eq!(indexes(&recovered), (before + 1..=8).collect::<Vec<_>>());
        assert_eq!(recovered.hard_state, hard_state(7, 0xa1, 0), "cutting never loses it");
        assert_eq!(wal.bytes(), bytes - before / 3 * 4096);
        wal.cut(Index(index)).unwrap();
        assert!(invalid(wal.cut(Index(9))), "no such entry");
    }
}

#[test]
fn what_is_cut_off_is_removed_beside_the_log_and_comes_back_if_it_was_not() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    fill(&mut wal, 1..=8);
    let gone = wal.cut_off(Index(6)).unwrap();
    assert_eq!((wal.first(), wal.bytes()), (Index(6), 4096));
    assert_eq!(disk.list(dir()).unwrap().len(), 3, "the log has forgotten it, the disk not");
    fill(&mut wal, 9..=9);
    disk.crash();
    drop((wal, gone));
    let (mut wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered), (1..=9).collect::<Vec<_>>());
    let gone = wal.cut_off(Index(6)).unwrap();
    fill(&mut wal, 10..=12);
    // Cut off later, and removed by whoever removes.
    drop(wal.cut_off(Index(9)).unwrap());
    gone.remove().unwrap();
    assert_eq!(disk.list(dir()).unwrap(), ["0000000000000004.log"]);
    drop(wal);
    disk.crash();
    let (mut wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered), [10, 11, 12]);
    // Whoever begins anew removes what is older first.
    fill(&mut wal, 13..=15);
    let gone = wal.cut_off(Index(12)).unwrap();
    wal.restart((Index(20), Term(4)), hard_state(4, 0, 20)).unwrap();
    assert_eq!(disk.list(dir()).unwrap(), ["0000000000000006.log"]);
    gone.remove().unwrap();
    drop(wal);
    disk.crash();
    assert_eq!(open(&disk).1.before.0, Index(20));
}

#[test]
fn behind_a_segment_that_cannot_be_removed_none_goes() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    fill(&mut wal, 1..=10);
    let gone = wal.cut_off(Index(9)).unwrap();
    disk.remove(&segment(2)).unwrap();
    for _ in 0..2 {
        assert!(gone.remove().is_err());
        assert_eq!(disk.list(dir()).unwrap(), ["0000000000000003.log", "0000000000000004.log"]);
    }
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    fill(&mut wal, 1..=1);
    let large = entry(2, 1, vec![b'y'; 3_000_000]);
    wal.append(None, std::slice::from_ref(&large)).unwrap();
    wal.sync().unwrap();
    fill(&mut wal, 3..=3);
    disk.crash();
    let (_, recovered) = open(&disk);
    assert_eq!(indexes(&recovered), [1, 2, 3]);
    assert_eq!(recovered.entries[1], large);
    assert_eq!(disk.list(dir()).unwrap().len(), 3);
}

#[test]
fn the_log_ends_at_the_first_bad_record_even_if_good_ones_follow() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    wal.append(None, &[entry(1, 1, "one")]).unwrap();
    wal.sync().unwrap();
    let end = wal.current.end;
    wal.append(None, &[entry(2, 1, "two")]).unwrap();
    wal.append(None, &[entry(3, 1, "three")]).unwrap();
    disk.rot(&segment(1), end + 60, 1).unwrap();
    let (mut wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered), [1]);
    // What was behind must not come back, whatever is written in between.
    wal.append(None, &[entry(2, 1, "TWO")]).unwrap();
    wal.sync().unwrap();
    disk.crash();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.entries, [entry(1, 1, "one"), entry(2, 1, "TWO")]);
    let file = disk.open(&segment(1), Open::Read).unwrap();
    let mut bytes = vec![0; 4096];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(!bytes.windows(5).any(|window| window == b"three"), "the rest is zeros");
}

#[test]
fn a_bad_record_that_was_promised_is_rot() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    for index in 1..=3 {
        wal.append(None, &[entry(index, 1, "data")]).unwrap();
        wal.sync().unwrap();
    }
    // The last head says that two were synced; nothing says so of the third.
    let second = 512 + (wal.current.end - 512) / 3;
    disk.rot(&segment(1), second + 50, 1).unwrap();
    let before = disk.operations();
    let error = try_open(&disk).unwrap_err();
    assert!(matches!(&error, Error::Rot { path, offset, .. }
        if *path == segment(1) && *offset == second));
    assert_eq!(
        error.to_string(),
        "/data/member/wal/0000000000000001.log: the log is damaged at byte 576, in a part that \
         had been synced: the checksum of a record does not match. Restore this member from a \
         backup, or remove it and add it again"
    );
    assert_eq!(disk.operations(), before, "nothing was touched");

    // Its head gone as well: what comes behind still tells.
    for at in second..second + 32 {
        disk.rot(&segment(1), at, 0x55).unwrap();
    }
    assert!(matches!(try_open(&disk), Err(Error::Rot { offset, .. }) if offset == second));
}

#[test]
fn a_missing_or_damaged_segment_is_rot() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    fill(&mut wal, 1..=8);
    let gap = disk.fork(1);
    gap.remove(&segment(2)).unwrap();
    let error = try_open(&gap).unwrap_err();
    assert!(matches!(&error, Error::Rot { path, .. } if *path == segment(2)), "{error}");

    let header = disk.fork(1);
    header.rot(&segment(3), 60, 1).unwrap();
    let error = try_open(&header).unwrap_err();
    assert!(matches!(&error, Error::Rot { path, offset: 0, .. } if *path == segment(3)));

    // A closed segment is promised to its very end, whatever its own heads say.
    let end = disk.fork(1);
    end.rot(&segment(2), 512 + 2 * 1064 + 500, 1).unwrap();
    let error = try_open(&end).unwrap_err();
    assert!(matches!(&error, Error::Rot { path, .. } if *path == segment(2)), "{error}");
}

#[test]
fn a_segment_of_another_history_does_not_fit() {
    let history = |data: u8| {
        let disk = MemDisk::new(1);
        let mut wal = create(&disk);
        fill(&mut wal, 1..=3);
        wal.append(None, &[entry(4, 1, vec![data; 1000])]).unwrap();
        fill(&mut wal, 5..=7);
        disk
    };
    let (disk, other) = (history(1), history(2));
    let mut bytes = vec![0; 4096];
    let file = other.open(&segment(2), Open::Read).unwrap();
    file.read_exact_at(&mut bytes, 0).unwrap();
    disk.open(&segment(2), Open::Write).unwrap().write_at(&bytes, 0).unwrap();
    let error = try_open(&disk).unwrap_err();
    assert!(matches!(&error, Error::Rot { path, .. } if *path == segment(2)), "{error}");
}

#[test]
fn after_a_failure_the_log_is_closed_and_opening_makes_whole_what_is_found() {
    for seed in 0..50 {
        let disk = MemDisk::new(seed);
        let mut wal = create(&disk);
        fill(&mut wal, 1..=2);
        wal.append(None, &[entry(3, 1, "three")]).unwrap();
        disk.fail_next_sync();
        let error = wal.sync().unwrap_err();
        assert!(error.to_string().starts_with("sync /data/member/wal/0000000000000001.log: "));
        assert!(wal.sync().is_err() && wal.cut(Index(0)).is_err());
        assert!(wal.append(None, &[entry(4, 1, "four")]).is_err());
        drop(wal);
        // The process starts again, with the power on: the kernel shows what it has not written.
        let (_, recovered) = open(&disk);
        assert_eq!(indexes(&recovered), [1, 2, 3]);
        disk.crash();
        assert_eq!(indexes(&open(&disk).1), [1, 2, 3], "what was recovered lasts");
    }
}

#[test]
fn a_full_disk_closes_the_log_and_loses_nothing() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    fill(&mut wal, 1..=3);
    disk.set_capacity(Some(4096 + 100));
    let error = wal.append(None, &[entry(4, 1, vec![0; 1000])]).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. }
        if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    drop(wal);
    let (mut wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered), [1, 2, 3]);
    assert_eq!(disk.list(dir()).unwrap(), ["0000000000000001.log"], "no half-made segment");
    disk.set_capacity(None);
    fill(&mut wal, 4..=4);
    assert_eq!(indexes(&open(&disk).1), [1, 2, 3, 4]);
}

#[test]
fn a_commit_never_lies_behind_the_last_entry() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    let large: Vec<Entry> = (1..=3).map(|index| entry(index, 1, vec![1; 1 << 20])).collect();
    wal.append(Some(hard_state(1, 1, 3)), &large).unwrap();
    let end = wal.current.end;
    disk.rot(&segment(1), end - 100, 1).unwrap();
    let (_, recovered) = open(&disk);
    assert_eq!(indexes(&recovered), [1, 2]);
    assert_eq!(recovered.hard_state, hard_state(1, 1, 2));
}

/// The bytes on disk, so that no change of the format goes unnoticed. `GOLDEN=write` rewrites them.
#[test]
#[allow(clippy::disallowed_methods, reason = "reads and writes its own golden files")]
fn the_format_is_what_it_was() {
    let disk = MemDisk::new(1);
    let mut wal =
        Wal::create(Arc::new(disk.clone()), dir(), IDENTITY, Options { segment_bytes: 1024 })
            .unwrap();
    let change = Entry {
        kind: 1,
        context: Bytes::from_static(b"context"),
        ..entry(1, 1, "a change of the configuration")
    };
    wal.append(Some(hard_state(1, 0xa1, 0)), &[change.clone(), entry(2, 1, "")]).unwrap();
    wal.sync().unwrap();
    wal.append(Some(hard_state(2, 0, 2)), &[]).unwrap();
    wal.append(None, &[entry(3, 300, vec![b'x'; 200])]).unwrap();
    wal.append(None, &[entry(4, 300, vec![b'y'; 200])]).unwrap();
    wal.sync().unwrap();
    for id in [1, 2] {
        let file = disk.open(&segment(id), Open::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let path = format!("{}/testdata/segment-{id}.hex", env!("CARGO_MANIFEST_DIR"));
        if std::env::var("GOLDEN").is_ok_and(|mode| mode == "write") {
            std::fs::write(&path, hex(&bytes)).unwrap();
        }
        assert_eq!(hex(&bytes), std::fs::read_to_string(&path).unwrap(), "{path}");
    }
    let expected =
        [change, entry(2, 1, ""), entry(3, 300, vec![b'x'; 200]), entry(4, 300, vec![b'y'; 200])];
    assert_eq!(open(&disk).1.entries, expected);
}

/// Lines of 16 bytes, without those that are all zeros.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes.chunks(16).enumerate() {
        if line.iter().all(|byte| *byte == 0) {
            continue;
        }
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
        let shown: String = line.iter().map(shown).collect();
        writeln!(text, "{:04x}  {}  {shown}", number * 16, hex.join(" ")).unwrap();
    }
    text
}

#[test]
fn what_nobody_asks_for_is_not_held_whatever_was_replaced() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemDisk::new(seed);
        let mut wal = create(&disk);
        let (mut last, mut term) = (0, 1);
        for _ in 0..rng.usize(1..12) {
            term += rng.u64(0..2);
            let from = rng.u64(last / 2 + 1..=last + 1);
            // So many that they are also dropped on the way.
            let count = if rng.u8(0..8) == 0 { 5_000 } else { rng.u64(1..20) };
            let data = vec![b'x'; rng.usize(0..8)];
            let entries: Vec<Entry> =
                (from..from + count).map(|index| entry(index, term, data.clone())).collect();
            wal.append(None, &entries).unwrap();
            wal.sync().unwrap();
            last = from + count - 1;
        }
        drop(wal);
        let (_, all) = open(&disk);
        let behind = rng.u64(0..=last + 3);
        let held = Held { index: Index(behind), entries: 0, bytes: usize::MAX };
        let opened = look_and_open(&disk, held);
        let (mut wal, some) = opened.unwrap().unwrap();
        let kept = behind.min(last);
        assert_eq!(some.before.0, Index(kept), "seed {seed}");
        let (gone, rest) = all.entries.split_at(usize::try_from(kept).unwrap());
        assert_eq!(some.entries, rest, "seed {seed}");
        let before = gone.last().map_or(Term(0), |entry| entry.term);
        assert_eq!(some.before.1, before, "seed {seed}");
        wal.append(None, &[entry(last + 1, term, "next")]).unwrap();
    }
}

#[test]
fn entries_that_the_keyspace_has_take_a_bounded_amount_of_memory() {
    let disk = MemDisk::new(1);
    let mut wal = create(&disk);
    for index in 1..=100 {
        wal.append(None, &[entry(index, 1, vec![b'x'; 1_000])]).unwrap();
    }
    wal.sync().unwrap();
    drop(wal);
    let open = |index, entries, bytes| {
        let held = Held { index: Index(index), entries, bytes };
        let (_, found) = look_and_open(&disk, held).unwrap().unwrap();
        assert_eq!(found.before.0.0 + found.entries.len() as u64, 100);
        found.before
    };
    assert_eq!(open(90, 20, usize::MAX), (Index(70), Term(1)));
    let five = 5 * (size_of::<Entry>() + 1_000);
    assert_eq!(open(90, 20, five), (Index(85), Term(1)));
    assert_eq!(open(90, 2, five), (Index(88), Term(1)));
    assert_eq!(open(90, 20, 0), (Index(90), Term(1)), "what the keyspace lacks stays");
    assert_eq!(open(0, 20, 0), (Index(0), Term(0)));
}

#[test]
fn a_log_can_begin_behind_entries_that_it_never_had() {
    let disk = MemDisk::new(1);
    let beginning = Beginning { before: (Index(7), Term(3)), hard_state: hard_state(4, 0, 7) };
    let shared = Arc::new(disk.clone());
    let tiny = Options { segment_bytes: 1 };
    drop(Wal::create_behind(shared, dir(), IDENTITY, beginning, tiny).unwrap());
    assert_eq!(disk.used(), HEADER_BYTES as u64);
    disk.crash();
    let (mut wal, recovered) = open(&disk);
    assert_eq!((disk.used(), wal.bytes()), (4096, 4096), "now it has room");
    assert_eq!(
        (recovered.before, recovered.hard_state),
        ((Index(7), Term(3)), hard_state(4, 0, 7))
    );
    assert_eq!((wal.first(), recovered.entries.len()), (Index(7), 0));
    assert!(invalid(wal.append(None, &[entry(7, 4, "x")])), "that one is not its own to replace");
    drop(wal);
    let (mut wal, _) = open(&disk);
    wal.append(None, &[entry(8, 4, "x")]).unwrap();
    wal.sync().unwrap();
    disk.crash();
    assert_eq!(indexes(&open(&disk).1), [8]);
}
