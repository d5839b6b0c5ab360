//! Reads the original's write-ahead log.
//!
//! Segments `<number>-<first index>.wal` follow one another. A record is a length (the low 56 bits
//! of 8 bytes; the rest says how far it is padded) and a `walpb.Record`; its CRC-32C goes over the
//! data of all records so far, and each segment begins with the one that it goes on from. Zeros end
//! a segment: its room is made in advance.
//!
//! Entries can be written again, when another leader had others at their places: the later one
//! counts. So all is read twice: first for where each entry lies, then entry by entry. What is held
//! is a place for each.

#[cfg(any(test, feature = "fuzzing"))]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "of tests, and of what libFuzzer runs: there to panic"
)]
pub(crate) mod making;
mod segment;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use base::Disk;

use self::segment::{Frame, Segment};
use crate::{
    Damage,
    messages::{Entry, HardState},
};

const HOLE: &str = "part of it is missing, and others follow it";

mod kind {
    pub(super) const METADATA: i64 = 1;
    pub(super) const ENTRY: i64 = 2;
    pub(super) const STATE: i64 = 3;
    pub(super) const CRC: i64 = 4;
    pub(super) const SNAPSHOT: i64 = 5;
}

/// A log that was read to its end and found good.
#[derive(Debug)]
pub(crate) struct Log {
    segments: Vec<Segment>,
    /// The entry before the first one.
    before: u64,
    places: Vec<Place>,
    /// The last entry that is known to be committed.
    pub(crate) commit: u64,
    /// A record at the end that was never written whole, and what is behind it.
    pub(crate) torn: bool,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u32,
    at: u64,
}

impl Log {
    /// Reads the log from the entry behind this one on.
    pub(crate) fn read(disk: &Arc<dyn Disk>, dir: &Path, before: u64) -> Result<Self, Damage> {
        let mut reading = Reading::new(segments(disk, dir, before)?, before);
        reading.read()?;
        let last = before + reading.places.len() as u64;
        if reading.state.commit > last {
            let path = reading.segments.last().map_or_else(|| dir.to_path_buf(), Segment::path);
            return Err(Damage::new(
                path,
                format!(
                    "the log ends at entry {last}, but says that entry {} was committed",
                    reading.state.commit
                ),
            ));
        }
        let Reading { segments, before, places, state, torn, .. } = reading;
        Ok(Self { segments, before, places, commit: state.commit, torn })
    }

    /// The last entry's index.
    pub(crate) fn last(&self) -> u64 {
        self.before + self.places.len() as u64
    }

    /// An entry.
    pub(crate) fn entry(&mut self, index: u64) -> Result<Option<Entry>, Damage> {
        let at = index.checked_sub(self.before + 1).and_then(|at| usize::try_from(at).ok());
        let Some(place) = at.and_then(|at| self.places.get(at)).copied() else { return Ok(None) };
        let Some(segment) = self.segments.get_mut(place.segment as usize) else { return Ok(None) };
        match segment.frame(place.at)? {
            Frame::Record { record, .. } => decode(segment, place.at, &record.data).map(Some),
            Frame::End | Frame::Torn => Err(segment.damage(place.at, "it has changed meanwhile")),
        }
    }
}

/// The segments that a log from `before` on needs, in order.
fn segments(disk: &Arc<dyn Disk>, dir: &Path, before: u64) -> Result<Vec<Segment>, Damage> {
    let list = disk.list(dir).map_err(|error| Damage::io("list", dir, &error))?;
    let mut found: Vec<(u64, u64, PathBuf)> = list
        .iter()
        .filter_map(|name| numbers(name).map(|(number, index)| (number, index, dir.join(name))))
        .collect();
    found.sort_unstable();
    let Some(start) = found.iter().rposition(|(_, index, _)| *index <= before) else {
        return Err(Damage::new(
            dir.to_path_buf(),
            match found.first() {
                None => "there is no log in it".to_owned(),
                Some((_, first, _)) => format!(
                    "the log begins at entry {first}, but the snapshot ends at {before}: segments \
                     are missing"
                ),
            },
        ));
    };
    let needed = found.get(start..).unwrap_or_default();
    for (one, next) in needed.iter().zip(needed.iter().skip(1)) {
        if one.0 + 1 != next.0 {
            let what =
                format!("the segment before it is missing: {} comes behind {}", next.0, one.0);
            return Err(Damage::new(next.2.clone(), what));
        }
    }
    needed.iter().map(|(.., path)| Segment::open(disk, path.clone())).collect()
}

