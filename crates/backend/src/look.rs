//! Looking into a file without touching it.

use std::{collections::BTreeMap, io, sync::Arc};

use base::File;
use parking_lot::Mutex;

const PAGE_BYTES: usize = 4096;

/// A file that stays as it is: what is written to it is kept in memory, and read from there.
///
/// The storage engine mends and tidies what it opens. That is little, so it is not bounded here.
#[derive(Debug)]
pub(crate) struct Untouched {
    file: Arc<dyn File>,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    len: u64,
    /// Above this nothing of the file is left: it has been cut there.
    kept: u64,
    /// Pages that were written to, by number.
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Untouched {
    pub(crate) fn new(file: Arc<dyn File>) -> io::Result<Self> {
        let len = file.len()?;
        let changed = Mutex::new(Changed { len, kept: len, pages: BTreeMap::new() });
        Ok(Self { file, changed })
    }

    /// A page as it is now; zeros where the file ends.
    fn page(&self, changed: &Changed, number: u64) -> io::Result<Box<[u8; PAGE_BYTES]>> {
        if let Some(page) = changed.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE_BYTES]);
        let at = number * PAGE_BYTES as u64;
        let there = changed.kept.saturating_sub(at).min(PAGE_BYTES as u64);
        let there = usize::try_from(there).unwrap_or(PAGE_BYTES);
        if let Some(part) = page.get_mut(..there) {
            self.file.read_exact_at(part, at)?;
        }
        Ok(page)
    }
}

/// The pages that `length` bytes from `at` touch: the number of each, where in it they begin, and
/// how many they are.
fn pieces(at: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = at + done as u64;
        let within = usize::try_from(at % PAGE_BYTES as u64).unwrap_or(0);
        let count = (length - done).min(PAGE_BYTES - within);
        done += count;
        (count > 0).then_some((at / PAGE_BYTES as u64, within, count))
    })
}

impl File for Untouched {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let changed = self.changed.lock();
        let there = usize::try_from(changed.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = buffer.len().min(there);
        // Nearly all of what is read has not been written to.
        let pages = at / PAGE_BYTES as u64..=(at + length as u64) / PAGE_BYTES as u64;
        if at + length as u64 <= changed.kept && changed.pages.range(pages).next().is_none() {
            drop(changed);
            self.file.read_exact_at(buffer.get_mut(..length).unwrap_or_default(), at)?;
            return Ok(length);
        }
        let mut rest = buffer;
        for (number, within, count) in pieces(at, length) {
            let page = self.page(&changed, number)?;
            let (part, behind) = rest.split_at_mut(count);
            part.iter_mut().zip(page.iter().skip(within)).for_each(|(to, from)| *to = *from);
            rest = behind;
        }
        Ok(length)
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        let mut changed = self.changed.lock();
        let mut rest = data;
        for (number, within, count) in pieces(at, data.len()) {
            let mut page = self.page(&changed, number)?;
            let (part, behind) = rest.split_at(count);
            page.iter_mut().skip(within).zip(part).for_each(|(to, from)| *to = *from);
            rest = behind;
            changed.pages.insert(number, page);
        }
        changed.len = changed.len.max(at + data.len() as u64);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.changed.lock().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changed = self.changed.lock();
        if len < changed.len {
            changed.kept = changed.kept.min(len);
            let (last, within) = (len / PAGE_BYTES as u64, len % PAGE_BYTES as u64);
            drop(changed.pages.split_off(&(last + 1)));
            if let Some(page) = changed.pages.get_mut(&last) {
                let within = usize::try_from(within).unwrap_or(0);
                page.iter_mut().skip(within).for_each(|byte| *byte = 0);
            }
        }
        changed.len = len;
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut changed = self.changed.lock();
        changed.len = changed.len.max(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::{Disk, Open, disk::MemDisk};

    use super::*;

    /// Any writes and cuts, against a file that takes them.
    #[test]
    fn it_reads_as_a_file_would_that_takes_what_is_written_and_touches_nothing() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let disk = MemDisk::new(1);
            let make = |name: &str| disk.open(Path::new(name), Open::Create).unwrap();
            let (file, model) = (make("/file"), make("/model"));
            let content: Vec<u8> = (0..random.usize(..30_000)).map(|_| random.u8(1..)).collect();
            file.write_at(&content, 0).unwrap();
            model.write_at(&content, 0).unwrap();
            let untouched = Untouched::new(Arc::clone(&file)).unwrap();
            for _ in 0..40 {
                let at = random.u64(..40_000);
                if random.u8(..4) == 0 {
                    untouched.set_len(at).unwrap();
                    model.set_len(at).unwrap();
                } else {
                    let data = vec![random.u8(..); random.usize(..9_000)];
                    untouched.write_at(&data, at).unwrap();
                    model.write_at(&data, at).unwrap();
                }
                assert_eq!(untouched.len().unwrap(), model.len().unwrap(), "seed {seed}");
                let (at, length) = (random.u64(..45_000), random.usize(..45_000));
                let read = |file: &dyn File| {
                    let mut buffer = vec![9; length];
                    let count = file.read_at(&mut buffer, at).unwrap();
                    buffer.truncate(count);
                    buffer
                };
                assert!(read(&untouched) == read(model.as_ref()), "seed {seed}");
            }
            let mut now = vec![0; content.len() + 1];
            assert_eq!(file.read_at(&mut now, 0).unwrap(), content.len());
            assert_eq!(now[..content.len()], content);
        }
    }
}
