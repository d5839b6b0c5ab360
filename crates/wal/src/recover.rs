//! What a directory holds, found by reading alone: [`crate::Looked::open`] mends afterwards, once
//! it is certain that the log is ours and sound.

use std::{io, path::Path, sync::Arc};

use base::{Disk, File, Index, Open, Term};

use crate::{
    Entry, Error, Held, Identity, Recovered, Segment,
    format::{BadHeader, HEADER_BYTES, Header, Name},
    read::Reader,
    record::Record,
    scan::Scan,
    terms::Terms,
};

/// Forgotten entries that are dropped at once.
const FORGOTTEN_TOGETHER: usize = 4096;

/// What stands in the directory of a log.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Ids, ascending.
    pub(crate) segments: Vec<u64>,
    pub(crate) half_made: Vec<String>,
}

/// A log that is ours and sound, up to the end of its last segment.
#[derive(Debug)]
pub(crate) struct Found {
    /// All but the last, in order of their ids.
    pub(crate) segments: Vec<Segment>,
    /// The last one, that is appended to.
    pub(crate) current: Segment,
    pub(crate) identity: Identity,
    pub(crate) tail: Tail,
    /// Of all entries, those that were forgotten too.
    pub(crate) terms: Terms,
    pub(crate) recovered: Recovered,
}

/// The end of the last segment.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) seed: u32,
    /// The CRC of the last good record.
    pub(crate) crc: u32,
    /// Up to here the segment is known to have been synced.
    pub(crate) promised: u64,
    /// Where the good records end; at or above `promised`.
    pub(crate) end: u64,
    /// From here on there are only zeros; at or above `end`.
    pub(crate) zeros_from: u64,
}

/// Lists a directory, which may be missing.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    if !disk.exists(dir).map_err(Error::io("look for", dir))? {
        return Ok(listing);
    }
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        match Name::parse(&name) {
            Name::Segment(id) => listing.segments.push(id),
            Name::HalfMade => listing.half_made.push(name),
            Name::OriginalEtcd => {
                return Err(Error::Foreign {
                    path: dir.join(name),
                    what: "this is a log of the original etcd, which is not read here; \
                           choose another data directory"
                        .to_owned(),
                });
            }
            Name::Other => {}
        }
    }
    listing.segments.sort_unstable();
    Ok(listing)
}

/// Reads the log with these segments, without the entries that are `held`; `None` if there are no
/// segments.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    ids: &[u64],
    held: Held,
) -> Result<Option<Found>, Error> {
    let headers = headers(disk, dir, ids)?;
    let mut log = Log::new(held);
    let mut segments = Vec::new();
    let mut tail = None;
    for (position, (header, seed)) in headers.iter().enumerate() {
        let path = dir.join(Name::segment(header.id));
        let file = disk.open(&path, Open::Read).map_err(Error::io("open", &path))?;
        let reader = Reader::new(file).map_err(Error::io("open", &path))?;
        segments.push(Segment { id: header.id, before: header.before.0, bytes: reader.len() });
        log.begin(header, position == 0).map_err(|what| rot(&path, 0, what))?;
        let scan = Scan::new(reader, *seed);
        match headers.get(position + 1) {
            Some((next, _)) => read_closed(&path, scan, &mut log, next)?,
            None => tail = Some(read_last(&path, scan, &mut log, *seed)?),
        }
    }
    let identity = headers.last().map(|(header, _)| header.identity);
    let found = tail.zip(identity).zip(segments.pop());
    Ok(found.map(|((tail, identity), current)| {
        let (terms, recovered) = log.finish();
        Found { segments, current, identity, tail, terms, recovered }
    }))
}

/// Reads a segment that was synced as a whole before `next` was begun.
fn read_closed(path: &Path, mut scan: Scan, log: &mut Log, next: &Header) -> Result<(), Error> {
    let bad = scan.records(log, Some(next.previous_end)).map_err(Error::io("read", path))?;
    match bad {
        Some(what) => Err(rot(path, scan.at, what)),
        None if scan.crc == next.previous_crc => Ok(()),
        None => Err(rot(path, scan.at, "the next segment goes on from something else")),
    }
}

