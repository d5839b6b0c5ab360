//! How segments are called, and how each begins.
//!
//! A segment is a file `<id as 16 hex digits>.log`. Its first sector is the header; records follow
//! at once (see [`crate::record`]), and then zeros, which have been reserved. Numbers are
//! little-endian.
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 8 | `retcdwal` |
//! | 8 | 4 | version of the format: 1 |
//! | 12 | 4 | zeros |
//! | 16 | 8 | id of the segment |
//! | 24 | 8 | id of the cluster |
//! | 32 | 8 | id of the member |
//! | 40 | 16 | index and term before the first entry; all entries of the segment lie above |
//! | 56 | 24 | hard state (term, vote, commit) when the segment was begun |
//! | 80 | 8 | where the records of the segment before it end; 0 if there was none |
//! | 88 | 4 | the last checksum of the segment before it; 0 if there was none |
//! | 92 | 1 | 1 if the log starts anew here, behind a snapshot: what came before counts no more |
//! | 93 | 415 | zeros |
//! | 508 | 4 | CRC-32C of all that: the seed of all checksums of this segment |
//!
//! Magic, version and CRC stay where they are in all versions.

use base::{ClusterId, Index, MemberId, Term};
use bytes::{Buf, BufMut};

use crate::{HardState, Identity};

/// One sector, which no record shares: appending cannot harm it.
pub(crate) const HEADER_BYTES: usize = 512;
const CRC_AT: usize = HEADER_BYTES - 4;
const MAGIC: &[u8; 8] = b"retcdwal";
const VERSION: u32 = 1;

/// The first sector of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) identity: Identity,
    pub(crate) before: (Index, Term),
    pub(crate) hard_state: HardState,
    pub(crate) previous_end: u64,
    pub(crate) previous_crc: u32,
    /// The log starts anew here: nothing of the segments before it counts.
    pub(crate) anew: bool,
}

/// Why a first sector is no [`Header`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// It never was one.
    Foreign,
    Version(u32),
    Rot,
}

impl Header {
    /// The sector, and its CRC.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut sector = Vec::with_capacity(HEADER_BYTES);
        sector.put_slice(MAGIC);
        sector.put_u32_le(VERSION);
        sector.put_u32_le(0);
        sector.put_u64_le(self.id);
        sector.put_u64_le(self.identity.cluster.0);
        sector.put_u64_le(self.identity.member.0);
        sector.put_u64_le(self.before.0.0);
        sector.put_u64_le(self.before.1.0);
        put_hard_state(&mut sector, &self.hard_state);
        sector.put_u64_le(self.previous_end);
        sector.put_u32_le(self.previous_crc);
        sector.put_u8(u8::from(self.anew));
        sector.resize(CRC_AT, 0);
        let crc = crc32c::crc32c(&sector);
        sector.put_u32_le(crc);
        (sector, crc)
    }

    /// Reads the first sector of the segment that is called `id`; also gives its CRC.
    pub(crate) fn decode(id: u64, sector: &[u8]) -> Result<(Self, u32), BadHeader> {
        let magic = sector.starts_with(MAGIC);
        let Some((body, mut crc)) = sector.split_at_checked(CRC_AT) else {
            return Err(if magic { BadHeader::Rot } else { BadHeader::Foreign });
        };
        let intact = crc.try_get_u32_le() == Ok(crc32c::crc32c(body));
        let header = Fields(body.get(MAGIC.len()..).unwrap_or_default()).header();
        match header {
            Some((VERSION, header)) if magic && intact && header.id == id => {
                Ok((header, crc32c::crc32c(body)))
            }
            Some((version, _)) if magic && intact && version != VERSION => {
                Err(BadHeader::Version(version))
            }
            // Either of the two could have rotted, but hardly both.
            Some((_, header)) if magic || header.id == id => Err(BadHeader::Rot),
            Some(_) | None => Err(BadHeader::Foreign),
        }
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn header(mut self) -> Option<(u32, Header)> {
        let version = self.0.try_get_u32_le().ok()?;
        self.0.try_get_u32_le().ok()?;
        let header = Header {
            id: self.number()?,
            identity: Identity {
                cluster: ClusterId(self.number()?),
                member: MemberId(self.number()?),
            },
            before: (Index(self.number()?), Term(self.number()?)),
            hard_state: get_hard_state(&mut self.0)?,
            previous_end: self.number()?,
            previous_crc: self.0.try_get_u32_le().ok()?,
            anew: self.0.try_get_u8().ok()? != 0,
        };
        Some((version, header))
    }

    fn number(&mut self) -> Option<u64> {
        self.0.try_get_u64_le().ok()
    }
}

