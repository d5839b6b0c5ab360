//! A log whose last segment is changed: four bytes where from, then what stands there, to its end or not.
//! Checksums count as right.
#![no_main]

use std::{path::Path, sync::Arc};

use base::{ClusterId, Disk, Index, MemberId, Open, Term, disk::MemDisk};
use wal::{Entry, HardState, Held, Identity, Looked, Options, Wal};

const OPTIONS: Options = Options { segment_bytes: 64 << 10 };

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((place, bytes)) = data.split_first_chunk::<4>() else { return };
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1));
    let dir = Path::new("/log");
    made(&disk, dir);
    let names = disk.list(dir).expect("it is there");
    let name = names.iter().filter(|name| name.ends_with(".log")).max().expect("a segment");
    let file = disk.open(&dir.join(name), Open::Write).expect("it is there");
    let length = file.len().expect("a length");
    let place = u32::from_le_bytes(*place);
    let at = u64::from(place >> 1) % length;
    file.write_at(bytes, at).expect("it is written");
    if place & 1 == 1 {
        file.set_len(at + bytes.len() as u64).expect("it is cut");
    }
    file.sync().expect("it is synced");
    let looked = Looked::look(Arc::clone(&disk), dir, Held::NOTHING);
    let Ok(Some(looked)) = looked else { return };
    let before = looked.recovered().entries.len();
    let Ok((mut log, recovered)) = looked.open(OPTIONS) else { return };
    assert_eq!(recovered.entries.len(), before);
    let last = log.last();
    let next = Entry { index: Index(last.0 + 1), term: recovered.hard_state.term, ..entry(0) };
    if log.append(None, &[next]).is_ok() {
        log.sync().expect("a disk in memory syncs");
    }
});

fn entry(index: u64) -> Entry {
    let (data, context) = (vec![7; 20].into(), Vec::new().into());
    Entry { index: Index(index), term: Term(1), kind: 0, data, context }
}

fn made(disk: &Arc<dyn Disk>, dir: &Path) {
    let identity = Identity { cluster: ClusterId(9), member: MemberId(1) };
    disk.create_dir_all(Path::new("/")).expect("a root");
    let mut log = Wal::create(Arc::clone(disk), dir, identity, OPTIONS).expect("a log");
    let state = HardState { term: Term(1), vote: MemberId(1), commit: Index(0) };
    let entries: Vec<_> = (1..=4).map(entry).collect();
    log.append(Some(state), &entries).expect("it is appended");
    log.sync().expect("it is synced");
}
