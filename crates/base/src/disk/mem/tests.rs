//! What the disk in memory keeps and forgets.

use std::collections::BTreeSet;

use super::*;

const SECTOR: usize = 512;

fn at(path: &str) -> &Path {
    Path::new(path)
}

/// A disk with a directory `/d`.
fn disk(seed: u64) -> MemDisk {
    let disk = MemDisk::new(seed);
    disk.create_dir_all(at("/d")).unwrap();
    disk
}

/// A file whose name and content last.
fn put(disk: &MemDisk, path: &str, data: &[u8]) -> Arc<dyn File> {
    let file = disk.open(at(path), Open::Create).unwrap();
    file.write_at(data, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(at(path).parent().unwrap()).unwrap();
    file
}

fn get(disk: &MemDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(at(path), Open::Read).ok()?;
    let mut data = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut data, 0).unwrap();
    Some(data)
}

/// Runs `check` with many seeds and returns the different results.
fn outcomes<T: Ord>(check: impl Fn(u64) -> T) -> BTreeSet<T> {
    (0..200).map(check).collect()
}

#[test]
fn unsynced_sectors_are_lost_independently() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = put(&disk, "/d/f", &[b'a'; 4 * SECTOR]);
        file.write_at(&[b'b'; 3 * SECTOR], 100).unwrap();
        disk.crash();
        let data = get(&disk, "/d/f").unwrap();
        assert!(data[..100].iter().all(|byte| *byte == b'a'));
        // One byte tells what became of its whole sector's written part.
        assert_eq!(data[100], data[SECTOR - 1]);
        assert_eq!(data[SECTOR], data[2 * SECTOR - 1]);
        [100, SECTOR, 2 * SECTOR, 3 * SECTOR].map(|at| data[at])
    });
    assert_eq!(seen.len(), 16, "every combination comes up");
}

#[test]
fn what_is_overwritten_may_have_reached_the_disk_before() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = put(&disk, "/d/f", b"a");
        file.write_at(b"b", 0).unwrap();
        file.write_at(b"c", 0).unwrap();
        disk.crash();
        get(&disk, "/d/f").unwrap()
    });
    assert_eq!(seen, ["a", "b", "c"].map(|text| text.as_bytes().to_vec()).into());
}

#[test]
fn an_unsynced_length_may_be_lost() {
    let grown = outcomes(|seed| {
        let disk = disk(seed);
        let file = put(&disk, "/d/f", b"abc");
        file.set_len(2000).unwrap();
        disk.crash();
        let data = get(&disk, "/d/f").unwrap();
        assert_eq!(data[..3], *b"abc");
        assert!(data[3..].iter().all(|byte| *byte == 0));
        data.len()
    });
    assert!(grown.contains(&3) && grown.contains(&2000) && grown.len() > 10, "{grown:?}");

    let cut = outcomes(|seed| {
        let disk = disk(seed);
        let file = put(&disk, "/d/f", &[b'a'; 2000]);
        file.set_len(1024).unwrap();
        disk.crash();
        let data = get(&disk, "/d/f").unwrap();
        assert!(data.iter().all(|byte| *byte == b'a'), "a lost cut has cut nothing off");
        data.len()
    });
    assert_eq!(cut, [1024, 2000].into());
}