/// Reads the last segment, which may end anyhow.
///
/// Nothing above what a head says was synced has been promised to anyone, and a power loss keeps
/// its sectors in any order: the log ends at the first bad record, good ones behind it or not.
/// Below, a bad record is rot.
fn read_last(path: &Path, mut scan: Scan, log: &mut Log, seed: u32) -> Result<Tail, Error> {
    let bad = scan.records(log, None).map_err(Error::io("read", path))?;
    let zeros_from = scan.rest().map_err(Error::io("read", path))?;
    if scan.at < scan.promised {
        return Err(rot(path, scan.at, bad.unwrap_or_default()));
    }
    let Scan { crc, promised, at: end, .. } = scan;
    Ok(Tail { seed, crc, promised, end, zeros_from })
}

fn rot(path: &Path, offset: u64, what: &str) -> Error {
    Error::Rot { path: path.to_path_buf(), offset, what: what.to_owned() }
}

/// The headers of all segments, each with its CRC, once they are known to belong together.
fn headers(disk: &dyn Disk, dir: &Path, ids: &[u64]) -> Result<Vec<(Header, u32)>, Error> {
    let mut headers: Vec<(Header, u32)> = Vec::new();
    for &id in ids {
        let path = dir.join(Name::segment(id));
        let (header, crc) = header(disk, &path, id)?;
        if let Some((previous, _)) = headers.last() {
            if previous.id.checked_add(1) != Some(id) {
                let path = dir.join(Name::segment(previous.id.saturating_add(1)));
                let what = format!("it is missing, though {} is there", Name::segment(id));
                return Err(rot(&path, 0, &what));
            }
            if previous.identity != header.identity {
                let what = "it belongs to another member or cluster than the segment before it";
                return Err(Error::Foreign { path, what: what.to_owned() });
            }
        }
        headers.push((header, crc));
    }
    Ok(headers)
}

fn header(disk: &dyn Disk, path: &Path, id: u64) -> Result<(Header, u32), Error> {
    let file = disk.open(path, Open::Read).map_err(Error::io("open", path))?;
    let mut sector = [0; HEADER_BYTES];
    let length = file.read_at(&mut sector, 0).map_err(Error::io("read", path))?;
    Header::decode(id, sector.get(..length).unwrap_or_default()).map_err(|bad| match bad {
        BadHeader::Foreign => Error::Foreign {
            path: path.to_path_buf(),
            what: "this is no raft log, or its beginning is lost: if a member lived here, restore \
                   it from a backup, else choose another data directory"
                .to_owned(),
        },
        BadHeader::Version(version) => Error::Foreign {
            path: path.to_path_buf(),
            what: format!("its format is {version}, newer than this version can read; upgrade"),
        },
        BadHeader::Rot => rot(path, 0, "the segment's header is not what was written"),
    })
}

/// The log as far as it has been read.
///
/// Invariant: `recovered` holds the entries of `terms` behind `recovered.before`.
pub(crate) struct Log {
    terms: Terms,
    recovered: Recovered,
    /// What the log began behind, before anything of it was forgotten.
    beginning: Index,
    held: Held,
    /// Bytes of the entries in `recovered` that the keyspace holds.
    held_bytes: usize,
    /// All entries of the segment lie above.
    floor: Index,
}

impl Log {
    fn new(held: Held) -> Self {
        Self {
            terms: Terms::new((Index(0), Term(0))),
            recovered: Recovered::default(),
            beginning: Index(0),
            held,
            held_bytes: 0,
            floor: Index(0),
        }
    }

    fn last(&self) -> (Index, Term) {
        let last = self.terms.last();
        (last, self.terms.term(last).unwrap_or_default())
    }

    /// Drops all entries above `index`.
    fn truncate(&mut self, index: Index) {
        if index >= self.terms.last() {
            return;
        }
        self.terms.truncate(index);
        let recovered = &mut self.recovered;
        if let Some(kept) = index.0.checked_sub(recovered.before.0.0) {
            recovered.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        } else {
            recovered.entries.clear();
            recovered.before = (index, self.terms.term(index).unwrap_or_default());
        }
        self.held_bytes = recovered.entries.iter().map(|entry| held_bytes(self.held, entry)).sum();
    }

