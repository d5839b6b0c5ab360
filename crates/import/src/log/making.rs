//! Logs made here: for tests, and for what `fuzz/` gives to the reader.

use bytes::Bytes;
use prost::Message as _;

use super::kind;
use crate::messages::{Entry, HardState, Record};

/// Segments in the making.
pub(crate) struct Maker {
    crc: u32,
    bytes: Vec<u8>,
    segments: Vec<(String, Vec<u8>)>,
}

impl Maker {
    pub(crate) fn new() -> Self {
        let mut maker = Self { crc: 0, bytes: Vec::new(), segments: Vec::new() };
        maker.begin();
        maker
    }

    fn begin(&mut self) {
        let crc = self.crc;
        self.frame(&Record { kind: kind::CRC, crc, data: Bytes::new() });
        self.record(kind::METADATA, b"who".to_vec());
    }

    /// One of any kind, with the checksum that it has to have.
    pub(crate) fn record(&mut self, kind: i64, data: Vec<u8>) {
        self.crc = crc32c::crc32c_append(self.crc, &data);
        self.frame(&Record { kind, crc: self.crc, data: data.into() });
    }

    fn frame(&mut self, record: &Record) {
        let body = record.encode_to_vec();
        let padding = (8 - body.len() % 8) % 8;
        let mut field = body.len() as u64;
        if padding > 0 {
            field |= (0x80 | padding as u64) << 56;
        }
        self.bytes.extend(field.to_le_bytes());
        self.bytes.extend(&body);
        self.bytes.resize(self.bytes.len() + padding, 0);
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        self.record(kind::ENTRY, entry.encode_to_vec());
    }

    pub(crate) fn commit(&mut self, commit: u64) {
        self.record(kind::STATE, HardState { term: 1, commit }.encode_to_vec());
    }

    /// Another segment begins behind this entry.
    pub(crate) fn cut(&mut self, index: u64) {
        self.end(0);
        let name = format!("{:016x}-{index:016x}.wal", self.segments.len());
        self.segments.push((name, Vec::new()));
        self.begin();
    }

    fn end(&mut self, zeros: usize) {
        if self.segments.is_empty() {
            self.segments.push((format!("{:016x}-{:016x}.wal", 0, 0), Vec::new()));
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(bytes.len() + zeros, 0);
        self.segments.last_mut().unwrap().1 = bytes;
    }

    pub(crate) fn finish(mut self) -> Vec<(String, Vec<u8>)> {
        self.end(4_096);
        self.segments
    }
}