/// A random history of one file, against a model that knows what each sector may hold.
#[test]
fn a_sector_is_something_that_was_written_to_it_since_the_last_sync() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = disk(seed);
        let mut file = put(&disk, "/d/f", b"");
        let sectors = 24;
        let mut now = vec![0_u8; sectors * SECTOR];
        let mut possible: Vec<BTreeSet<Vec<u8>>> = vec![BTreeSet::new(); sectors];
        let remember = |now: &[u8], possible: &mut [BTreeSet<Vec<u8>>]| {
            for (sector, seen) in now.chunks(SECTOR).zip(possible) {
                seen.insert(sector.to_vec());
            }
        };
        remember(&now, &mut possible);
        for _ in 0..30 {
            match rng.u8(..8) {
                0 => {
                    file.sync().unwrap();
                    possible.iter_mut().for_each(BTreeSet::clear);
                }
                1 => {
                    let len = rng.usize(..=now.len());
                    file.set_len(len as u64).unwrap();
                    now[len..].fill(0);
                }
                2 => {
                    disk.crash();
                    file = disk.open(at("/d/f"), Open::Write).unwrap();
                    let data = get(&disk, "/d/f").unwrap();
                    now.fill(0);
                    now[..data.len()].copy_from_slice(&data);
                    for (number, sector) in now.chunks(SECTOR).enumerate() {
                        // A length that was lost takes its sector's tail along.
                        let kept = data.len().saturating_sub(number * SECTOR).min(SECTOR);
                        let seen = &possible[number];
                        assert!(seen.iter().any(|old| old[..kept] == sector[..kept]), "{seed}");
                    }
                    possible.iter_mut().for_each(BTreeSet::clear);
                }
                _ => {
                    let data = vec![rng.u8(1..); rng.usize(..3000)];
                    let start = rng.usize(..=now.len() - data.len());
                    file.write_at(&data, start as u64).unwrap();
                    now[start..start + data.len()].copy_from_slice(&data);
                }
            }
            remember(&now, &mut possible);
            let data = get(&disk, "/d/f").unwrap();
            assert_eq!(data, now[..data.len()], "{seed}");
            assert!(now[data.len()..].iter().all(|byte| *byte == 0), "{seed}");
        }
    }
}

#[test]
fn a_name_lasts_once_its_directory_is_synced() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = disk.open(at("/d/new"), Open::Create).unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        disk.crash();
        get(&disk, "/d/new")
    });
    assert_eq!(seen, [None, Some(b"x".to_vec())].into());

    for seed in 0..50 {
        let disk = disk(seed);
        put(&disk, "/d/new", b"x");
        disk.crash();
        assert_eq!(get(&disk, "/d/new").as_deref(), Some(&b"x"[..]));
    }
}

#[test]
fn a_removed_file_may_come_back() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        put(&disk, "/d/a", b"a");
        put(&disk, "/d/b", b"b");
        disk.remove(at("/d/a")).unwrap();
        disk.remove(at("/d/b")).unwrap();
        assert_eq!(disk.list(at("/d")).unwrap(), [""; 0]);
        disk.crash();
        disk.list(at("/d")).unwrap()
    });
    assert_eq!(seen.len(), 4, "each on its own");

    let disk = disk(1);
    put(&disk, "/d/a", b"a");
    disk.remove(at("/d/a")).unwrap();
    disk.sync_dir(at("/d")).unwrap();
    disk.crash();
    assert!(!disk.exists(at("/d/a")).unwrap());
    assert_eq!(disk.used(), 0);
}

#[test]
fn a_rename_is_whole_or_not_at_all() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        put(&disk, "/d/new", b"new");
        put(&disk, "/d/old", b"old");
        disk.rename(at("/d/new"), at("/d/old")).unwrap();
        disk.crash();
        (get(&disk, "/d/new"), get(&disk, "/d/old"))
    });
    let text = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(seen, [(None, text("new")), (text("new"), text("old"))].into());
}

#[test]
fn no_change_of_a_directory_lasts_without_those_that_it_builds_on() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        disk.create_dir_all(at("/e")).unwrap();
        drop(disk.open(at("/d/1"), Open::Create).unwrap());
        disk.rename(at("/d/1"), at("/d/2")).unwrap();
        disk.rename(at("/d/2"), at("/e/3")).unwrap();
        if seed % 2 == 0 {
            // Takes along what led there, in both directories.
            disk.sync_dir(at("/e")).unwrap();
        }
        disk.crash();
        let names = [disk.list(at("/d")).unwrap(), disk.list(at("/e")).unwrap()].concat();
        assert!(names.len() <= 1);
        (seed % 2 == 0, names.concat())
    });
    let unsynced = ["", "1", "2", "3"].map(|name| (false, name.to_owned()));
    assert_eq!(seen, unsynced.into_iter().chain([(true, "3".to_owned())]).collect());
}