    fn begin(&mut self, header: &Header, first: bool) -> Result<(), &'static str> {
        if first || header.anew || header.before.0 < self.beginning {
            // What was read so far is left from an unfinished cut: it removes the oldest segment
            // first, and this one goes back behind the beginning of those. Or it does not count
            // any more.
            self.terms = Terms::new(header.before);
            self.beginning = header.before.0;
            self.recovered.entries.clear();
            self.recovered.before = header.before;
            self.held_bytes = 0;
        }
        self.truncate(header.before.0);
        if self.last() != header.before {
            return Err("it does not go on from the entries before it");
        }
        self.floor = header.before.0;
        self.recovered.hard_state = header.hard_state;
        Ok(())
    }

    pub(crate) fn apply(&mut self, record: Record) -> Result<(), &'static str> {
        if let Some(hard_state) = record.hard_state {
            self.recovered.hard_state = hard_state;
        }
        let Some(first) = record.entries.first() else { return Ok(()) };
        // Inside the record, indexes go up by one and terms never down.
        let before = first.index.0.checked_sub(1).map(Index).ok_or("an entry has no index")?;
        if before < self.floor || before > self.last().0 {
            return Err("its entries do not go on from those before it");
        }
        self.truncate(before);
        for entry in &record.entries {
            if !self.terms.put(entry.index, entry.term) {
                return Err("its entries go back to an older term");
            }
        }
        let bytes = record.entries.iter().map(|entry| held_bytes(self.held, entry));
        self.held_bytes += bytes.sum::<usize>();
        self.recovered.entries.extend(record.entries);
        self.forget(FORGOTTEN_TOGETHER, self.held.bytes.saturating_mul(2));
        Ok(())
    }

    /// Drops entries that nobody asks for, once there are so many, or they have more bytes.
    fn forget(&mut self, together: usize, bytes_max: usize) {
        let Recovered { before, entries, .. } = &mut self.recovered;
        let behind = self.held.index.0.saturating_sub(self.held.entries);
        let count = behind.saturating_sub(before.0.0);
        let mut count = usize::try_from(count).unwrap_or(usize::MAX).min(entries.len());
        if count < together && self.held_bytes <= bytes_max {
            return;
        }
        let size = |entry: &Entry| held_bytes(self.held, entry);
        self.held_bytes -= entries.iter().take(count).map(size).sum::<usize>();
        while self.held_bytes > self.held.bytes
            && let Some(entry) = entries.get(count).filter(|entry| entry.index <= self.held.index)
        {
            self.held_bytes -= size(entry);
            count += 1;
        }
        if let Some(last) = entries.drain(..count).next_back() {
            *before = (last.index, last.term);
        }
    }

    fn finish(mut self) -> (Terms, Recovered) {
        // A hard state may have outlived the entries that were appended with it.
        let last = self.last().0;
        self.forget(1, self.held.bytes);
        let hard_state = &mut self.recovered.hard_state;
        hard_state.commit = hard_state.commit.min(last);
        (self.terms, self.recovered)
    }
}

/// What an entry takes, if the keyspace holds it.
fn held_bytes(held: Held, entry: &Entry) -> usize {
    let size = size_of::<Entry>() + entry.data.len() + entry.context.len();
    if entry.index <= held.index { size } else { 0 }
}

/// Opens the last segment for appending, after mending its end: see [`crate::Looked::open`].
pub(crate) fn mend(disk: &dyn Disk, path: &Path, tail: &Tail) -> Result<Arc<dyn File>, Error> {
    let file = disk.open(path, Open::Write).map_err(Error::io("open", path))?;
    rewrite(&file, tail).map_err(Error::io("mend", path))?;
    file.sync().map_err(Error::io("sync", path))?;
    Ok(file)
}

fn rewrite(file: &Arc<dyn File>, tail: &Tail) -> io::Result<()> {
    // If the process died after a failed sync, what was read may be in memory only, and the kernel
    // believes that it has written it: only writing it again makes it last.
    let mut reader = Reader::new(Arc::clone(file))?;
    let mut at = tail.promised;
    while at < tail.end {
        let piece = reader.piece(at)?;
        let left = usize::try_from(tail.end - at).unwrap_or(usize::MAX);
        let piece = piece.get(..left).unwrap_or(piece);
        file.write_at(piece, at)?;
        at += piece.len() as u64;
    }
    let zeros = vec![0; 64 << 10];
    while at < tail.zeros_from {
        let left = usize::try_from(tail.zeros_from - at).unwrap_or(usize::MAX);
        let piece = zeros.get(..left).unwrap_or(&zeros);
        file.write_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}
