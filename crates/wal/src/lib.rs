//! The raft log on disk: what a member has promised.
//!
//! See the design, "On disk": a batch names the offset that was synced before it; below the highest
//! such offset a bad record is rot and the member stops; above it the log is cut at the first bad
//! record. CRCs chain and are seeded with the segment's id. A failed sync is final.
//!
//! Invariants:
//! - A segment and its name are durable, and all of the segment before it is synced, before the
//!   first record goes into it. So only the last segment can end in a torn record.
//! - All entries of a segment lie above the index that its header names. An append that goes back
//!   behind it begins a new segment. So a cut needs only the headers, and what stands before the
//!   first kept entry never changes its term.
//! - Segments are removed oldest first, each durably before the next: there is never a gap.

mod format;
mod gone;
mod read;
mod record;
mod recover;
mod scan;
mod terms;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{ClusterId, Disk, File, Index, MemberId, Open, Term};
use bytes::Bytes;

pub use crate::gone::Gone;
use crate::{
    format::{HEADER_BYTES, Header, Name},
    record::{Batch, ENTRY_BYTES_MAX, TooLarge},
    recover::{Found, Tail},
    terms::Terms,
};

/// Whose log this is; written into every segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub member: MemberId,
}

/// What Raft must not forget besides entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: Term,
    /// 0: nobody.
    pub vote: MemberId,
    pub commit: Index,
}

/// Where a log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// Index and term before the first entry.
    pub before: (Index, Term),
    pub hard_state: HardState,
}

/// An entry of the log. Data and context together are at most 64 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub index: Index,
    pub term: Term,
    /// Raft's kind of entry: 0 normal, 1 and 2 configuration changes. Opaque here.
    pub kind: u8,
    pub data: Bytes,
    pub context: Bytes,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A new segment is begun when a batch would make the current one longer; the space is
    /// reserved from the start. Default 64 MiB; small in tests.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{verb} {path}: {source}{advice}", advice = base::disk::advice(.source.kind()))]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    /// A record that was promised is bad: restore the member from the others or from a backup.
    #[error(
        "{path}: the log is damaged at byte {offset}, in a part that had been synced: {what}. \
         Restore this member from a backup, or remove it and add it again"
    )]
    Rot { path: PathBuf, offset: u64, what: String },
    /// Not a log of ours, or of a newer format.
    #[error("{path}: {what}")]
    Foreign { path: PathBuf, what: String },
}

impl Error {
    fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { verb, path: path.to_path_buf(), source }
    }
}

/// What of the log the keyspace has already, and so need not be held in memory.
///
/// Of the entries up to `index`, [`Looked::look`] returns only the newest, `entries` of them at most
/// and about twice `bytes` while it reads; all those after it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub index: Index,
    pub entries: u64,
    pub bytes: usize,
}

impl Held {
    pub const NOTHING: Self = Self { index: Index(0), entries: 0, bytes: 0 };
}

/// What opening found: everything from the first kept entry on.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The last one that was appended; its commit is at most the last entry's index.
    pub hard_state: HardState,
    /// Index and term before the first of `entries`.
    pub before: (Index, Term),
    /// Without gaps.
    pub entries: Vec<Entry>,
}

/// A log that is ours and sound, read and left as it is.
#[derive(Debug)]
pub struct Looked {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    half_made: Vec<String>,
    found: Found,
}

/// The log, open for appending. One thread's at a time.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    identity: Identity,
    options: Options,
    /// Older segments, oldest first; their ids go up by one, to that of `current`.
    closed: VecDeque<Segment>,
    /// Still older ones, which nobody needs.
    gone: Gone,
    current: Current,
    hard_state: HardState,
    terms: Terms,
    batch: Batch,
    /// By this process.
    written: u64,
    failed: bool,
}

/// A segment's file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    id: u64,
    /// All its entries lie above.
    before: Index,
    bytes: u64,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Current {
    segment: Segment,
    file: Arc<dyn File>,
    /// The CRC of the header, with which all others begin.
    seed: u32,
    /// The CRC of the last record.
    crc: u32,
    /// Where the next record goes.
    end: u64,
    /// Up to here the segment survives a loss of power.
    synced: u64,
}

