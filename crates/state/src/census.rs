//! What rows of a keyspace say of it as they pass.

use backend::{Change, Table};
use base::version::Minor;
use mvcc::ReadError;

use crate::apply::version_in;

/// What rows say, once all have passed, each table in order of its keys.
#[derive(Debug, Default)]
pub struct Census {
    pub keys: mvcc::Census,
    /// Of the cluster; `None` before agreement.
    pub version: Option<Minor>,
}

impl Census {
    pub fn add(&mut self, row: &Change) -> Result<(), ReadError> {
        if let Change { table: Table::Meta, key, value: Some(value) } = row {
            self.version = version_in(key, value).or(self.version);
        }
        self.keys.add(row)
    }
}
