//! Reads files of bbolt, the storage engine of the original: buckets of ordered rows.
//!
//! A file is pages of one size. Pages 0 and 1 each hold a meta; the sound one with the newer
//! transaction counts. From there a tree of branch and leaf pages leads to the buckets, and from
//! each bucket another to its rows. A small bucket lies inside the row that names it. All numbers
//! are in the byte order of x86 and ARM.
//!
//! Only reads, a page at a time: what is held is the way from the root to a leaf. bbolt has no
//! checksum but that of the metas, so each page is checked for what it must be: its number, its
//! kind, its place in the order of keys. What is wrong is an error with the page's number. No page
//! is read twice by one walk, so a walk ends.

#[cfg(any(test, feature = "fuzzing"))]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "of tests, and of what libFuzzer runs: there to panic"
)]
pub(crate) mod making;
mod page;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

use std::{io, path::Path, sync::Arc};

use base::{Disk, File, Open};
use bytes::Bytes;

use self::page::{HEADER_BYTES, Page};
pub(crate) use self::rows::{Row, Rows};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Of a meta, behind its page's header: 56 bytes, and their checksum.
const META_BYTES: usize = 64;
/// The page sizes that there can be.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=1 << 24;
/// More than any row of etcd takes; a longer run of pages is no memory of ours to spend.
const RUN_BYTES_MAX: u64 = 1 << 30;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BoltError {
    #[error("it is no file of bbolt: page 0: {first}; page 1: {second}")]
    NoMeta { first: &'static str, second: &'static str },
    #[error("it was cut off: it has {bytes} bytes, and should have {needed}")]
    Cut { bytes: u64, needed: u64 },
    #[error("page {page} is damaged: {what}")]
    Page { page: u64, what: &'static str },
    #[error("read it: {0}")]
    Read(#[source] io::Error),
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Bolt {
    file: Arc<dyn File>,
    page_bytes: u64,
    /// Pages from here on are not in use.
    pages: u64,
    /// Where the buckets' names are.
    root: Bucket,
}

/// Where the rows of a bucket are.
#[derive(Clone, Debug)]
pub(crate) enum Bucket {
    Page(u64),
    /// In the row that names it, on this page.
    Inline(u64, Bytes),
}

impl Bucket {
    /// A bucket as a row of page `page` holds it.
    fn of(page: u64, value: &Bytes) -> Result<Self, BoltError> {
        let short = BoltError::Page { page, what: "a bucket's row is too short" };
        let root = value.first_chunk::<8>().filter(|_| value.len() >= 16);
        match root.map(|root| u64::from_le_bytes(*root)) {
            None => Err(short),
            Some(0) => Ok(Self::Inline(page, value.slice(16..))),
            Some(root) => Ok(Self::Page(root)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    page_bytes: u32,
    root: u64,
    pages: u64,
    transaction: u64,
}

impl Meta {
    /// Reads the meta of the page that begins at `at`.
    fn read(file: &dyn File, at: u64) -> Result<Result<Self, &'static str>, BoltError> {
        let mut bytes = [0; HEADER_BYTES + META_BYTES];
        let read = file.read_at(&mut bytes, at).map_err(BoltError::Read)?;
        if read < bytes.len() {
            return Ok(Err("it is not there"));
        }
        let meta = bytes.split_at(HEADER_BYTES).1;
        Ok(Self::decode(meta))
    }

    fn decode(meta: &[u8]) -> Result<Self, &'static str> {
        let u32_at = |at| page::u32_at(meta, at).ok_or("it is too short");
        let u64_at = |at| page::u64_at(meta, at).ok_or("it is too short");
        if u32_at(0)? != MAGIC {
            return Err("it does not begin as bbolt's do");
        }
        if u32_at(4)? != VERSION {
            return Err("it has a version that this build does not know");
        }
        if u64_at(56)? != fnv1a(meta.get(..56).unwrap_or_default()) {
            return Err("its checksum does not match");
        }
        let page_bytes = u32_at(8)?;
        if !PAGE_BYTES.contains(&page_bytes) || !page_bytes.is_power_of_two() {
            return Err("it names a page size that cannot be");
        }
        let (root, pages, transaction) = (u64_at(16)?, u64_at(40)?, u64_at(48)?);
        Ok(Self { page_bytes, root, pages, transaction })
    }
}

/// FNV-1a of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    let next = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, next)
}

impl Bolt {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, BoltError> {
        Self::read(disk.open(path, Open::Read).map_err(BoltError::Read)?)
    }

    fn read(file: Arc<dyn File>) -> Result<Self, BoltError> {
        let first = Meta::read(file.as_ref(), 0)?;
        let second = match &first {
            Ok(meta) => Meta::read(file.as_ref(), u64::from(meta.page_bytes))?,
            Err(_) => Self::find_second(file.as_ref())?,
        };
        let meta = match (first, second) {
            (Ok(first), Ok(second)) if first.transaction < second.transaction => second,
            (Ok(meta), _) | (Err(_), Ok(meta)) => meta,
            (Err(first), Err(second)) => return Err(BoltError::NoMeta { first, second }),
        };
        let (page_bytes, bytes) =
            (u64::from(meta.page_bytes), file.len().map_err(BoltError::Read)?);
        let needed = meta.pages.saturating_mul(page_bytes);
        if bytes < needed {
            return Err(BoltError::Cut { bytes, needed });
        }
        Ok(Self { file, page_bytes, pages: meta.pages, root: Bucket::Page(meta.root) })
    }

    /// Without the first meta nobody says how long a page is.
    fn find_second(file: &dyn File) -> Result<Result<Meta, &'static str>, BoltError> {
        let mut why = "it is not there";
        let mut page_bytes = *PAGE_BYTES.start();
        while page_bytes <= *PAGE_BYTES.end() {
            match Meta::read(file, u64::from(page_bytes))? {
                Ok(meta) if meta.page_bytes == page_bytes => return Ok(Ok(meta)),
                Ok(_) => why = "it names another page size",
                Err(_) => {}
            }
            page_bytes *= 2;
        }
        Ok(Err(why))
    }

    /// How many pages there are, for progress.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// A bucket by its name; `None` if there is none.
    pub(crate) fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, BoltError> {
        let mut rows = self.rows(self.root.clone())?;
        while let Some(row) = rows.next_row()? {
            if row.key == name {
                return Bucket::of(row.page, &row.value).map(Some);
            }
        }
        Ok(None)
    }

    /// The rows of a bucket, in order of their keys.
    pub(crate) fn rows(&self, bucket: Bucket) -> Result<Rows<'_>, BoltError> {
        Rows::of(self, bucket)
    }

    /// Reads a page, with those behind it that belong to it.
    fn page(&self, id: u64) -> Result<Page, BoltError> {
        let damaged = |what| BoltError::Page { page: id, what };
        if id < 2 || id >= self.pages {
            return Err(damaged("it lies outside of what is in use"));
        }
        let at = id * self.page_bytes;
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, at).map_err(BoltError::Read)?;
        let pages = 1 + u64::from(page::overflow(&header));
        let bytes = pages * self.page_bytes;
        if pages > self.pages - id || bytes > RUN_BYTES_MAX {
            return Err(damaged("it is longer than what is in use"));
        }
        let mut run = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut run, at).map_err(BoltError::Read)?;
        Page::decode(id, run.into()).and_then(|page| {
            if page.number() == id { Ok(page) } else { Err(damaged("it has another number")) }
        })
    }
}
