//! Which revisions concern an interest: asked of the indexes, never by scanning the log.

use std::collections::BTreeSet;

use base::Revision;
use bytes::Bytes;

use super::{NAMES_PER_HOLD, ReadError, Store};
use crate::{
    index::{Index, Points},
    path,
    record::Kind,
    watch::Interest,
};

impl Store {
    /// The main revisions in `from..=to` that concern `interest`, oldest first, at most `limit`.
    /// Asks the indexes; never scans the log. For a path interest only changes that v2 tells count.
    ///
    /// `Compacted` if `from` lies below [`Store::compacted`]. A single name costs O(log n)
    /// whatever `from` is; a prefix costs a look at each name below it.
    pub fn history(
        &self,
        interest: &Interest,
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<i64>, ReadError> {
        let mut found = Found::mains(from, to, limit);
        match interest {
            Interest::Keys { from, to } => {
                self.collect(&mut found, &Names::keys(from, to.as_ref()), |_| true)?;
            }
            Interest::Path { path, recursive } => {
                self.path_history(&mut found, path, *recursive, false)?;
            }
        }
        Ok(found.into_mains())
    }

    /// Where the records of a range of keys lie that were written from `from` on, up to the main
    /// revision `to`, oldest first, at most `limit`. As [`Store::history`], but one for each record:
    /// a revision of many keys may come in parts.
    pub(crate) fn places_of_history(
        &self,
        keys: (&Bytes, Option<&Bytes>),
        from: Revision,
        to: i64,
        limit: usize,
    ) -> Result<Vec<Revision>, ReadError> {
        let mut found = Found { from, to, limit, is_of_mains: false, places: BTreeSet::new() };
        self.collect(&mut found, &Names::keys(keys.0, keys.1), |_| true)?;
        Ok(found.places.into_iter().collect())
    }

    /// As [`Store::history`] for a recursive path interest, if nothing were hidden: what 2.3.8
    /// tells of the past.
    pub fn history_with_hidden(
        &self,
        path: &[u8],
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<i64>, ReadError> {
        let mut found = Found::mains(from, to, limit);
        self.path_history(&mut found, path, true, true)?;
        Ok(found.into_mains())
    }

    fn path_history(
        &self,
        found: &mut Found,
        path: &[u8],
        recursive: bool,
        with_hidden: bool,
    ) -> Result<(), ReadError> {
        {
            let index = self.index.read();
            found.check(&index)?;
            for kind in [Kind::Key, Kind::Dir] {
                if path != b"/"
                    && let Some(points) = index.names(kind).get(path)
                {
                    found.add(points, true, false);
                }
            }
            for dir in path::ancestors(path) {
                if let Some(points) = index.names(Kind::Dir).get(dir) {
                    found.add(points, true, true);
                }
            }
        }
        if recursive {
            let (from, to) = (path::prefix(path), path::prefix_end(path));
            let visible = |name: &[u8]| {
                path::is_below(path, name)
                    && path::is_path(name)
                    && (with_hidden || !path::is_hidden(path, name))
            };
            for kind in [Kind::Key, Kind::Dir] {
                let names = Names { kind, from: &from, to: Some(&to), told_only: true };
                self.collect(found, &names, visible)?;
            }
        }
        Ok(())
    }

    /// Adds what happened to the names of a range, a few hundred under each hold of the lock.
    fn collect(
        &self,
        found: &mut Found,
        asked: &Names<'_>,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let mut from = Some(asked.from.to_vec());
        while let Some(start) = from {
            let index = self.index.read();
            found.check(&index)?;
            let mut names = index.names(asked.kind).range(&start, asked.to);
            for (name, points) in names.by_ref().take(NAMES_PER_HOLD) {
                // Most names were quiet, and are passed by without a look at their form.
                if points.newest().revision() >= found.from && wanted(name) {
                    found.add(points, asked.told_only, false);
                }
            }
            from = names.next().map(|(name, _)| name.to_vec());
        }
        Ok(())
    }
}

/// A range of names of one kind.
struct Names<'a> {
    kind: Kind,
    from: &'a [u8],
    to: Option<&'a [u8]>,
    /// Only what v2 tells.
    told_only: bool,
}

impl<'a> Names<'a> {
    fn keys(from: &'a Bytes, to: Option<&'a Bytes>) -> Self {
        Self { kind: Kind::Key, from, to: to.map(AsRef::as_ref), told_only: false }
    }
}

/// The smallest `limit` places so far.
struct Found {
    from: Revision,
    to: i64,
    limit: usize,
    /// Only the main revisions are of interest: each is there once.
    is_of_mains: bool,
    places: BTreeSet<Revision>,
}

impl Found {
    fn mains(from: i64, to: i64, limit: usize) -> Self {
        let from = Revision::new(from, 0);
        Self { from, to, limit, is_of_mains: true, places: BTreeSet::new() }
    }

    fn into_mains(self) -> Vec<i64> {
        self.places.into_iter().map(|place| place.main).collect()
    }

    fn check(&self, index: &Index) -> Result<(), ReadError> {
        if self.from.main < index.compacted { Err(ReadError::Compacted) } else { Ok(()) }
    }

    fn add(&mut self, points: &Points, told_only: bool, deleted_only: bool) {
        for point in points.between(self.from.main, self.to) {
            let place = point.revision();
            let is_before = place < self.from;
            if is_before || (told_only && !point.told) || (deleted_only && !point.deleted) {
                continue;
            }
            let place = if self.is_of_mains { Revision::new(place.main, 0) } else { place };
            let full = self.places.len() >= self.limit;
            if full && self.places.last().is_none_or(|last| *last <= place) {
                return;
            }
            if self.places.insert(place) && full {
                self.places.pop_last();
            }
        }
    }
}
