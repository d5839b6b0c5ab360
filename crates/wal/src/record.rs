//! Records: what one append adds to a segment.
//!
//! A record is a head and a payload. It begins at a multiple of 8.
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 4 | `rrec` |
//! | 4 | 4 | CRC-32C of the head from here on, seeded with the segment's |
//! | 8 | 4 | length of the payload, a multiple of 8 |
//! | 12 | 4 | CRC-32C of the payload, seeded with that of the record before (the segment's for the first) |
//! | 16 | 8 | where in the segment this record begins |
//! | 24 | 8 | where the synced part of the segment ended when this record was written |
//!
//! So a head can be trusted on its own, wherever it is found: it tells what had been promised,
//! even if nothing between is left. A payload can be trusted only if all before it can.
//!
//! The payload: flags (1 byte; bit 0: a hard state follows), number of entries (4), hard state
//! (term, vote, commit: 24), index and term of the first entry (16, if there is one); for each
//! entry its kind (1), how much its term is above the one before (varint), lengths of data and
//! context (varints), data, context; zeros up to a multiple of 8. Indexes go up by one.

use base::{Index, Term};
use bytes::{Buf, BufMut, Bytes};

use crate::{
    Entry, HardState,
    format::{get_hard_state, put_hard_state},
};

pub(crate) const HEAD_BYTES: usize = 32;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// What a head begins with.
pub(crate) const MARKER: [u8; 4] = *b"rrec";
/// A record that is longer takes no further entry.
const PAYLOAD_BYTES: usize = 1 << 20;
/// Data and context of one entry.
pub(crate) const ENTRY_BYTES_MAX: usize = 64 << 20;
/// No longer payload is ever written, so none is read.
const PAYLOAD_BYTES_MAX: usize = ENTRY_BYTES_MAX + 2 * PAYLOAD_BYTES;

const HAS_HARD_STATE: u8 = 1;

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Of the payload.
    pub(crate) length: u32,
    pub(crate) crc: u32,
    pub(crate) offset: u64,
    pub(crate) synced: u64,
}

impl Head {
    fn encode(&self, seed: u32) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        let mut to = &mut head[..];
        to.put_slice(&MARKER);
        to.put_u32_le(0);
        to.put_u32_le(self.length);
        to.put_u32_le(self.crc);
        to.put_u64_le(self.offset);
        to.put_u64_le(self.synced);
        let crc = crc32c::crc32c_append(seed, head.get(8..).unwrap_or_default());
        if let Some(place) = head.get_mut(4..8) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        head
    }

    /// Reads a head that stands at `offset`; `None` if it does not say so itself.
    pub(crate) fn decode(mut head: &[u8], seed: u32, offset: u64) -> Option<Self> {
        let marker = head.try_get_u32_le().ok()?;
        let crc = head.try_get_u32_le().ok()?;
        let fields = head.get(..HEAD_BYTES - 8)?;
        // A fuzzer would never guess it.
        let is_sound = cfg!(fuzzing) || crc == crc32c::crc32c_append(seed, fields);
        if marker != u32::from_le_bytes(MARKER) || !is_sound {
            return None;
        }
        let decoded = Self {
            length: head.try_get_u32_le().ok()?,
            crc: head.try_get_u32_le().ok()?,
            offset: head.try_get_u64_le().ok()?,
            synced: head.try_get_u64_le().ok()?,
        };
        let length = decoded.payload();
        let sane = length <= PAYLOAD_BYTES_MAX && length.is_multiple_of(ALIGNMENT);
        (sane && decoded.offset == offset && decoded.synced <= offset).then_some(decoded)
    }

    pub(crate) fn payload(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }
}

/// The records of one append, to be written at once. Reused, so that appending does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    /// Where in the buffer each record begins.
    records: Vec<usize>,
}