pub(crate) fn put_hard_state(to: &mut Vec<u8>, hard_state: &HardState) {
    to.put_u64_le(hard_state.term.0);
    to.put_u64_le(hard_state.vote.0);
    to.put_u64_le(hard_state.commit.0);
}

pub(crate) fn get_hard_state(from: &mut impl Buf) -> Option<HardState> {
    Some(HardState {
        term: Term(from.try_get_u64_le().ok()?),
        vote: MemberId(from.try_get_u64_le().ok()?),
        commit: Index(from.try_get_u64_le().ok()?),
    })
}

/// What a name in the log's directory means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Segment(u64),
    /// A segment that was not finished when the member went down.
    HalfMade,
    /// A segment of the original etcd: `<sequence>-<first index>.wal`.
    OriginalEtcd,
    /// Something that is not ours and does no harm, such as `lost+found`.
    Other,
}

impl Name {
    pub(crate) fn parse(name: &str) -> Self {
        if let Some(id) = name.strip_suffix(".log").and_then(parse_hex) {
            return Self::Segment(id);
        }
        if name.strip_suffix(".log.tmp").and_then(parse_hex).is_some() {
            return Self::HalfMade;
        }
        let original = name.strip_suffix(".wal").and_then(|stem| stem.split_once('-'));
        match original {
            Some((sequence, index))
                if parse_hex(sequence).is_some() && parse_hex(index).is_some() =>
            {
                Self::OriginalEtcd
            }
            Some(_) | None => Self::Other,
        }
    }

    pub(crate) fn segment(id: u64) -> String {
        format!("{id:016x}.log")
    }

    pub(crate) fn half_made(id: u64) -> String {
        format!("{id:016x}.log.tmp")
    }
}

fn parse_hex(digits: &str) -> Option<u64> {
    let lower_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits.len() == 16 && lower_hex).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            id: 3,
            identity: Identity { cluster: ClusterId(0xc), member: MemberId(0xa) },
            before: (Index(10), Term(2)),
            hard_state: HardState { term: Term(4), vote: MemberId(0xb), commit: Index(9) },
            previous_end: 4096,
            previous_crc: 77,
            anew: true,
        }
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        let (sector, crc) = header().encode();
        assert_eq!(sector.len(), HEADER_BYTES);
        assert_eq!(Header::decode(3, &sector), Ok((header(), crc)));
    }

    #[test]
    fn a_header_that_lost_a_bit_is_rot_and_never_taken_for_another_thing() {
        let (sector, _) = header().encode();
        for at in 0..sector.len() {
            let mut rotten = sector.clone();
            rotten[at] ^= 1 << (at % 8);
            assert_eq!(Header::decode(3, &rotten), Err(BadHeader::Rot), "{at}");
        }
        assert_eq!(Header::decode(4, &sector), Err(BadHeader::Rot), "renamed");
    }

    #[test]
    fn other_files_and_newer_formats_are_told_apart() {
        assert_eq!(Header::decode(3, b"short"), Err(BadHeader::Foreign));
        assert_eq!(Header::decode(3, b"retcdwal, cut short"), Err(BadHeader::Rot));
        assert_eq!(Header::decode(3, &[0; 512]), Err(BadHeader::Foreign));
        assert_eq!(Header::decode(3, &[b'x'; 512]), Err(BadHeader::Foreign));
        let (mut sector, _) = header().encode();
        sector[8] = 2;
        let crc = crc32c::crc32c(&sector[..CRC_AT]);
        sector[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(3, &sector), Err(BadHeader::Version(2)));
    }

    #[test]
    fn names_tell_whose_a_file_is() {
        let cases = [
            ("0000000000000001.log", Name::Segment(1)),
            ("00000000000000ff.log", Name::Segment(255)),
            ("00000000000000FF.log", Name::Other),
            ("1.log", Name::Other),
            ("+000000000000001.log", Name::Other),
            ("0000000000000001.log.tmp", Name::HalfMade),
            ("0000000000000000-0000000000000000.wal", Name::OriginalEtcd),
            ("000000000000000a-00000000000186a1.wal", Name::OriginalEtcd),
            ("notes.wal", Name::Other),
            ("0.tmp", Name::Other),
            ("lost+found", Name::Other),
        ];
        for (name, meaning) in cases {
            assert_eq!(Name::parse(name), meaning, "{name}");
        }
        assert_eq!(Name::parse(&Name::segment(0x1f)), Name::Segment(0x1f));
        assert_eq!(Name::parse(&Name::half_made(0x1f)), Name::HalfMade);
    }
}
