//! Reads of many names at one revision: ranges, counts, children.
//!
//! They hold the index's lock for a few hundred names at a time. In between, writes add newer
//! revisions, which a read at an older one does not see, and compaction removes what it may: that
//! is noticed at the next hold.

use base::Revision;
use bytes::Bytes;
use parking_lot::RwLockReadGuard;

use super::{Child, NAMES_PER_HOLD, ReadError, Store};
use crate::{
    index::{Index, Walk},
    record::Kind,
};

impl Store {
    /// The current revision, and what `at` (0: now) means to a read that begins. What cannot be read is
    /// refused.
    pub fn resolved(&self, at: i64) -> Result<(i64, i64), ReadError> {
        let index = self.index.read();
        Ok((index.revision, Self::resolve(&index, at)?))
    }

    /// Where a live key stands at `at` (0: now).
    pub fn place(&self, name: &[u8], at: i64) -> Result<Option<Revision>, ReadError> {
        let index = self.index.read();
        let at = self.resolve_on(&index, at)?;
        Ok(index.live_at(Kind::Key, name, at))
    }

    /// As [`Store::range`] without the names, and how many keys there are in all; or how many up to
    /// the limit, if nobody wants to know of more.
    ///
    /// Takes the names that it looks at, living or not, from `names_left`; `None` if these do not
    /// suffice.
    pub fn places(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        at: i64,
        (limit, counts_all): (usize, bool),
        names_left: &mut usize,
    ) -> Result<Option<(Vec<Revision>, u64)>, ReadError> {
        let (mut places, mut total) = (Vec::new(), 0);
        let is_whole = self.each_live_of((from, to), at, names_left, |_, place| {
            if places.len() < limit {
                places.push(place);
            }
            total += 1;
            counts_all || places.len() < limit
        })?;
        Ok(is_whole.then_some((places, total)))
    }

    /// Where the live keys with `from <= key < to` (no `to`: to the end) stand at `at` (0: now),
    /// at most `limit` of them. For v3 ranges; directories never appear.
    pub fn range(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        at: i64,
        limit: usize,
    ) -> Result<Vec<(Bytes, Revision)>, ReadError> {
        let mut found = Vec::new();
        self.each_live(from, to, at, |name, revision| {
            if found.len() < limit {
                found.push((Bytes::copy_from_slice(name), revision));
            }
            found.len() < limit
        })?;
        Ok(found)
    }

    /// The same from the end on: the last of them, the largest name first.
    pub fn range_back(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        at: i64,
        limit: usize,
    ) -> Result<Vec<(Bytes, Revision)>, ReadError> {
        let mut found = Vec::new();
        let mut to = to.map(<[u8]>::to_vec);
        self.in_holds(at, |index, at| {
            let mut names = index.names(Kind::Key).range(from, to.as_deref()).rev();
            let mut last = None;
            for (name, points) in names.by_ref().take(NAMES_PER_HOLD) {
                if found.len() == limit {
                    return false;
                }
                if let Some(revision) = points.live_at(at) {
                    found.push((Bytes::copy_from_slice(name), revision));
                }
                last = Some(name);
            }
            let more = names.next().is_some();
            to = last.map(<[u8]>::to_vec);
            more
        })?;
        Ok(found)
    }

    /// How many live keys that range holds at `at`.
    pub fn count(&self, from: &[u8], to: Option<&[u8]>, at: i64) -> Result<u64, ReadError> {
        let mut count = 0;
        self.each_live(from, to, at, |_, _| {
            count += 1;
            true
        })?;
        Ok(count)
    }

    /// Calls `each` for every live key of a range until it says false.
    fn each_live(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        at: i64,
        each: impl FnMut(&[u8], Revision) -> bool,
    ) -> Result<(), ReadError> {
        // No index has so many.
        self.each_live_of((from, to), at, &mut { usize::MAX }, each).map(drop)
    }

    /// The same, of no more names than are left; false if that is not all.
    fn each_live_of(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        at: i64,
        names_left: &mut usize,
        mut each: impl FnMut(&[u8], Revision) -> bool,
    ) -> Result<bool, ReadError> {
        let mut from = from.to_vec();
        let mut is_whole = true;
        self.in_holds(at, |index, at| {
            let mut names = index.names(Kind::Key).range(&from, to);
            for (name, points) in names.by_ref().take(NAMES_PER_HOLD) {
                let Some(left) = names_left.checked_sub(1) else {
                    is_whole = false;
                    return false;
                };
                *names_left = left;
                if let Some(revision) = points.live_at(at)
                    && !each(name, revision)
                {
                    return false;
                }
            }
            let next = names.next().map(|(name, _)| name.to_vec());
            let more = next.is_some();
            from = next.unwrap_or_default();
            more
        })?;
        Ok(is_whole)
    }

    /// The visible (`path::is_path`, not hidden below `dir`) children of a directory at `at` (0:
    /// now) in order of their names, after the child `after`, at most `limit`. Costs about the
    /// number of children, not of descendants: it seeks past each subtree.
    pub fn children(
        &self,
        dir: &[u8],
        at: i64,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Child>, ReadError> {
        let mut found: Vec<Child> = Vec::new();
        self.in_holds(at, |index, at| {
            let last = found.last().map(|child| child.name.clone());
            let after = last.as_deref().or(after);
            let mut walk = Walk::new(index, dir, at, after);
            let end = found.len().saturating_add(NAMES_PER_HOLD).min(limit);
            while found.len() < end {
                if !walk.step(&mut found) {
                    return false;
                }
            }
            found.len() < limit
        })?;
        found.truncate(limit);
        Ok(found)
    }

    /// Calls `hold` under the index's lock, again and again until it says false; all at the
    /// revision that `at` means the first time.
    fn in_holds(
        &self,
        at: i64,
        mut hold: impl FnMut(&RwLockReadGuard<'_, Index>, i64) -> bool,
    ) -> Result<(), ReadError> {
        let mut at = at;
        loop {
            let index = self.index.read();
            at = self.resolve_on(&index, at)?;
            if !hold(&index, at) {
                return Ok(());
            }
        }
    }
}
