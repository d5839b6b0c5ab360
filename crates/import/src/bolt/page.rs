//! One page: a header, a list of elements, and the keys and values that they point to.

use std::ops::Range;

use bytes::Bytes;

use super::BoltError;

pub(super) const HEADER_BYTES: usize = 16;
const ELEMENT_BYTES: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
/// Of a leaf's element: its value is a bucket.
const IS_BUCKET: u32 = 0x01;

/// A branch or a leaf.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// Where it was read: of an inline one, the page around it.
    at: u64,
    bytes: Bytes,
    pub(super) is_leaf: bool,
    pub(super) count: usize,
}

/// What a branch points to.
pub(super) struct Child {
    pub(super) key: Bytes,
    pub(super) page: u64,
}

/// A row of a leaf.
pub(super) struct Element {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) is_bucket: bool,
}

impl Page {
    pub(super) fn decode(at: u64, bytes: Bytes) -> Result<Self, BoltError> {
        let damaged = |what| BoltError::Page { page: at, what };
        let flags = u16_at(&bytes, 8).ok_or_else(|| damaged("it is too short"))?;
        let count = usize::from(u16_at(&bytes, 10).ok_or_else(|| damaged("it is too short"))?);
        let is_leaf = match flags {
            BRANCH => false,
            LEAF => true,
            _ => return Err(damaged("it is neither branch nor leaf")),
        };
        if HEADER_BYTES + count * ELEMENT_BYTES > bytes.len() {
            return Err(damaged("it has more elements than room"));
        }
        if !is_leaf && count == 0 {
            return Err(damaged("it is a branch that leads nowhere"));
        }
        Ok(Self { at, bytes, is_leaf, count })
    }

    /// The number that it says to have.
    pub(super) fn number(&self) -> u64 {
        u64_at(&self.bytes, 0).unwrap_or(u64::MAX)
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn child(&self, index: usize) -> Result<Child, BoltError> {
        let at = HEADER_BYTES + index * ELEMENT_BYTES;
        let child = || {
            let (from, length) = (u32_at(&self.bytes, at)?, u32_at(&self.bytes, at + 4)?);
            let page = u64_at(&self.bytes, at + 8)?;
            Some(Child { key: self.slice(at, from, length)?.0, page })
        };
        child().ok_or_else(|| self.outside())
    }

    pub(super) fn element(&self, index: usize) -> Result<Element, BoltError> {
        let at = HEADER_BYTES + index * ELEMENT_BYTES;
        let element = || {
            let [flags, from, key, value] =
                [0, 4, 8, 12].map(|field| u32_at(&self.bytes, at + field));
            let (key, end) = self.slice(at, from?, key?)?;
            let value = self.slice(end, 0, value?)?.0;
            Some(Element { key, value, is_bucket: flags? & IS_BUCKET != 0 })
        };
        element().ok_or_else(|| self.outside())
    }

    /// Bytes that begin `from` behind `base`, and where they end.
    fn slice(&self, base: usize, from: u32, length: u32) -> Option<(Bytes, usize)> {
        let start = base.checked_add(usize::try_from(from).ok()?)?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let range: Range<usize> = start..end;
        self.bytes.get(range.clone())?;
        Some((self.bytes.slice(range), end))
    }

    fn outside(&self) -> BoltError {
        BoltError::Page { page: self.at, what: "an element points out of it" }
    }
}

/// How many more pages belong to the one with this header.
pub(super) fn overflow(header: &[u8]) -> u32 {
    u32_at(header, 12).unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
