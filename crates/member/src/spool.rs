//! Applied entries that followers still need and that are not in memory any more, in files: those
//! who lag, and those who are being sent a snapshot, must not fill the leader's memory.
//!
//! Nothing is promised here, and nothing outlives the run. Where the disk fails, all entries are
//! gone, and where the files would grow too large, the oldest: the follower needs a snapshot.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsStr,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use base::{Disk, File, Open};
use bytes::Buf as _;
use prost::Message as _;
use raft::{GetEntriesContext, eraftpb::Entry};

/// Entries are gathered up to so many bytes, and then written and later read as one.
const BLOCK_BYTES: usize = 64 << 10;
/// Of so many files each is a part of what the spool may hold; it goes once nobody needs what is in
/// it. One that is hardly ever empty, and so never begins anew, must not grow all the same.
const FILES: u64 = 16;
/// What is read of it in a tick: so much at least, and so many times what was added in the last one.
/// A follower comes nearer, and clients notice little of it.
const READ_BYTES_PER_TICK: u64 = 1 << 20;
const READ_SHARE: u64 = 3;
/// Followers that wait for the next tick, with those that ask again.
const WAITING_MAX: usize = 64;

/// Numbered files, for what is worth nothing in another run.
pub trait Files: Send + Sync + fmt::Debug {
    /// Writes to a file, which is made if it is not there. Whether that went well may be told later:
    /// by the next call.
    fn write(&self, file: u64, at: u64, data: Vec<u8>) -> io::Result<()>;

    /// Fills the buffer with what was written there.
    fn read(&self, file: u64, at: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Removes a file that was written to.
    fn remove(&self, file: u64) -> io::Result<()>;
}

/// Such files on a disk, which is waited for.
#[derive(Debug)]
struct OnDisk {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    open: Mutex<BTreeMap<u64, Arc<dyn File>>>,
}

impl OnDisk {
    fn open(&self, file: u64) -> Option<Arc<dyn File>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&file).cloned()
    }
}

impl Files for OnDisk {
    fn write(&self, file: u64, at: u64, data: Vec<u8>) -> io::Result<()> {
        if let Some(file) = self.open(file) {
            return file.write_at(&data, at);
        }
        let made = self.disk.open(&named(&self.path, file), Open::Create)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(file, Arc::clone(&made));
        drop(open);
        made.write_at(&data, at)
    }

    fn read(&self, file: u64, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.open(file).ok_or(io::ErrorKind::NotFound)?.read_exact_at(buffer, at)
    }

    fn remove(&self, file: u64) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let was_made = open.remove(&file).is_some();
        drop(open);
        if was_made { self.disk.remove(&named(&self.path, file)) } else { Ok(()) }
    }
}

/// A queue of entries, contiguous from [`Spool::first`] on.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    /// What it holds at most.
    bytes_max: u64,
    files: Arc<dyn Files>,
    /// Those that were written to; none while nothing is in them.
    used: BTreeSet<u64>,
    /// What is in the files.
    blocks: VecDeque<Block>,
    /// Where the next block goes, as if all files were one; each block lies in the file in which it
    /// begins.
    end: u64,
    /// It was said that the oldest entries had to go.
    overflowed: bool,
    /// The block that is being gathered, and its entries.
    open: Block,
    gathered: Vec<u8>,
    /// What could not be read makes all of it useless.
    failed: AtomicBool,
    /// Bytes that were added since the last tick, and that may be read until the next.
    added: u64,
    left: AtomicU64,
    waiting: Mutex<Vec<GetEntriesContext>>,
}

/// Entries of one term.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    first: u64,
    count: u64,
    term: u64,
    /// The term of the entry before its first.
    term_before: u64,
    at: u64,
    bytes: usize,
    crc: u32,
}

impl Block {
    /// The index after its last.
    fn end(&self) -> u64 {
        self.first + self.count
    }

    fn holds(&self, index: u64) -> bool {
        (self.first..self.end()).contains(&index)
    }
}

