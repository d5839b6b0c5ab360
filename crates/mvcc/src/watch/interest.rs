//! What a watcher wants to hear of.

use bytes::Bytes;

use crate::{
    path,
    record::{Kind, Record},
};

/// What a watcher wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// v3: keys with `from <= key < to`; no `to`: all from there on. Directories never count.
    Keys { from: Bytes, to: Option<Bytes> },
    /// v2: what is told about `path` itself; with `recursive` about everything visible below it;
    /// and, always, deletions of a directory above or at it. A change is hidden from a recursive
    /// watcher if a segment below `path` begins with `_`.
    Path { path: Bytes, recursive: bool },
}

impl Interest {
    /// Whether a record is of interest, by itself. History and hub find the same by indexes.
    pub fn concerns(&self, record: &Record) -> bool {
        match self {
            Self::Keys { from, to } => {
                record.kind == Kind::Key
                    && record.name >= from
                    && to.as_ref().is_none_or(|to| record.name < to)
            }
            Self::Path { path, recursive } => {
                let name = record.name.as_ref();
                let dir_above =
                    || record.deleted && record.kind == Kind::Dir && path::is_below(name, path);
                let below =
                    || *recursive && path::is_below(path, name) && !path::is_hidden(path, name);
                record.told
                    && path::is_path(name)
                    && name != b"/"
                    && (name == path || dir_above() || below())
            }
        }
    }
}
