//! Copies that are made while the file goes on.

use base::File;
use parking_lot::Mutex;

use super::*;
use crate::Source;

const COPY: &str = "/data/copy";
const KEYS: u64 = 3_000;

/// A disk on which something happens whenever somebody reads a piece.
#[derive(Clone)]
struct Busy {
    disk: MemDisk,
    meanwhile: Arc<Mutex<dyn FnMut() + Send>>,
}

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Busy")
    }
}

#[derive(Debug)]
struct BusyFile(Arc<dyn File>, Busy);

impl Disk for Busy {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, how)?;
        Ok(if how == Open::Read { Arc::new(BusyFile(file, self.clone())) } else { file })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
    fn share(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.share(path)
    }
}

impl File for BusyFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if buffer.len() < 64 << 10 {
            return self.0.read_at(buffer, at); // The head.
        }
        // In the middle of a piece, as the kernel may.
        let (first, rest) = buffer.split_at_mut(buffer.len() / 2);
        let read = self.0.read_at(first, at)?;
        (self.1.meanwhile.lock())();
        Ok(read + self.0.read_at(rest, at + read as u64)?)
    }
    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.0.write_at(data, at)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// Tables that change at random, and what they held after each entry.
struct Writer {
    backend: Arc<Backend>,
    rng: fastrand::Rng,
    now: BTreeMap<String, String>,
    then: BTreeMap<u64, BTreeMap<String, String>>,
}

impl Writer {
    fn new(disk: &MemDisk, seed: u64) -> Self {
        let backend = Arc::new(open(disk));
        let rng = fastrand::Rng::with_seed(seed);
        let mut writer = Self { backend, rng, now: BTreeMap::new(), then: BTreeMap::new() };
        for _ in 0..6 {
            writer.commit(1_000);
        }
        writer
    }

    /// One entry of so many changes, durable.
    fn commit(&mut self, count: usize) {
        let index = self.backend.applied().index.0 + 1;
        let mut changes = Vec::new();
        for _ in 0..count {
            let key = format!("{:09}", self.rng.u64(..KEYS));
            let value = self.rng.bool().then(|| format!("{index}-").repeat(self.rng.usize(1..400)));
            changes.push(change(Table::Meta, &key, value.as_deref()));
            match value {
                Some(value) => self.now.insert(key, value),
                None => self.now.remove(&key),
            };
        }
        self.backend.write(Some(at(index)), changes);
        self.then.insert(index, self.now.clone());
        while self.backend.durable() < self.backend.applied() {
            self.backend.flush().unwrap();
        }
    }
}

fn held(backend: &Backend) -> BTreeMap<String, String> {
    rows(backend, Table::Meta).into_iter().collect()
}

/// Copies while so many commits are made in every piece of the file; `heeds`: the writer looks
/// whether somebody copies. Tells of each attempt whether it gave a copy.
fn copies(seed: u64, commits: usize, heeds: bool) -> Vec<bool> {
    let disk = disk(seed);
    let writer = Arc::new(Mutex::new(Writer::new(&disk, seed)));
    let by_reader = Arc::clone(&writer);
    let meanwhile = move || {
        let writer = &mut *by_reader.lock();
        for _ in 0..commits {
            if heeds {
                writer.backend.heed_copies();
            }
            writer.commit(20);
        }
    };
    let busy = Busy { disk: disk.clone(), meanwhile: Arc::new(Mutex::new(meanwhile)) };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = Options { cache_bytes: 1 << 20 };
    let mut held_back = Vec::new();
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        // As long as this one is there, the writer takes care.
        let source = Source::open(&busy, Path::new(PATH)).unwrap();
        let was_still = source.copy_to(&busy, Path::new(COPY)).unwrap();
        held_back.push(source);
        assert_eq!(was_still, commits == 0, "seed {seed}");
        let copy = Backend::open_copy(Arc::clone(&shared), Path::new(COPY), options.clone());
        outcomes.push(copy.is_ok());
        if let Ok(copy) = copy {
            let index = copy.durable().index.0;
            assert!(held(&copy) == writer.lock().then[&index], "seed {seed}: it is no commit");
            copy.close().unwrap();
            let applied = Backend::verify(shared.as_ref(), Path::new(COPY), &options).unwrap();
            assert_eq!(applied, at(index));
        }
        disk.remove(Path::new(COPY)).unwrap();
    }
    let writer = writer.lock();
    assert!(held(&writer.backend) == writer.now, "seed {seed}: copying harms nobody");
    outcomes
}

