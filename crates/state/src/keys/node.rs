//! Records as v2 shows them.

use bytes::Bytes;
use mvcc::{Kind, Record};

use super::{Node, index};

impl Node {
    /// A live record's node.
    pub(super) fn of(record: &Record) -> Self {
        match record.kind {
            Kind::Key => Self {
                key: record.name.clone(),
                value: Some(record.value.clone()),
                dir: false,
                expiry: record.expiry,
                modified_index: index(record.revision.main),
                created_index: index(record.created_index),
            },
            // In 2.3.8 an update of a directory changes its time to live alone: the event that
            // tells of it has a new modified index, the node keeps its first one.
            Kind::Dir => Self {
                expiry: record.expiry,
                modified_index: index(record.created_index),
                created_index: index(record.created_index),
                ..Self::implied_dir(record.name.clone())
            },
        }
    }

    /// A directory without a record: the root, or one that only exists because a v3 key lies below.
    pub(super) fn implied_dir(key: Bytes) -> Self {
        let (modified_index, created_index) = (0, 0);
        Self { key, value: None, dir: true, expiry: None, modified_index, created_index }
    }
}