#[test]
fn a_crash_ends_handles_and_locks() {
    let disk = disk(1);
    let file = put(&disk, "/d/f", b"abc");
    let lock = disk.lock(at("/d/lock")).unwrap();
    assert_eq!(disk.lock(at("/d/lock")).err().unwrap().kind(), io::ErrorKind::WouldBlock);
    disk.sync_dir(at("/d")).unwrap();
    disk.crash();
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(file.write_at(b"x", 0).is_err());
    let again = disk.lock(at("/d/lock")).unwrap();
    drop(lock);
    assert!(disk.lock(at("/d/lock")).is_err(), "an old guard must not free a new lock");
    drop(again);
    assert!(disk.lock(at("/d/lock")).is_ok());
}

#[test]
fn the_power_fails_in_the_operation_that_was_asked_for() {
    let work = |disk: &MemDisk| -> io::Result<()> {
        disk.create_dir_all(at("/d"))?;
        let file = disk.open(at("/d/f"), Open::Create)?;
        file.allocate(4096)?;
        file.write_at(b"abc", 0)?;
        file.sync()?;
        disk.rename(at("/d/f"), at("/d/g"))?;
        disk.sync_dir(at("/d"))?;
        file.set_len(1)?;
        disk.remove(at("/d/g"))
    };
    for operations in 0..9 {
        let seen = outcomes(|seed| {
            let disk = MemDisk::new(seed);
            disk.fail_after(operations);
            assert!(work(&disk).is_err());
            assert!(disk.failed() && disk.operations() == operations + 1);
            assert!(disk.exists(at("/d")).is_err(), "nothing works until the power is back");
            disk.crash();
            disk.list(at("/d")).is_ok_and(|names| !names.is_empty())
        });
        let file: &[bool] = match operations {
            0 => &[false],
            7 => &[true],
            _ => &[false, true],
        };
        assert_eq!(seen, file.iter().copied().collect(), "{operations}");
    }
    let disk = MemDisk::new(1);
    disk.fail_after(9);
    work(&disk).unwrap();
    assert!(!disk.failed());
}

#[test]
fn what_a_failed_sync_has_lost_no_later_sync_brings_back() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = put(&disk, "/d/f", &[b'a'; 2 * SECTOR]);
        file.write_at(&[b'b'; 2 * SECTOR], 0).unwrap();
        disk.fail_next_sync();
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert!(get(&disk, "/d/f").unwrap().iter().all(|byte| *byte == b'b'));
        disk.crash();
        let data = get(&disk, "/d/f").unwrap();
        (data[0], data[SECTOR])
    });
    assert_eq!(seen.len(), 4);

    // What was written after it lasts as ever, and so does the lost part once it is written again.
    for seed in 0..50 {
        let disk = disk(seed);
        let file = put(&disk, "/d/f", &[b'a'; 2 * SECTOR]);
        file.write_at(b"b", 0).unwrap();
        disk.fail_next_sync();
        file.sync().unwrap_err();
        file.write_at(b"c", SECTOR as u64).unwrap();
        file.sync().unwrap();
        disk.crash();
        assert_eq!(get(&disk, "/d/f").unwrap()[SECTOR], b'c');
    }
    for seed in 0..50 {
        let disk = disk(seed);
        let file = put(&disk, "/d/f", b"a");
        file.write_at(b"b", 0).unwrap();
        disk.fail_next_sync();
        file.sync().unwrap_err();
        file.write_at(b"b", 0).unwrap();
        file.sync().unwrap();
        disk.crash();
        assert_eq!(get(&disk, "/d/f").as_deref(), Some(&b"b"[..]));
    }
}

