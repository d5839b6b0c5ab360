//! Walking through the records of a segment.

use std::io;

use bytes::Bytes;

use crate::{
    format::HEADER_BYTES,
    read::Reader,
    record::{ALIGNMENT, HEAD_BYTES, Head, MARKER, Record},
    recover::Log,
};

/// A walk through the records of a segment.
pub(crate) struct Scan {
    reader: Reader,
    seed: u32,
    /// Of the last good record.
    pub(crate) crc: u32,
    /// The end of the last good record.
    pub(crate) at: u64,
    /// The end of what is known to have been synced.
    pub(crate) promised: u64,
}

impl Scan {
    /// Begins behind the header of a segment, whose CRC is `seed`.
    pub(crate) fn new(reader: Reader, seed: u32) -> Self {
        let at = HEADER_BYTES as u64;
        Self { reader, seed, crc: seed, at, promised: at }
    }

    /// Applies good records up to `until`, or the first that is not good; then it says why.
    pub(crate) fn records(
        &mut self,
        log: &mut Log,
        until: Option<u64>,
    ) -> io::Result<Option<&'static str>> {
        while until != Some(self.at) {
            let (head, record) = match self.record()? {
                Ok(good) => good,
                Err(what) => return Ok(Some(what)),
            };
            if let Err(what) = log.apply(record) {
                return Ok(Some(what));
            }
            self.at += (HEAD_BYTES + head.payload()) as u64;
            self.crc = head.crc;
            self.promised = self.promised.max(head.synced);
        }
        Ok(None)
    }

    fn record(&mut self) -> io::Result<Result<(Head, Record), &'static str>> {
        let Some(head) = self.reader.bytes(self.at, HEAD_BYTES)? else {
            return Ok(Err("the segment ends"));
        };
        let Some(head) = Head::decode(head, self.seed, self.at) else {
            return Ok(Err("there is no record"));
        };
        let payload = self.reader.bytes(self.at + HEAD_BYTES as u64, head.payload())?;
        let Some(payload) = payload else { return Ok(Err("the segment ends inside a record")) };
        // A fuzzer would never guess it: then only 0 is a wrong one.
        let is_sound = cfg!(fuzzing) && head.crc != 0;
        if !is_sound && crc32c::crc32c_append(self.crc, payload) != head.crc {
            return Ok(Err("the checksum of a record does not match"));
        }
        let record = Record::decode(Bytes::copy_from_slice(payload));
        Ok(record.map(|record| (head, record)).ok_or("a record has no meaning"))
    }

    /// Looks behind the good records for what tells how far the segment had been synced; returns
    /// from where on there are only zeros.
    pub(crate) fn rest(&mut self) -> io::Result<u64> {
        let mut zeros_from = self.at;
        let mut at = self.at;
        loop {
            let piece = self.reader.piece(at)?;
            let next = at + piece.len() as u64;
            if piece.is_empty() {
                return Ok(zeros_from);
            }
            let heads = heads(piece);
            if let Some(last) = heads.1 {
                zeros_from = at + last as u64 + 1;
            }
            for offset in heads.0.into_iter().map(|offset| at + offset as u64) {
                let head = self.reader.bytes(offset, HEAD_BYTES)?;
                if let Some(head) = head.and_then(|head| Head::decode(head, self.seed, offset)) {
                    self.promised = self.promised.max(head.synced);
                }
            }
            at = next;
        }
    }
}

/// Where in a piece a head may begin, and its last byte that is not zero.
fn heads(piece: &[u8]) -> (Vec<usize>, Option<usize>) {
    const ZEROS: &[u8] = &[0; 64 << 10];
    // Nearly always all of it is zeros, and comparing is much faster than looking for one.
    if piece.chunks(ZEROS.len()).all(|part| ZEROS.get(..part.len()) == Some(part)) {
        return (Vec::new(), None);
    }
    let words = piece.chunks(ALIGNMENT).enumerate();
    let heads = words.filter(|(_, word)| word.starts_with(&MARKER));
    let last = piece.iter().rposition(|byte| *byte != 0);
    (heads.map(|(number, _)| number * ALIGNMENT).collect(), last)
}
