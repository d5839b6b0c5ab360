//! The children of a directory, without walking through its descendants.
//!
//! Children come in order of their full paths. That is not the order in which the indexes show
//! them: `/a/b-x` sorts before `/a/b/c`, although the child `/a/b`, which may exist only because of
//! `/a/b/c`, sorts before the child `/a/b-x`. So before a child is told, those of its prefixes that
//! could be such directories are looked up.

use bytes::Bytes;

use super::Index;
use crate::{path, record::Kind, store::Child};

/// A walk over children, which can be interrupted behind any of them.
pub(crate) struct Walk<'a> {
    index: &'a Index,
    /// `/a/`
    prefix: Vec<u8>,
    end: Vec<u8>,
    at: i64,
    /// The last child considered, hidden ones included.
    last: Vec<u8>,
    /// The first name not looked at.
    cursor: Vec<u8>,
    /// The next live key and directory, if looked up; good as long as they are not behind the
    /// cursor.
    ahead: [Ahead<'a>; 2],
}

/// Looked up, and what was found.
type Ahead<'a> = Option<Option<&'a [u8]>>;

impl<'a> Walk<'a> {
    /// Begins after the child `after`.
    pub(crate) fn new(index: &'a Index, dir: &[u8], at: i64, after: Option<&[u8]>) -> Self {
        let (prefix, end) = (path::prefix(dir), path::prefix_end(dir));
        let (last, cursor) = match after {
            Some(after) if after > prefix.as_slice() => (after.to_vec(), path::successor(after)),
            _ => (prefix.clone(), path::successor(&prefix)),
        };
        Self { index, prefix, end, at, last, cursor, ahead: [None; 2] }
    }

    /// Appends the next children to `into`, at least one if there is one; false at the end.
    pub(crate) fn step(&mut self, into: &mut Vec<Child>) -> bool {
        while let Some(name) = self.next_live() {
            let segment = name.get(self.prefix.len()..).unwrap_or_default();
            let slash = segment.iter().position(|byte| *byte == b'/');
            let child = slash.map_or(name, |at| name.split_at(self.prefix.len() + at).0);
            let seen = child <= self.last.as_slice();
            let before = into.len();
            if !seen {
                self.implied_before(child, into);
                self.tell(child, into);
                self.last = child.to_vec();
            }
            self.cursor = match slash {
                Some(_) => path::prefix_end(child),
                None => path::successor(name),
            };
            if into.len() > before {
                return true;
            }
        }
        false
    }

    /// The next name at or after the cursor that is alive and that v2 can name.
    fn next_live(&mut self) -> Option<&'a [u8]> {
        for (kind, ahead) in [Kind::Key, Kind::Dir].into_iter().zip(&mut self.ahead) {
            let behind = |name: &[u8]| name < self.cursor.as_slice();
            if ahead.is_none_or(|found| found.is_some_and(behind)) {
                let mut names = self.index.names(kind).range(&self.cursor, Some(&self.end));
                let found = names.find(|(name, points)| {
                    points.live_at(self.at).is_some() && path::is_path(name)
                });
                *ahead = Some(found.map(|(name, _)| name));
            }
        }
        self.ahead.iter().copied().flatten().flatten().min()
    }

    /// Tells the directories without records whose names are prefixes of `child`, and whose
    /// contents sort behind it.
    ///
    /// A prefix that is also one of `last`, with the same byte behind it, was looked up then. One
    /// that is alive by itself sorts before `child` and was told already.
    fn implied_before(&self, child: &[u8], into: &mut Vec<Child>) {
        let common = child.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        for at in (common + 1).max(self.prefix.len() + 1)..child.len() {
            let (dir, rest) = child.split_at(at);
            let sorts_first = rest.first().is_some_and(|byte| *byte < b'/');
            if sorts_first && self.index.below(dir, self.at).next().is_some() {
                self.tell(dir, into);
            }
        }
    }

    fn tell(&self, child: &[u8], into: &mut Vec<Child>) {
        if path::is_hidden(self.prefix.strip_suffix(b"/").unwrap_or(b""), child) {
            return;
        }
        let record = |kind| Some((kind, Some(self.index.live_at(kind, child, self.at)?)));
        let (kind, revision) =
            record(Kind::Key).or_else(|| record(Kind::Dir)).unwrap_or((Kind::Dir, None));
        into.push(Child { name: Bytes::copy_from_slice(child), kind, revision });
    }
}
