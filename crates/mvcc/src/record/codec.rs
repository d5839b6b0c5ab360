//! How a record lies in the tables.
//!
//! `Records`: revision to `format, flags, action`, varints, the value if it is small, and the name
//! as the rest. `Values`: revision to any other value; a large one in pieces, so that they fill the
//! storage engine's pages (one of 4 KB would take two of them) and need no runs of free pages.

use std::ops::Range;

use backend::{Change, Table};
use base::{Revision, UnixNanos};
use bytes::{BufMut, Bytes, BytesMut};

use crate::record::{Action, Kind, Record, record_bytes};

/// The first byte of a row of `Records`.
const FORMAT: u8 = 1;
/// A value up to this size lies in the record's own row: one row to read instead of two, and to
/// open costs little more.
const INLINE_BYTES_MAX: usize = 128;
/// Four rows with such a piece, with their keys and the engine's bookkeeping, fill a page of 4 KB.
const QUARTER_PAGE_BYTES: usize = 990;
/// One row with such a piece fills a page.
const PAGE_BYTES: usize = 4_064;
/// Values from here on are cut into whole pages, as far as they go; smaller ones would leave too
/// much of their last page empty.
const PAGED_BYTES_MIN: usize = 12 << 10;

mod flag {
    pub(super) const DIR: u8 = 1;
    pub(super) const DELETED: u8 = 1 << 1;
    pub(super) const TOLD: u8 = 1 << 2;
    pub(super) const LEASE: u8 = 1 << 3;
    pub(super) const EXPIRY: u8 = 1 << 4;
    pub(super) const CREATED_INDEX: u8 = 1 << 5;
    pub(super) const KNOWN: u8 = (1 << 6) - 1;
}

/// A row of `Records`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its value is empty here if it has pieces.
    pub(crate) record: Record,
    pub(crate) value_len: usize,
}

impl Row {
    /// As [`Record::bytes`] of the whole record.
    pub(crate) fn bytes(&self) -> u64 {
        record_bytes(self.record.name.len(), self.value_len)
    }
}

/// Appends the rows of `record`, for the backend.
pub(crate) fn encode(record: &Record, into: &mut Vec<Change>) {
    let key = record.revision.to_bytes();
    let row = encode_row(record);
    into.push(put(Table::Records, Bytes::copy_from_slice(&key), row));
    for (at, piece) in pieces(record.value.len()).enumerate() {
        let piece = record.value.slice(piece);
        into.push(put(Table::Values, piece_key(record.revision, at), piece));
    }
}

/// Appends the deletion of a record's rows.
pub(crate) fn encode_removal(revision: Revision, value_len: usize, into: &mut Vec<Change>) {
    let remove = |table, key| Change { table, key, value: None };
    into.push(remove(Table::Records, Bytes::copy_from_slice(&revision.to_bytes())));
    for at in 0..pieces(value_len).count() {
        into.push(remove(Table::Values, piece_key(revision, at)));
    }
}

fn put(table: Table, key: Bytes, value: Bytes) -> Change {
    Change { table, key, value: Some(value) }
}

/// The pieces that a value of this length is cut into; none if it lies in the record's row.
pub(crate) fn pieces(value_len: usize) -> impl Iterator<Item = Range<usize>> {
    let start = if value_len <= INLINE_BYTES_MAX { value_len } else { 0 };
    let paged = if value_len >= PAGED_BYTES_MIN { value_len / PAGE_BYTES * PAGE_BYTES } else { 0 };
    let cut = move |from: usize, to: usize, size: usize| {
        (from..to).step_by(size).map(move |at| at..to.min(at + size))
    };
    cut(start, paged, PAGE_BYTES).chain(cut(paged.max(start), value_len, QUARTER_PAGE_BYTES))
}

/// The key of a value's piece: the revision, and from the second piece on its number.
pub(crate) fn piece_key(revision: Revision, at: usize) -> Bytes {
    let mut key = BytesMut::with_capacity(Revision::BYTES + 4);
    key.put_slice(&revision.to_bytes());
    if at > 0 {
        key.put_u32(u32::try_from(at).unwrap_or(u32::MAX));
    }
    key.freeze()
}