/// Whatever is torn does not open: it is never taken for a commit that it is not.
#[test]
fn a_copy_is_some_commit_or_is_refused() {
    let (mut good, mut torn) = (0, 0);
    for seed in 0..5 {
        for commits in [0, 1, 4] {
            let outcomes = copies(seed, commits, false);
            assert!(commits > 0 || outcomes == [true; 3], "nothing happened meanwhile");
            good += outcomes.iter().filter(|good| **good).count();
            torn += outcomes.iter().filter(|good| !**good).count();
        }
    }
    assert!(good > 0 && torn > 10, "{good} good, {torn} torn: this test shows nothing");
}

#[test]
fn whoever_sees_that_it_is_copied_spares_what_is_copied() {
    for seed in 0..5 {
        let outcomes = copies(seed, 4, true);
        // It may see that only in the course of the first.
        assert_eq!(outcomes[1..], [true; 2], "seed {seed}");
    }
}

#[test]
fn what_was_spared_is_used_again_once_nobody_copies() {
    let disk = disk(1);
    let mut writer = Writer::new(&disk, 1);
    let grown = |writer: &mut Writer| {
        let before = writer.backend.size().0;
        for _ in 0..300 {
            writer.backend.heed_copies();
            writer.commit(60);
        }
        writer.backend.size().0 - before
    };
    let without = grown(&mut writer);
    let source = Source::open(&disk, Path::new(PATH)).unwrap();
    assert!(writer.backend.heed_copies());
    let with = grown(&mut writer);
    assert!(with > 10 << 20 && with > 4 * without, "{without} without, {with} with");
    drop(source);
    assert!(!writer.backend.heed_copies());
    assert_eq!(grown(&mut writer), 0, "there is room");
    // A copy that never ends is given up.
    let _source = Source::open(&disk, Path::new(PATH)).unwrap();
    assert!(writer.backend.heed_copies());
    writer.backend.ignore_copies();
    assert!(writer.backend.heeded.lock().is_none());
}

/// Rot, wherever it is: in pages that hold something it is found; in all others it does no harm.
#[test]
fn a_byte_that_has_rotted_is_found() {
    let disk = disk(3);
    let writer = Writer::new(&disk, 3);
    let expected = held(&writer.backend);
    drop(writer);
    let length = {
        let file = disk.open(Path::new(PATH), Open::Read).unwrap();
        file.len().unwrap()
    };
    let mut rng = fastrand::Rng::with_seed(3);
    let options = Options { cache_bytes: 1 << 20 };
    let mut found = 0;
    for _ in 0..60 {
        let rotten = disk.fork(rng.u64(..));
        let (at, xor) = (rng.u64(..length), rng.u8(1..));
        rotten.rot(Path::new(PATH), at, xor).unwrap();
        if Backend::verify(&rotten, Path::new(PATH), &options).is_err() {
            found += 1;
            continue;
        }
        let copy = Backend::open_copy(Arc::new(rotten), Path::new(PATH), options.clone());
        assert!(held(&copy.unwrap()) == expected, "byte {at}");
    }
    assert!(found > 10, "found {found}");
}

#[test]
fn what_is_no_keyspace_is_not_copied() {
    let disk = disk(1);
    let file = disk.open(Path::new(PATH), Open::Create).unwrap();
    file.write_at(&[b'x'; 9000], 0).unwrap();
    let refused = Source::open(&disk, Path::new(PATH)).unwrap_err().to_string();
    assert!(refused.contains("no keyspace"), "{refused}");
    assert!(Source::open(&disk, Path::new("/data/other")).is_err(), "missing");
}