impl Spool {
    /// With files whose names begin with this path, for so many bytes. Those that a former run has
    /// left there go.
    pub(crate) fn new(disk: Arc<dyn Disk>, path: &Path, bytes_max: u64) -> io::Result<Self> {
        if let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) {
            for found in disk.list(dir)?.iter().filter(|found| found.starts_with(name)) {
                disk.remove(&dir.join(found))?;
            }
        }
        let path = path.to_path_buf();
        let files = OnDisk { disk, path: path.clone(), open: Mutex::default() };
        Ok(Self {
            path,
            bytes_max: bytes_max.max(FILES),
            files: Arc::new(files),
            used: BTreeSet::new(),
            blocks: VecDeque::new(),
            end: 0,
            overflowed: false,
            open: Block::default(),
            gathered: Vec::new(),
            failed: AtomicBool::new(false),
            added: 0,
            left: AtomicU64::new(READ_BYTES_PER_TICK),
            waiting: Mutex::default(),
        })
    }

    /// Before anything is in them: lets somebody else carry out what is done with the files.
    pub(crate) fn pass_on(&mut self, to: impl FnOnce(Arc<dyn Files>) -> Arc<dyn Files>) {
        self.files = to(Arc::clone(&self.files));
    }

    /// Whether entries may be read now. If not, [`Spool::tick`] tells whoever asked with this context
    /// to ask again.
    pub(crate) fn is_open(&self, context: GetEntriesContext) -> bool {
        if self.left.load(Relaxed) > 0 || !context.can_async() {
            return true;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push(context);
        }
        false
    }

    /// More may be read now, by these.
    pub(crate) fn tick(&mut self) -> Vec<GetEntriesContext> {
        let share = READ_SHARE * std::mem::take(&mut self.added);
        self.left.store(share.max(READ_BYTES_PER_TICK), Relaxed);
        std::mem::take(self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// The index of its first entry.
    pub(crate) fn first(&self) -> Option<u64> {
        if self.failed.load(Relaxed) {
            return None;
        }
        let first = self.blocks.front().unwrap_or(&self.open);
        (first.count > 0).then_some(first.first)
    }

    /// Adds the entry that follows the last one, which is of this term.
    pub(crate) fn push(&mut self, term_before: u64, entry: &Entry) {
        if self.failed.load(Relaxed) {
            return;
        }
        let is_full = self.gathered.len() >= self.block_bytes() || self.open.term != entry.term;
        if is_full && let Err(error) = self.write() {
            return self.fail(&error);
        }
        if self.open.count == 0 {
            let (first, term) = (entry.index, entry.term);
            self.open = Block { first, term, term_before, ..Block::default() };
        }
        debug_assert_eq!(entry.index, self.open.end(), "entries are contiguous");
        if entry.encode_length_delimited(&mut self.gathered).is_ok() {
            self.open.count += 1;
        }
        self.added += raft::util::entry_approximate_size(entry) as u64;
    }

    /// Writes the block that is being gathered.
    fn write(&mut self) -> io::Result<()> {
        if self.open.count == 0 {
            return Ok(());
        }
        let bytes = self.gathered.len();
        self.make_room(bytes as u64);
        let (number, at) = self.place(self.end);
        let crc = crc32c::crc32c(&self.gathered);
        self.used.insert(number);
        self.files.write(number, at, std::mem::take(&mut self.gathered))?;
        self.blocks.push_back(Block { at: self.end, bytes, crc, ..self.open });
        self.end += bytes as u64;
        self.open = Block::default();
        Ok(())
    }

    fn block_bytes(&self) -> usize {
        usize::try_from(self.file_bytes()).map_or(BLOCK_BYTES, |bytes| BLOCK_BYTES.min(bytes))
    }

    fn file_bytes(&self) -> u64 {
        self.bytes_max / FILES
    }

    /// In which file that is, and where.
    fn place(&self, at: u64) -> (u64, u64) {
        (at / self.file_bytes(), at % self.file_bytes())
    }

    /// Lets the oldest entries go, where these bytes would be too much, and the files of which nothing
    /// is needed.
    fn make_room(&mut self, bytes: u64) {
        while let Some(first) = self.blocks.front()
            && self.end + bytes - first.at > self.bytes_max
        {
            self.blocks.pop_front();
            if !std::mem::replace(&mut self.overflowed, true) {
                let (path, max) = (self.path.display(), self.bytes_max);
                tracing::warn!(
                    "{path}: members that lag need more than {max} bytes of what was written: the \
                     oldest is not kept any more, and they may need a snapshot"
                );
            }
        }
        let needed = self.blocks.front().map_or(self.end, |block| block.at);
        let (needed, _) = self.place(needed);
        while let Some(number) = self.used.first().copied().filter(|number| *number < needed) {
            self.used.remove(&number);
            self.remove(number);
        }
    }

    fn remove(&self, number: u64) {
        if let Err(error) = self.files.remove(number) {
            self.complain(&error);
        }
    }

    /// The term of an entry that is here, or was the last before.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if self.first() == Some(index + 1) {
            return self.block(index + 1).map(|block| block.term_before);
        }
        self.block(index).map(|block| block.term)
    }

    fn block(&self, index: u64) -> Option<&Block> {
        self.first()?;
        let at = self.blocks.partition_point(|block| block.end() <= index);
        self.blocks.get(at).or(Some(&self.open)).filter(|block| block.holds(index))
    }

    /// Entries from `low` on, as far as they lie together; `None` if it is not here any more.
    pub(crate) fn read(&self, low: u64, high: u64, bytes_max: u64) -> Option<Vec<Entry>> {
        let block = self.block(low)?;
        match self.entries(block, low, high, bytes_max) {
            Ok(entries) => Some(entries),
            Err(error) => {
                self.complain(&error);
                self.failed.store(true, Relaxed);
                None
            }
        }
    }

    fn entries(&self, block: &Block, low: u64, high: u64, max: u64) -> io::Result<Vec<Entry>> {
        let mut encoded = Vec::new();
        let mut rest = if block.first == self.open.first && self.open.count > 0 {
            &*self.gathered
        } else {
            encoded.resize(block.bytes, 0);
            let (number, at) = self.place(block.at);
            self.files.read(number, at, &mut encoded)?;
            if crc32c::crc32c(&encoded) != block.crc {
                return Err(io::Error::other("it has not what was written"));
            }
            &*encoded
        };
        let (mut found, mut bytes) = (Vec::new(), 0);
        for index in block.first..block.end().min(high) {
            if index < low {
                let length = prost::decode_length_delimiter(&mut rest)?;
                rest.advance(length);
                continue;
            }
            let entry = Entry::decode_length_delimited(&mut rest)?;
            bytes += raft::util::entry_approximate_size(&entry) as u64;
            // Always one, or a large entry would never get anywhere.
            if bytes > max && !found.is_empty() {
                break;
            }
            found.push(entry);
        }
        self.left.store(self.left.load(Relaxed).saturating_sub(bytes), Relaxed);
        Ok(found)
    }

    /// Nobody needs entries before this one.
    pub(crate) fn forget_before(&mut self, index: u64) {
        while self.blocks.front().is_some_and(|block| block.end() <= index) {
            self.blocks.pop_front();
        }
        let is_needed = !self.blocks.is_empty() || self.open.end() > index;
        if !is_needed || self.failed.load(Relaxed) {
            self.clear();
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.gathered = Vec::new();
        (self.open, self.end, self.overflowed) = (Block::default(), 0, false);
        self.failed.store(false, Relaxed);
        for number in std::mem::take(&mut self.used) {
            self.remove(number);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.complain(error);
        self.clear();
    }

    fn complain(&self, error: &io::Error) {
        let path = self.path.display();
        tracing::warn!(
            "{path}: {error}: what members that lag still need is not kept, and they may need a \
             snapshot"
        );
    }
}

fn named(path: &Path, number: u64) -> PathBuf {
    path.with_extension(number.to_string())
}

#[cfg(test)]
mod tests {
    use base::disk::MemDisk;

    use super::*;

    const MAX: u64 = 1 << 30;

    fn files(disk: &MemDisk) -> Vec<String> {
        disk.list(Path::new("/")).unwrap()
    }

    fn spool(disk: &MemDisk) -> Spool {
        Spool::new(Arc::new(disk.clone()), Path::new("/catch-up"), MAX).unwrap()
    }

    fn entry(index: u64, term: u64, bytes: usize) -> Entry {
        let data = vec![u8::try_from(index % 251).unwrap(); bytes].into();
        Entry { index, term, data, ..Entry::default() }
    }

    /// Reads everything, as much as is given at a time.
    fn all(spool: &Spool, from: u64, to: u64, max: u64) -> Vec<Entry> {
        let mut found: Vec<Entry> = Vec::new();
        while from + (found.len() as u64) < to {
            let read = spool.read(from + found.len() as u64, to, max).unwrap();
            assert!(!read.is_empty());
            found.extend(read);
        }
        found
    }

    #[test]
    fn what_was_pushed_is_read_from_the_file_and_from_what_is_gathered() {
        let disk = MemDisk::new(1);
        let mut spool = spool(&disk);
        assert_eq!(spool.first(), None);
        let entries: Vec<_> = (5..500).map(|index| entry(index, 1 + index / 300, 1_000)).collect();
        for entry in &entries {
            spool.push(1, entry);
        }
        assert_eq!(spool.first(), Some(5));
        assert!(spool.blocks.len() > 5, "most is in the file");
        for max in [0, 5_000, u64::MAX] {
            assert_eq!(all(&spool, 5, 500, max), entries);
            assert_eq!(all(&spool, 77, 310, max), entries[72..305]);
        }
        assert_eq!((spool.term(299), spool.term(300)), (Some(1), Some(2)));
        assert_eq!((spool.term(3), spool.term(4), spool.term(500)), (None, Some(1), None));
        assert_eq!(spool.read(4, 10, 100), None);
    }

    #[test]
    fn what_nobody_needs_goes_and_the_last_file_with_it() {
        let disk = MemDisk::new(1);
        let mut spool = spool(&disk);
        (1..=200).for_each(|index| spool.push(1, &entry(index, 1, 1_000)));
        spool.forget_before(100);
        let first = spool.first().unwrap();
        assert!((2..=100).contains(&first), "{first}");
        assert_eq!(all(&spool, 100, 201, 10_000).len(), 101);
        assert_eq!(files(&disk), ["catch-up.0"]);
        spool.forget_before(201);
        assert_eq!(spool.first(), None);
        assert!(files(&disk).is_empty());
        spool.push(1, &entry(300, 2, 10));
        assert_eq!((spool.first(), spool.term(300)), (Some(300), Some(2)));
    }

    /// So it is where one follower lags for ever, if only a little.
    #[test]
    fn files_go_of_which_nothing_is_needed() {
        let disk = MemDisk::new(1);
        let mut spool = Spool::new(Arc::new(disk.clone()), Path::new("/up"), 16 << 10).unwrap();
        for index in 1..=1_000 {
            spool.push(1, &entry(index, 1, 100));
            spool.forget_before(index.saturating_sub(20));
            assert!(spool.first() <= Some(index.saturating_sub(20).max(1)), "what is needed stays");
            assert!(files(&disk).len() <= 4, "{:?}", files(&disk));
        }
        assert!(spool.end > 5 * spool.bytes_max && !spool.overflowed);
        assert_eq!(all(&spool, 980, 1_001, 1_000).len(), 21);
    }

    #[test]
    fn the_oldest_go_where_it_would_be_too_much() {
        let disk = MemDisk::new(1);
        let mut spool = Spool::new(Arc::new(disk.clone()), Path::new("/up"), 16 << 10).unwrap();
        for index in 1..=1_000 {
            spool.push(index.min(2) - 1, &entry(index, 1, 100));
            let names = files(&disk);
            assert!(names.len() as u64 <= FILES + 1, "{names:?}");
        }
        let first = spool.first().unwrap();
        assert!((840..900).contains(&first), "{first}");
        assert_eq!(all(&spool, first, 1_001, 1_000).len() as u64, 1_001 - first);
        assert_eq!((spool.term(first - 1), spool.term(first - 2)), (Some(1), None));
        assert_eq!(spool.read(first - 1, 1_001, 100), None);
        spool.clear();
        assert!(files(&disk).is_empty());
    }

    #[test]
    fn where_the_file_is_damaged_nothing_is_there_until_it_is_begun_anew() {
        let disk = MemDisk::new(1);
        let mut spool = spool(&disk);
        (1..=200).for_each(|index| spool.push(1, &entry(index, 1, 1_000)));
        spool.files.write(0, 500, vec![7]).unwrap();
        assert_eq!(spool.read(1, 10, 100), None);
        assert_eq!((spool.first(), spool.term(150)), (None, None));
        spool.push(1, &entry(201, 1, 10));
        assert_eq!(spool.first(), None);
        spool.forget_before(150);
        spool.push(1, &entry(202, 1, 10));
        assert_eq!(spool.first(), Some(202));
    }

    #[test]
    fn so_much_is_read_in_a_tick() {
        let mut spool = spool(&MemDisk::new(1));
        (1..=3_000).for_each(|index| spool.push(1, &entry(index, 1, 1_000)));
        assert!(spool.tick().is_empty());
        let read = |spool: &Spool| {
            let mut next = 1;
            while next <= 3_000 && spool.is_open(GetEntriesContext::empty(true)) {
                next += spool.read(next, 3_001, 100_000).unwrap().len() as u64;
            }
            next
        };
        assert_eq!(read(&spool), 3_001, "three times what was added in the last tick");
        assert!(spool.tick().is_empty());
        assert!((1_000..1_300).contains(&read(&spool)), "a megabyte");
        assert!(spool.is_open(GetEntriesContext::empty(false)), "who cannot wait");
        assert_eq!(spool.tick().len(), 1, "who waited may go on");
    }

    #[test]
    fn a_file_of_a_former_run_goes() {
        let disk = MemDisk::new(1);
        let mut old = spool(&disk);
        (1..=200).for_each(|index| old.push(1, &entry(index, 1, 1_000)));
        assert_eq!(files(&disk), ["catch-up.0"]);
        drop(old);
        let new = spool(&disk);
        assert!(files(&disk).is_empty());
        assert_eq!(new.first(), None);
    }
}