#[test]
fn a_full_disk_says_so_and_takes_overwrites() {
    let disk = disk(1);
    let file = put(&disk, "/d/f", &[1; 100]);
    disk.set_capacity(Some(150));
    assert_eq!(file.write_at(&[2; 51], 100).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.allocate(151).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(&[2; 100], 50).unwrap();
    file.write_at(&[3; 150], 0).unwrap();
    drop(file);
    disk.remove(at("/d/f")).unwrap();
    disk.sync_dir(at("/d")).unwrap();
    put(&disk, "/d/g", &[1; 150]);
}

#[test]
fn rot_changes_what_was_synced() {
    let disk = disk(1);
    let file = put(&disk, "/d/f", b"abc");
    file.write_at(b"d", 3).unwrap();
    disk.rot(at("/d/f"), 1, 0xff).unwrap();
    disk.rot(at("/d/f"), 4, 1).unwrap_err();
    assert_eq!(get(&disk, "/d/f").as_deref(), Some(&[b'a', b'b' ^ 0xff, b'c', b'd'][..]));
    disk.crash();
    assert_eq!(get(&disk, "/d/f").unwrap()[..3], [b'a', b'b' ^ 0xff, b'c']);
}

#[test]
fn a_fork_goes_its_own_way() {
    let disk = disk(1);
    let file = put(&disk, "/d/f", b"abc");
    file.write_at(b"xyz", 0).unwrap();
    let fork = disk.fork(2);
    file.write_at(b"123", 0).unwrap();
    assert_eq!(get(&fork, "/d/f").as_deref(), Some(&b"xyz"[..]));
    fork.open(at("/d/f"), Open::Write).unwrap().write_at(b"!", 0).unwrap();
    assert_eq!(get(&disk, "/d/f").as_deref(), Some(&b"123"[..]));
    let unsynced = outcomes(|seed| {
        let fork = fork.fork(seed);
        fork.crash();
        get(&fork, "/d/f").unwrap()
    });
    assert!(unsynced.contains(&b"abc"[..]) && unsynced.contains(&b"!yz"[..]));
}

#[test]
fn errors_are_of_the_kinds_that_files_give() {
    let disk = disk(1);
    let kind = |result: io::Result<Arc<dyn File>>| result.unwrap_err().kind();
    assert_eq!(kind(disk.open(at("/d/f"), Open::Read)), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.open(at("/no/f"), Open::Create)), io::ErrorKind::NotFound);
    let file = put(&disk, "/d/f", b"abc");
    assert_eq!(kind(disk.open(at("/d/f"), Open::Create)), io::ErrorKind::AlreadyExists);
    assert_eq!(disk.list(at("/no")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.remove(at("/d/g")).unwrap_err().kind(), io::ErrorKind::NotFound);
    let end = file.read_exact_at(&mut [0; 4], 0).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    let read_only = disk.open(at("/d/f"), Open::Read).unwrap();
    assert_eq!(read_only.write_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    disk.create_dir_all(at("/d/e")).unwrap();
    assert_eq!(disk.list(at("/d")).unwrap(), ["e", "f"]);
    disk.remove(at("/d/f")).unwrap();
    assert_eq!(file.read_at(&mut [0; 8], 0).unwrap(), 3, "an open file outlives its name");
}

#[test]
fn reserved_space_costs_nothing() {
    for seed in 0..2000 {
        let disk = disk(seed);
        let file = disk.open(at("/d/f"), Open::Create).unwrap();
        file.allocate(64 << 20).unwrap();
        file.write_at(b"end", 60 << 20).unwrap();
        file.sync().unwrap();
        disk.crash();
    }
}

#[test]
fn a_crash_tells_whether_it_has_torn_a_write() {
    let seen = outcomes(|seed| {
        let disk = disk(seed);
        let file = put(&disk, "/d/f", &[b'a'; 2 * SECTOR]);
        file.write_at(&[b'b'; 2 * SECTOR], 0).unwrap();
        let damage = disk.crash();
        let data = get(&disk, "/d/f").unwrap();
        let is_new = [0, SECTOR].map(|at| data[at] == b'b');
        let lost = u64::from(is_new != [true, true]);
        let torn = u64::from(is_new == [true, false] || is_new == [false, true]);
        assert_eq!(damage, Damage { lost, torn });
        is_new
    });
    assert_eq!(seen.len(), 4, "every combination comes up");
}