impl Wal {
    /// Makes a new log in a directory that must be missing or hold no log; synced, with its
    /// directory, before this returns.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Self, Error> {
        Self::create_behind(disk, dir, identity, Beginning::default(), options)
    }

    /// The same, for a log that begins behind entries which a keyspace holds.
    pub fn create_behind(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: Identity,
        beginning: Beginning,
        options: Options,
    ) -> Result<Self, Error> {
        let Beginning { before, hard_state } = beginning;
        let listing = recover::list(&*disk, dir)?;
        if !listing.segments.is_empty() {
            return Err(Error::io("create a log in", dir)(io::ErrorKind::AlreadyExists.into()));
        }
        disk.create_dir_all(dir).map_err(Error::io("create", dir))?;
        remove_half_made(&*disk, dir, &listing.half_made)?;
        let header = Header {
            id: 1,
            identity,
            before,
            hard_state,
            previous_end: 0,
            previous_crc: 0,
            anew: false,
        };
        let current = Current::make(&*disk, dir, &header, options.segment_bytes)?;
        Ok(Self {
            gone: Gone::new(&disk, dir),
            disk,
            dir: dir.to_path_buf(),
            identity,
            options,
            closed: VecDeque::new(),
            current,
            hard_state: header.hard_state,
            terms: Terms::new(header.before),
            batch: Batch::default(),
            written: 0,
            failed: false,
        })
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Adds a batch, in order. An entry at an index that the log has already replaces it and all
    /// after it. Nothing is promised until [`Wal::sync`]; but from now on a crash may lose the
    /// entries that were replaced.
    ///
    /// An error of kind `InvalidInput` says that an entry is larger than 64 MiB, leaves a gap, goes
    /// back to a lower term than the entry before it has, or replaces what has been cut.
    pub fn append(
        &mut self,
        hard_state: Option<HardState>,
        entries: &[Entry],
    ) -> Result<(), Error> {
        self.unless_failed(|wal| wal.append_batch(hard_state, entries))
    }

    /// Returns once everything appended so far survives a loss of power. After an error the log
    /// refuses all further use.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.unless_failed(Self::sync_current)
    }

    /// What the log begins behind.
    pub fn first(&self) -> Index {
        self.terms.first()
    }

    /// Forgets entries up to and including `index`, as far as whole segments allow, in an order
    /// that a crash cannot harm. `index` must be durable in the keyspace, and in the log.
    pub fn cut(&mut self, index: Index) -> Result<(), Error> {
        let gone = self.cut_off(index)?;
        self.unless_failed(|_| gone.remove())
    }

    /// The same, but for the disk: whoever calls this removes what is gone, and the log can be used
    /// meanwhile.
    pub fn cut_off(&mut self, index: Index) -> Result<Gone, Error> {
        self.unless_failed(|wal| wal.cut_segments(index))?;
        Ok(self.gone.clone())
    }

    /// Starts the log anew behind a snapshot that is durable: nothing that it held counts any more,
    /// whether it ended before the snapshot or went on differently. Durable when this returns; a
    /// crash before that leaves the log as it was.
    pub fn restart(&mut self, behind: (Index, Term), hard_state: HardState) -> Result<(), Error> {
        self.unless_failed(|wal| wal.restart_behind(behind, hard_state))
    }

    /// Bytes of all segments, with what is reserved; without those that are gone.
    pub fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum::<u64>() + self.current.segment.bytes
    }

    /// Bytes that were appended since the log was opened.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The last entry that was appended.
    pub fn last(&self) -> Index {
        self.terms.last()
    }

    /// A failure may have left less on disk than this process believes: none is survived.
    fn unless_failed<T>(
        &mut self,
        f: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.failed {
            let source = io::Error::other("an earlier failure has closed the log");
            return Err(Error::io("use", &self.dir)(source));
        }
        let result = f(self);
        self.failed = result.is_err();
        result
    }

    fn append_batch(
        &mut self,
        hard_state: Option<HardState>,
        entries: &[Entry],
    ) -> Result<(), Error> {
        if hard_state.is_none() && entries.is_empty() {
            return Ok(());
        }
        let runs = kept_runs(entries);
        let first = runs.first().and_then(|run| run.first());
        let last = self.terms.last();
        // The highest index that the batch leaves as it is.
        let floor = first.map_or(last, |entry| last.min(Index(entry.index.0.saturating_sub(1))));
        let Some(term) = self.terms.term(floor) else {
            return Err(self.invalid("an entry replaces what has been cut"));
        };
        self.encode(hard_state.as_ref(), &runs)?;
        let length = self.batch.bytes().len() as u64;
        let full = self.current.end > HEADER_BYTES as u64
            && self.current.end + length > self.options.segment_bytes;
        if full || floor < self.current.segment.before {
            self.begin_segment((floor, term), false)?;
        }
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state;
        }
        self.write()
    }

    /// Makes records of a batch, and remembers the terms of its entries.
    fn encode(&mut self, hard_state: Option<&HardState>, runs: &[&[Entry]]) -> Result<(), Error> {
        self.batch.clear();
        if runs.is_empty() {
            self.batch.push(hard_state, &[]).map_err(|error| self.too_large(error))?;
        }
        let mut hard_state = hard_state;
        for run in runs {
            if !run.iter().all(|entry| self.terms.put(entry.index, entry.term)) {
                return Err(self.invalid("an entry does not go on from the one before it"));
            }
            let pushed = self.batch.push(hard_state.take(), run);
            pushed.map_err(|error| self.too_large(error))?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        let Current { segment, file, seed, crc, end, synced } = &mut self.current;
        *crc = self.batch.seal(*seed, *crc, *end, *synced);
        let path = || self.dir.join(Name::segment(segment.id));
        let written = file.write_at(self.batch.bytes(), *end);
        written.map_err(|source| Error::io("write", &path())(source))?;
        *end += self.batch.bytes().len() as u64;
        self.written += self.batch.bytes().len() as u64;
        segment.bytes = segment.bytes.max(*end);
        Ok(())
    }

    fn sync_current(&mut self) -> Result<(), Error> {
        let current = &mut self.current;
        if current.synced < current.end {
            let path = || self.dir.join(Name::segment(current.segment.id));
            current.file.sync().map_err(|source| Error::io("sync", &path())(source))?;
            current.synced = current.end;
        }
        Ok(())
    }

    /// Goes on in a new segment, whose entries will all lie above `before`. What is above it in
    /// older segments counts no more.
    fn begin_segment(&mut self, before: (Index, Term), anew: bool) -> Result<(), Error> {
        self.sync_current()?;
        let header = Header {
            id: self.current.segment.id + 1,
            identity: self.identity,
            before,
            hard_state: self.hard_state,
            previous_end: self.current.end,
            previous_crc: self.current.crc,
            anew,
        };
        let length = (HEADER_BYTES + self.batch.bytes().len()) as u64;
        let bytes = self.options.segment_bytes.max(length);
        let next = Current::make(&*self.disk, &self.dir, &header, bytes)?;
        self.closed.push_back(std::mem::replace(&mut self.current, next).segment);
        Ok(())
    }

    fn cut_segments(&mut self, index: Index) -> Result<(), Error> {
        if index > self.terms.last() {
            return Err(self.invalid("the entry to cut at is not in the log"));
        }
        // The last segment that begins at or below the index: all later ones begin above it, so
        // none of them goes back behind what this one holds.
        let segments = self.closed.iter().chain([&self.current.segment]);
        let fitting = segments.enumerate().filter(|(_, segment)| segment.before <= index);
        let Some((gone, first)) = fitting.last() else { return Ok(()) };
        let before = first.before;
        self.give_up_oldest(gone);
        self.terms.cut(before);
        Ok(())
    }

    fn restart_behind(
        &mut self,
        behind: (Index, Term),
        hard_state: HardState,
    ) -> Result<(), Error> {
        self.batch.clear();
        self.hard_state = hard_state;
        // From the moment when this segment has its name, it alone counts.
        self.begin_segment(behind, true)?;
        self.terms = Terms::new(behind);
        self.give_up_oldest(self.closed.len());
        self.gone.remove()
    }

    fn give_up_oldest(&mut self, count: usize) {
        let oldest = self.closed.drain(..count.min(self.closed.len()));
        self.gone.add(oldest.map(|segment| segment.id));
    }

    fn too_large(&self, _: TooLarge) -> Error {
        self.invalid(format!("an entry is larger than {ENTRY_BYTES_MAX} bytes"))
    }

    fn invalid(&self, what: impl Into<String>) -> Error {
        let source = io::Error::new(io::ErrorKind::InvalidInput, what.into());
        Error::io("use", &self.dir)(source)
    }
}