/// The number of a segment and the index that it begins behind, from its name.
pub(crate) fn numbers(name: &str) -> Option<(u64, u64)> {
    let (number, index) = name.strip_suffix(".wal")?.split_once('-')?;
    let hex = |part: &str| {
        let is_hex = part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(part, 16).ok()).flatten()
    };
    Some((hex(number)?, hex(index)?))
}

fn decode<M: prost::Message + Default>(
    segment: &Segment,
    at: u64,
    data: &bytes::Bytes,
) -> Result<M, Damage> {
    M::decode(data.clone()).map_err(|_| segment.damage(at, "its content cannot be decoded"))
}

/// The first reading.
struct Reading {
    segments: Vec<Segment>,
    before: u64,
    crc: u32,
    has_crc: bool,
    places: Vec<Place>,
    state: HardState,
    torn: bool,
}

impl Reading {
    fn new(segments: Vec<Segment>, before: u64) -> Self {
        Self {
            segments,
            before,
            crc: 0,
            has_crc: false,
            places: Vec::new(),
            state: HardState::default(),
            torn: false,
        }
    }

    fn read(&mut self) -> Result<(), Damage> {
        for number in 0..self.segments.len() {
            let is_last = number + 1 == self.segments.len();
            let mut at = 0;
            while let Some(segment) = self.segments.get_mut(number) {
                match segment.frame(at)? {
                    Frame::End => break,
                    Frame::Torn if is_last && !segment.goes_on(at)? => {
                        self.torn = true;
                        break;
                    }
                    Frame::Torn => return Err(segment.damage(at, HOLE)),
                    Frame::Record { record, next } => {
                        if self.take(number, at, &record)? {
                            at = next;
                            continue;
                        }
                        let Some(segment) = self.segments.get_mut(number) else { break };
                        if is_last && segment.has_hole(at, next)? && !segment.goes_on(at)? {
                            self.torn = true;
                            break;
                        }
                        return Err(segment.damage(at, "its checksum does not match"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a record in; false if its checksum does not match.
    fn take(
        &mut self,
        number: usize,
        at: u64,
        record: &crate::messages::Record,
    ) -> Result<bool, Damage> {
        let Some(segment) = self.segments.get(number) else { return Ok(false) };
        if record.kind == kind::CRC {
            if self.has_crc && record.crc != self.crc {
                return Err(segment.damage(at, "it does not go on where the one before it ended"));
            }
            (self.crc, self.has_crc) = (record.crc, true);
            return Ok(true);
        }
        let crc = crc32c::crc32c_append(self.crc, &record.data);
        if crc != record.crc {
            return Ok(false);
        }
        self.crc = crc;
        match record.kind {
            kind::METADATA | kind::SNAPSHOT => {}
            kind::ENTRY => {
                let Entry { index, .. } = decode(segment, at, &record.data)?;
                let Some(slot) = index.checked_sub(self.before + 1) else { return Ok(true) };
                let slot = usize::try_from(slot).unwrap_or(usize::MAX);
                if slot > self.places.len() {
                    let what = format!("entry {index} does not follow the one before it");
                    return Err(segment.damage(at, &what));
                }
                self.places.truncate(slot);
                let segment = u32::try_from(number).unwrap_or(u32::MAX);
                self.places.push(Place { segment, at });
            }
            kind::STATE => self.state = decode(segment, at, &record.data)?,
            _ => return Err(segment.damage(at, "it is of a kind that this build does not know")),
        }
        Ok(true)
    }
}
