//! How answers are put together, within their bounds.

use base::{Refused, limits::ANSWER_BYTES_MAX};
use bytes::Bytes;
use mvcc::Record;
use prost::{
    Message as _,
    encoding::{encoded_len_varint, key_len},
};
use proto::{etcdserverpb::ResponseHeader, mvccpb::KeyValue};

/// What a pair costs in memory besides key and value.
pub(super) const PAIR_BYTES: usize = 128;

/// What an answer may still take.
#[derive(Debug)]
pub(crate) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Self::of(ANSWER_BYTES_MAX)
    }

    pub(super) fn of(bytes_max: usize) -> Self {
        Self(bytes_max)
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Refused> {
        self.0 = self.0.checked_sub(bytes).ok_or(Refused::AnswerTooLarge)?;
        Ok(())
    }

    /// The pair of a record, as part of the answer.
    pub(super) fn pair(&mut self, record: &Record) -> Result<KeyValue, Refused> {
        self.take(PAIR_BYTES + record.name.len() + record.value.len())?;
        Ok(pair(record))
    }
}

/// A live record as v3 shows it.
pub(crate) fn pair(record: &Record) -> KeyValue {
    KeyValue {
        key: record.name.clone(),
        create_revision: record.create_revision,
        mod_revision: record.revision.main,
        version: record.version,
        value: record.value.clone(),
        lease: record.lease,
    }
}

/// Bytes of the pair of a record, encoded, if its value has so many; the record may lack it.
pub(super) fn pair_len(head: &Record, value_len: usize) -> usize {
    let without = Record { value: Bytes::new(), ..head.clone() };
    let value = if value_len == 0 { 0 } else { field_len(5, value_len) };
    pair(&without).encoded_len() + value
}

/// What so many bytes take as a field with this tag.
pub(super) fn field_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

pub(crate) fn header(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..ResponseHeader::default() }
}