impl Looked {
    /// Reads a log, without touching anything. `None` if the directory holds no log (or only one
    /// whose making never finished).
    ///
    /// `held`: what nobody will ask for.
    pub fn look(disk: Arc<dyn Disk>, dir: &Path, held: Held) -> Result<Option<Self>, Error> {
        let listing = recover::list(&*disk, dir)?;
        let found = recover::recover(&*disk, dir, &listing.segments, held)?;
        let half_made = listing.half_made;
        Ok(found.map(|found| Self { disk, dir: dir.to_path_buf(), half_made, found }))
    }

    pub fn identity(&self) -> Identity {
        self.found.identity
    }

    /// What [`Self::open`] will return.
    pub fn recovered(&self) -> &Recovered {
        &self.found.recovered
    }

    /// The same, and leaves the log.
    pub fn into_recovered(self) -> Recovered {
        self.found.recovered
    }

    /// Opens the log for appending, and mends what a crash may have left (a torn tail, a half-made
    /// or half-removed segment). What is returned is durable.
    pub fn open(self, options: Options) -> Result<(Wal, Recovered), Error> {
        let Self { disk, dir, half_made, found } = self;
        let Found { segments, current: segment, identity, tail, terms, recovered } = found;
        let path = dir.join(Name::segment(segment.id));
        let file = recover::mend(&*disk, &path, &tail)?;
        let segment = with_room(segment, file.as_ref(), options.segment_bytes)
            .map_err(Error::io("reserve space for", &path))?;
        remove_half_made(&*disk, &dir, &half_made)?;
        // The process may have died, with the power on, between a change of names and its sync.
        disk.sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        let Tail { seed, crc, end, .. } = tail;
        let wal = Wal {
            gone: Gone::new(&disk, &dir),
            disk,
            dir,
            identity,
            options,
            closed: segments.into(),
            current: Current { segment, file, seed, crc, end, synced: end },
            hard_state: recovered.hard_state,
            terms,
            batch: Batch::default(),
            written: 0,
            failed: false,
        };
        Ok((wal, recovered))
    }
}

