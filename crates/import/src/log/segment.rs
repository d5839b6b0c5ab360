//! One file of the log, record by record.

use std::{io, path::PathBuf, sync::Arc};

use base::{Disk, File, Open};
use bytes::{Bytes, BytesMut};
use prost::Message as _;

use crate::{Damage, messages::Record};

const LENGTH_BYTES: u64 = 8;
const CUT: &str =
    "it is longer than what is left of the file, which was cut off, or its length is wrong";
/// What is written in one piece, or not at all.
const SECTOR_BYTES: u64 = 512;
/// What is read at once.
const READ_BYTES: usize = 256 << 10;

/// Kind, checksum, and no data.
const RECORD_BYTES_MIN: u64 = 4;
/// More than any record of etcd takes: what is longer is no memory of ours to spend.
const RECORD_BYTES_MAX: u64 = 1 << 30;
/// Behind so many nothing is looked for any more.
const ZEROS_AT_THE_END: u64 = 1 << 20;

/// Whether these bytes, all or the first of so many, are what a record begins with: its kind, a
/// checksum, and the length of its data, which takes the rest.
fn is_record(head: &[u8], length: u64) -> bool {
    let [0x08, 2..=5, 0x10, rest @ ..] = head else { return false };
    let digits = rest.iter().take_while(|byte| **byte >= 0x80).count();
    let Some([0x1a, data @ ..]) = rest.get(digits + 1..) else { return false };
    let mut data = data;
    let before = (head.len() - data.len()) as u64;
    let Ok(announced) = prost::encoding::decode_varint(&mut data) else { return false };
    let field = (head.len() - data.len()) as u64 - before;
    digits < 5 && before + field + announced == length
}

#[derive(Debug)]
pub(super) struct Segment {
    file: Arc<dyn File>,
    path: PathBuf,
    length: u64,
    /// Bytes read ahead, and where they begin.
    ahead: (u64, Bytes),
}

/// What stands at a place.
#[derive(Debug)]
pub(super) enum Frame {
    Record {
        record: Record,
        next: u64,
    },
    /// Nothing any more.
    End,
    /// A record that was not written whole.
    Torn,
}

impl Segment {
    pub(super) fn open(disk: &Arc<dyn Disk>, path: PathBuf) -> Result<Self, Damage> {
        let io = |verb| {
            let path = path.clone();
            move |error: io::Error| Damage::io(verb, &path, &error)
        };
        let file = disk.open(&path, Open::Read).map_err(io("open"))?;
        let length = file.len().map_err(io("ask for the length of"))?;
        Ok(Self { file, path, length, ahead: (0, Bytes::new()) })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    pub(super) fn damage(&self, at: u64, what: &str) -> Damage {
        Damage::new(self.path.clone(), format!("the record at byte {at} is damaged: {what}"))
    }

    /// The record at a place.
    pub(super) fn frame(&mut self, at: u64) -> Result<Frame, Damage> {
        if at >= self.length {
            return Ok(Frame::End);
        }
        if self.length - at < LENGTH_BYTES {
            let rest = self.bytes(at, self.length - at)?;
            let is_end = rest.iter().all(|byte| *byte == 0);
            return if is_end { Ok(Frame::End) } else { Err(self.damage(at, CUT)) };
        }
        let field = self.bytes(at, LENGTH_BYTES)?;
        let field = field.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if field == 0 {
            return Ok(Frame::End);
        }
        // The highest bit says that there is padding.
        let padding = if field >> 63 == 1 { (field >> 56) & 0x7 } else { 0 };
        let length = field & ((1 << 56) - 1);
        let from = at + LENGTH_BYTES;
        // A segment's room is made in advance: no crash leaves less of a record than its place.
        if length + padding > self.length - from {
            return Err(self.damage(at, CUT));
        }
        if length > RECORD_BYTES_MAX {
            return Err(self.damage(at, "it is longer than any record of etcd"));
        }
        let bytes = self.bytes(from, length)?;
        let next = from + length + padding;
        match Record::decode(bytes) {
            Ok(record) => Ok(Frame::Record { record, next }),
            Err(_) if self.has_hole(from, from + length)? => Ok(Frame::Torn),
            Err(_) => Err(self.damage(at, "it cannot be decoded")),
        }
    }

    /// Whether part of a record never reached the disk: a sector of it, or what it has of one, is all
    /// zeros. A sound record may have such a hole, too.
    pub(super) fn has_hole(&mut self, from: u64, to: u64) -> Result<bool, Damage> {
        let mut at = from;
        while at < to {
            let end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let piece = self.bytes(at, end.min(to) - at)?;
            if piece.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            at = end;
        }
        Ok(false)
    }

    /// Whether records follow behind this place, which nobody can read on from. So it is no end: a
    /// crash may leave that, if the disk lost its power, but rot as well.
    pub(super) fn goes_on(&mut self, at: u64) -> Result<bool, Damage> {
        let mut next = at + LENGTH_BYTES;
        let mut zeros = 0;
        while next + LENGTH_BYTES <= self.length && zeros < ZEROS_AT_THE_END {
            let field = self.bytes(next, LENGTH_BYTES)?;
            let field = field.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let (length, from) = (field & ((1 << 56) - 1), next + LENGTH_BYTES);
            zeros = if field == 0 { zeros + LENGTH_BYTES } else { 0 };
            if (RECORD_BYTES_MIN..=self.length - from).contains(&length) {
                let head = self.bytes(from, length.min(READ_BYTES as u64))?;
                if is_record(&head, length) {
                    return Ok(true);
                }
            }
            next += LENGTH_BYTES;
        }
        Ok(false)
    }

    fn bytes(&mut self, at: u64, length: u64) -> Result<Bytes, Damage> {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        let (from, ahead) = &self.ahead;
        let start = at.checked_sub(*from).and_then(|start| usize::try_from(start).ok());
        if let Some(start) = start
            && start.checked_add(wanted).is_some_and(|end| end <= ahead.len())
        {
            return Ok(ahead.slice(start..start + wanted));
        }
        let room = usize::try_from(self.length - at).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::zeroed(wanted.max(READ_BYTES).min(room));
        let read = self.file.read_exact_at(&mut bytes, at);
        read.map_err(|error| Damage::io("read", &self.path, &error))?;
        self.ahead = (at, bytes.freeze());
        Ok(self.ahead.1.slice(..wanted.min(self.ahead.1.len())))
    }
}
