//! Logs made here, whole and damaged.

use std::{path::Path, sync::Arc};

use base::{Disk, Open, disk::MemDisk};

use bytes::Bytes;

use super::{Log, making::Maker};
use crate::{Damage, messages::Entry};

const DIR: &str = "/wal";

impl Maker {
    fn entry(&mut self, index: u64, term: u64, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        self.add(&Entry { kind: 0, term, index, data });
    }
}

fn disk(segments: &[(String, Vec<u8>)]) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    disk.create_dir_all(Path::new(DIR)).unwrap();
    for (name, bytes) in segments {
        let file = disk.open(&Path::new(DIR).join(name), Open::Create).unwrap();
        file.write_at(bytes, 0).unwrap();
    }
    disk
}

fn read(segments: &[(String, Vec<u8>)], before: u64) -> Result<(Vec<String>, bool), Damage> {
    let mut log = Log::read(&disk(segments), Path::new(DIR), before)?;
    let mut entries = Vec::new();
    for index in before + 1..=log.last() {
        let entry = log.entry(index)?.unwrap();
        assert_eq!(entry.index, index);
        entries.push(format!("{}:{}", entry.term, String::from_utf8_lossy(&entry.data)));
    }
    assert_eq!(log.entry(log.last() + 1)?, None);
    Ok((entries, log.torn))
}

fn sample() -> Vec<(String, Vec<u8>)> {
    let mut maker = Maker::new();
    (1..=3).for_each(|index| maker.entry(index, 1, format!("e{index}").as_bytes()));
    maker.cut(4);
    (4..=5).for_each(|index| maker.entry(index, 1, format!("e{index}").as_bytes()));
    maker.commit(5);
    maker.entry(6, 1, &[b'x'; 2_000]);
    maker.finish()
}

#[test]
fn entries_of_all_segments_are_read_in_order() {
    let (entries, torn) = read(&sample(), 0).unwrap();
    assert_eq!(entries[..5], ["1:e1", "1:e2", "1:e3", "1:e4", "1:e5"]);
    assert_eq!((entries.len(), torn), (6, false));
    // What lies before the snapshot is not asked for, nor are its segments.
    assert_eq!(read(&sample()[1..], 4).unwrap().0[..1], ["1:e5"]);
}

#[test]
fn an_entry_that_was_written_again_counts_as_it_was_written_last() {
    let mut maker = Maker::new();
    (1..=5).for_each(|index| maker.entry(index, 1, b"old"));
    maker.entry(3, 2, b"new");
    let (entries, _) = read(&maker.finish(), 0).unwrap();
    assert_eq!(entries, ["1:old", "1:old", "2:new"]);
}

#[test]
fn a_record_that_was_not_written_whole_ends_the_log() {
    let whole = sample();
    let end = whole[1].1.len() - 4_096;
    // Of the last record some sectors are there, and others not.
    let start = end - 2_000;
    for sector in (start / 512 + 1)..end / 512 {
        let mut torn = whole.clone();
        torn[1].1[sector * 512..].fill(0);
        assert_eq!(read(&torn, 0).map(|(entries, torn)| (entries.len(), torn)).unwrap(), (5, true));
    }
    // Somebody has cut the file, within a record: they begin at multiples of eight.
    for length in (1..end).step_by(2) {
        let mut cut = whole.clone();
        cut[1].1.truncate(length);
        assert!(read(&cut, 0).is_err(), "{length}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let mut maker = Maker::new();
    maker.entry(1, 1, b"a");
    maker.entry(3, 1, b"b");
    let error = read(&maker.finish(), 0).unwrap_err().to_string();
    assert!(error.contains("entry 3 does not follow"), "{error}");
    let mut maker = Maker::new();
    maker.entry(1, 1, b"a");
    maker.commit(7);
    let error = read(&maker.finish(), 0).unwrap_err().to_string();
    assert!(error.contains("ends at entry 1, but says that entry 7 was committed"), "{error}");
    let error = read(&sample()[1..], 1).unwrap_err().to_string();
    assert!(error.contains("the log begins at entry 4, but the snapshot ends at 1"), "{error}");
    let error = read(&[], 0).unwrap_err().to_string();
    assert!(error.contains("there is no log in it"), "{error}");
    let mut gap = sample();
    gap[1].0 = gap[1].0.replacen("0001-", "0002-", 1);
    let error = read(&gap, 0).unwrap_err().to_string();
    assert!(error.contains("the segment before it is missing"), "{error}");
}

/// Rot in what was committed is never taken for the end.
#[test]
fn any_flipped_bit_is_an_error_or_costs_what_nobody_was_promised() {
    let sound = sample();
    let mut errors = 0;
    for segment in 0..2 {
        let end = sound[segment].1.len() - if segment == 1 { 4_096 } else { 0 };
        for at in 0..end {
            let mut damaged = sound.clone();
            damaged[segment].1[at] ^= 1 << (at % 8);
            match read(&damaged, 0) {
                // Padding, or the last record.
                Ok((entries, _)) => assert!(entries.len() >= 5, "{segment} {at}: {entries:?}"),
                Err(_) => errors += 1,
            }
        }
    }
    assert!(errors > 300, "{errors}");
}
