//! Counting keys in rows as they pass, without an index.

use std::collections::BTreeSet;

use backend::{Change, Table};
use bytes::Bytes;

use crate::{
    record::{Kind, codec},
    store::ReadError,
    writer,
};

/// What rows of a keyspace say of it, once all have passed, each table in order of its keys.
#[derive(Debug, Default)]
pub struct Census {
    live: BTreeSet<Bytes>,
    revision: Option<i64>,
}

impl Census {
    pub fn add(&mut self, row: &Change) -> Result<(), ReadError> {
        let Change { table, key, value: Some(value) } = row else { return Ok(()) };
        match table {
            Table::Records => {
                let record = codec::decode(key, value)?.record;
                if record.kind == Kind::Key && record.deleted {
                    self.live.remove(&record.name);
                } else if record.kind == Kind::Key && !self.live.contains(&record.name) {
                    // Not a slice of the row, which has more bytes.
                    self.live.insert(Bytes::copy_from_slice(&record.name));
                }
            }
            Table::Meta => {
                if let Some(revision) = writer::revision_in(key, value)? {
                    self.revision = Some(revision);
                }
            }
            Table::Values => {}
        }
        Ok(())
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.live.len()
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision.unwrap_or(1)
    }
}