/// An entry is larger than [`ENTRY_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Batch {
    /// A buffer that has grown beyond is given back.
    const KEPT_BYTES: usize = 4 << 20;

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(Self::KEPT_BYTES);
        self.records.clear();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Adds records with entries whose indexes go up by one and whose terms do not go down.
    pub(crate) fn push(
        &mut self,
        hard_state: Option<&HardState>,
        entries: &[Entry],
    ) -> Result<(), TooLarge> {
        let mut rest = self.record(hard_state, entries)?;
        while !rest.is_empty() {
            rest = self.record(None, rest)?;
        }
        Ok(())
    }

    /// Adds one record; returns the entries that it had no room for.
    fn record<'a>(
        &mut self,
        hard_state: Option<&HardState>,
        entries: &'a [Entry],
    ) -> Result<&'a [Entry], TooLarge> {
        let start = self.buffer.len();
        self.records.push(start);
        let buffer = &mut self.buffer;
        buffer.put_bytes(0, HEAD_BYTES);
        buffer.put_u8(if hard_state.is_some() { HAS_HARD_STATE } else { 0 });
        let count_at = buffer.len();
        buffer.put_u32_le(0);
        if let Some(hard_state) = hard_state {
            put_hard_state(buffer, hard_state);
        }
        let mut term = Term(0);
        if let Some(first) = entries.first() {
            buffer.put_u64_le(first.index.0);
            buffer.put_u64_le(first.term.0);
            term = first.term;
        }
        let mut count = 0;
        for entry in entries {
            if buffer.len() - start > PAYLOAD_BYTES {
                break;
            }
            put_entry(buffer, entry, term)?;
            term = entry.term;
            count += 1;
        }
        if let Some(place) = buffer.get_mut(count_at..count_at + 4) {
            // Far fewer than 2^32 fit: each takes four bytes.
            place.copy_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        }
        buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
        Ok(entries.get(count..).unwrap_or_default())
    }

    /// Fills in the heads, for a batch that is to stand at `offset`, after a record whose CRC is
    /// `crc`. Returns the last record's CRC.
    pub(crate) fn seal(&mut self, seed: u32, mut crc: u32, offset: u64, synced: u64) -> u32 {
        let mut end = self.buffer.len();
        let starts = std::mem::take(&mut self.records);
        let ends = starts.iter().skip(1).copied().chain([end]);
        for (start, next) in starts.iter().copied().zip(ends) {
            end = next;
            let Some(record) = self.buffer.get_mut(start..end) else { continue };
            let Some((head, payload)) = record.split_at_mut_checked(HEAD_BYTES) else { continue };
            crc = crc32c::crc32c_append(crc, payload);
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            let sealed = Head { length, crc, offset: offset + start as u64, synced };
            head.copy_from_slice(&sealed.encode(seed));
        }
        self.records = starts;
        crc
    }
}

fn put_entry(buffer: &mut Vec<u8>, entry: &Entry, term: Term) -> Result<(), TooLarge> {
    if entry.data.len().saturating_add(entry.context.len()) > ENTRY_BYTES_MAX {
        return Err(TooLarge);
    }
    buffer.put_u8(entry.kind);
    put_varint(buffer, entry.term.0.wrapping_sub(term.0));
    put_varint(buffer, entry.data.len() as u64);
    put_varint(buffer, entry.context.len() as u64);
    buffer.put_slice(&entry.data);
    buffer.put_slice(&entry.context);
    Ok(())
}

/// What a payload says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) entries: Vec<Entry>,
}

impl Record {
    /// Reads a payload; its entries share its memory. `None` if it is none of ours.
    pub(crate) fn decode(mut payload: Bytes) -> Option<Self> {
        let flags = payload.try_get_u8().ok()?;
        let count = payload.try_get_u32_le().ok()?;
        let hard_state = match flags {
            0 => None,
            HAS_HARD_STATE => Some(get_hard_state(&mut payload)?),
            _ => return None,
        };
        let mut entries = Vec::new();
        if count > 0 {
            let index = payload.try_get_u64_le().ok()?;
            let mut term = Term(payload.try_get_u64_le().ok()?);
            for number in 0..u64::from(count) {
                let entry = get_entry(&mut payload, Index(index.checked_add(number)?), term)?;
                term = entry.term;
                entries.push(entry);
            }
        }
        let padded = payload.len() < ALIGNMENT && payload.iter().all(|byte| *byte == 0);
        padded.then_some(Self { hard_state, entries })
    }
}

fn get_entry(payload: &mut Bytes, index: Index, term: Term) -> Option<Entry> {
    let kind = payload.try_get_u8().ok()?;
    let term = Term(term.0.checked_add(get_varint(payload)?)?);
    let data = get_varint(payload)?;
    let context = get_varint(payload)?;
    let data = get_bytes(payload, data)?;
    let context = get_bytes(payload, context)?;
    Some(Entry { index, term, kind, data, context })
}

fn get_bytes(payload: &mut Bytes, length: u64) -> Option<Bytes> {
    let length = usize::try_from(length).ok().filter(|length| *length <= payload.len())?;
    if length == 0 {
        return Some(Bytes::new()); // Holds on to nothing.
    }
    Some(payload.split_to(length))
}

fn put_varint(buffer: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return buffer.put_u8(low);
        }
        buffer.put_u8(low | 0x80);
    }
}

fn get_varint(payload: &mut Bytes) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = payload.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