/// A segment that was made for nothing but its header (of a backup) has no room yet.
fn with_room(segment: Segment, file: &dyn File, bytes: u64) -> io::Result<Segment> {
    if segment.bytes >= bytes {
        return Ok(segment);
    }
    file.allocate(bytes)?;
    file.sync()?;
    Ok(Segment { bytes, ..segment })
}

impl Current {
    /// Makes a segment, of `bytes`; it and its name are durable when this returns.
    ///
    /// It gets its name only once its header is synced: a segment with a bad header is rot.
    fn make(disk: &dyn Disk, dir: &Path, header: &Header, bytes: u64) -> Result<Self, Error> {
        let (sector, crc) = header.encode();
        let half_made = dir.join(Name::half_made(header.id));
        let file = disk.open(&half_made, Open::Create).map_err(Error::io("create", &half_made))?;
        let bytes = bytes.max(sector.len() as u64);
        let filled = (|| {
            file.allocate(bytes).map_err(Error::io("reserve space for", &half_made))?;
            file.write_at(&sector, 0).map_err(Error::io("write", &half_made))?;
            file.sync().map_err(Error::io("sync", &half_made))
        })();
        if filled.is_err() {
            // Of a disk that is full not even the rest is taken.
            disk.remove(&half_made).ok();
        }
        filled?;
        let path = dir.join(Name::segment(header.id));
        disk.rename(&half_made, &path).map_err(Error::io("rename", &half_made))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        let end = sector.len() as u64;
        Ok(Self {
            segment: Segment { id: header.id, before: header.before.0, bytes },
            file,
            seed: crc,
            crc,
            end,
            synced: end,
        })
    }
}

/// The entries that no later one of their batch replaces, in runs whose indexes go up by one.
fn kept_runs(entries: &[Entry]) -> Vec<&[Entry]> {
    let in_order = |a: &Entry, b: &Entry| b.index.0.checked_sub(1) == Some(a.index.0);
    let mut runs = Vec::new();
    let mut replaced = Index(u64::MAX);
    for run in entries.chunk_by(in_order).rev() {
        let kept = run.partition_point(|entry| entry.index < replaced);
        runs.extend(run.get(..kept).filter(|run| !run.is_empty()));
        replaced = replaced.min(run.first().map_or(replaced, |entry| entry.index));
    }
    runs.reverse();
    runs
}

fn remove_half_made(disk: &dyn Disk, dir: &Path, names: &[String]) -> Result<(), Error> {
    for name in names {
        let path = dir.join(name);
        disk.remove(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}