fn encode_row(record: &Record) -> Bytes {
    // The created index goes by itself unless it is what one expects.
    let created_expected = if record.deleted { 0 } else { record.create_revision };
    let flags = [
        (record.kind == Kind::Dir, flag::DIR),
        (record.deleted, flag::DELETED),
        (record.told, flag::TOLD),
        (record.lease != 0, flag::LEASE),
        (record.expiry.is_some(), flag::EXPIRY),
        (record.created_index != created_expected, flag::CREATED_INDEX),
    ];
    let flags = flags.into_iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit);
    let mut row =
        BytesMut::with_capacity(32 + record.name.len() + record.value.len().min(INLINE_BYTES_MAX));
    row.put_slice(&[FORMAT, flags, action_number(record.action)]);
    put_varint(&mut row, record.value.len() as u64);
    if !record.deleted {
        put_varint(
            &mut row,
            record.revision.main.wrapping_sub(record.create_revision).cast_unsigned(),
        );
        put_varint(&mut row, record.version.cast_unsigned());
    }
    if record.lease != 0 {
        put_varint(&mut row, record.lease.cast_unsigned());
    }
    if let Some(UnixNanos(expiry)) = record.expiry {
        put_varint(&mut row, expiry.cast_unsigned());
    }
    if record.created_index != created_expected {
        put_varint(&mut row, record.created_index.cast_unsigned());
    }
    if record.value.len() <= INLINE_BYTES_MAX {
        row.put_slice(&record.value);
    }
    row.put_slice(&record.name);
    row.freeze()
}

/// Reads a row of `Records`.
pub(crate) fn decode(key: &[u8], row: &Bytes) -> Result<Row, backend::Error> {
    let damaged = |text| backend::Error::damaged(Table::Records, key, text);
    let revision = Revision::from_bytes(key).ok_or_else(|| damaged("its key is no revision"))?;
    let (&[format, flags, action], rest) =
        row.split_first_chunk::<3>().ok_or_else(|| damaged("too short"))?;
    if format != FORMAT || flags & !flag::KNOWN != 0 {
        return Err(damaged("a format that this build does not know"));
    }
    let action = action_of(action).ok_or_else(|| damaged("an unknown action"))?;
    let head = Head { revision, flags, action };
    head.decode_rest(row, rest).ok_or_else(|| damaged("its numbers end early"))
}

struct Head {
    revision: Revision,
    flags: u8,
    action: Action,
}

impl Head {
    fn has(&self, bit: u8) -> bool {
        self.flags & bit != 0
    }

    fn decode_rest(&self, row: &Bytes, mut rest: &[u8]) -> Option<Row> {
        let mut number = || take_varint(&mut rest).map(u64::cast_signed);
        let value_len = usize::try_from(number()?).ok()?;
        let deleted = self.has(flag::DELETED);
        let (create_revision, version) =
            if deleted { (0, 0) } else { (self.revision.main.wrapping_sub(number()?), number()?) };
        let lease = if self.has(flag::LEASE) { number()? } else { 0 };
        let expiry = if self.has(flag::EXPIRY) { Some(UnixNanos(number()?)) } else { None };
        let created_index = if self.has(flag::CREATED_INDEX) { number()? } else { create_revision };
        let inline = if value_len <= INLINE_BYTES_MAX { value_len } else { 0 };
        let (value, name) = rest.split_at_checked(inline)?;
        let record = Record {
            kind: if self.has(flag::DIR) { Kind::Dir } else { Kind::Key },
            name: row.slice_ref(name),
            revision: self.revision,
            deleted,
            value: row.slice_ref(value),
            create_revision,
            version,
            lease,
            created_index,
            expiry,
            action: self.action,
            told: self.has(flag::TOLD),
        };
        Some(Row { record, value_len })
    }
}

fn action_number(action: Action) -> u8 {
    match action {
        Action::None => 0,
        Action::Set => 1,
        Action::Create => 2,
        Action::Update => 3,
        Action::CompareAndSwap => 4,
        Action::CompareAndDelete => 5,
        Action::Delete => 6,
        Action::Expire => 7,
    }
}

fn action_of(number: u8) -> Option<Action> {
    const ALL: [Action; 8] = [
        Action::None,
        Action::Set,
        Action::Create,
        Action::Update,
        Action::CompareAndSwap,
        Action::CompareAndDelete,
        Action::Delete,
        Action::Expire,
    ];
    ALL.get(usize::from(number)).copied()
}

pub(crate) fn put_varint(into: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "the low seven bits")]
        into.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 128")]
    into.put_u8(number as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
