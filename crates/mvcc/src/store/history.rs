//! Which revisions concern an interest: asked of the indexes, or read in order of revision, whichever
//! is the shorter way.
//!
//! Who asks for one name, or for few, is answered by the index, whatever happened to others since. Who
//! asks for very many names and was there a moment ago, is answered by the few records since then.
//! Which way is shorter nobody knows before: both are walked, a portion of each at a time, and the one
//! that comes to its end first has the answer. So a search costs at most twice the shorter way, and
//! nobody holds a thread for more than a portion.

use std::{collections::BTreeSet, sync::Arc};

use backend::Table;
use base::Revision;

use super::{NAMES_PER_HOLD, ReadError, Store};
use crate::{
    index::{Index, Points},
    path,
    record::{Kind, Record, codec},
    watch::Interest,
};

/// Records in a portion: to read one costs about as much as eight looks at names.
const RECORDS_PER_STEP: usize = NAMES_PER_HOLD / 8;

/// A search in history, under way.
#[derive(Debug)]
pub struct Search {
    asked: Asked,
    /// The smallest `limit` places among the names so far.
    by_name: Found,
    /// The names that were not looked at yet; `None`: not even those that are asked for one by one.
    names: Option<Vec<Names>>,
    /// All places up to the next record.
    by_record: Found,
    /// The first record that was not looked at.
    next_record: Revision,
}

/// What is searched for.
#[derive(Debug)]
struct Asked {
    interest: Interest,
    /// As if nothing were hidden.
    with_hidden: bool,
    from: Revision,
    to: i64,
}

impl Search {
    /// For the main revisions in `from..=to` that concern `interest`, at most `limit`, each as its first
    /// place. For a path interest only changes that v2 tells count.
    pub fn revisions(interest: Interest, from: i64, to: i64, limit: usize) -> Self {
        Self::new(interest, (Revision::new(from, 0), to), (limit, true))
    }

    /// As [`Search::revisions`], if nothing were hidden below a path: what 2.3.8 tells of the past.
    pub fn with_hidden(interest: Interest, from: i64, to: i64, limit: usize) -> Self {
        let mut search = Self::revisions(interest, from, to, limit);
        search.asked.with_hidden = true;
        search
    }

    /// As [`Search::revisions`], but for each record: a revision of many keys may come in parts.
    pub(crate) fn places(interest: Interest, from: Revision, to: i64, limit: usize) -> Self {
        Self::new(interest, (from, to), (limit, false))
    }

    fn new(
        interest: Interest,
        (from, to): (Revision, i64),
        (limit, is_of_mains): (usize, bool),
    ) -> Self {
        let found = || Found { limit, is_of_mains, places: BTreeSet::new() };
        Self {
            asked: Asked { interest, with_hidden: false, from, to },
            by_name: found(),
            names: None,
            by_record: found(),
            next_record: from,
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.by_name.limit
    }
}

impl Store {
    /// Goes on with a search by a portion, and says what it has found, oldest first; `None`: not all
    /// yet, go on.
    ///
    /// `Compacted` if it begins below [`Store::compacted`].
    pub fn look(&self, search: &mut Search) -> Result<Option<Vec<Revision>>, ReadError> {
        if let Some(found) = self.look_at_names(search)? {
            return Ok(Some(found));
        }
        self.look_at_records(search)
    }

    /// Under one hold of the lock.
    pub(crate) fn look_at_names(
        &self,
        search: &mut Search,
    ) -> Result<Option<Vec<Revision>>, ReadError> {
        let Search { asked, by_name, names, .. } = search;
        let index = self.index.read();
        asked.check(&index)?;
        let names = names.get_or_insert_with(|| {
            asked.add_single(&index, by_name);
            asked.names()
        });
        let mut left = NAMES_PER_HOLD;
        while let Some(Names { kind, from, to }) = names.last_mut() {
            let mut walk = index.names(*kind).range(from, to.as_deref());
            for (name, points) in walk.by_ref().take(left) {
                left -= 1;
                // Most names were quiet, and are passed by without a look at their form.
                if points.newest().revision() >= asked.from && asked.is_below(name) {
                    by_name.add(asked, points, false);
                }
            }
            if let Some((name, _)) = walk.next() {
                *from = name.to_vec();
                return Ok(None);
            }
            names.pop();
        }
        Ok(Some(by_name.take()))
    }

    /// In order of revision.
    pub(crate) fn look_at_records(
        &self,
        search: &mut Search,
    ) -> Result<Option<Vec<Revision>>, ReadError> {
        let Search { asked, by_record, next_record, .. } = search;
        let end = Revision::new(asked.to.saturating_add(1), 0);
        let behind = self.records(*next_record, end, |record| {
            if asked.concerns(record) {
                by_record.insert(record.revision);
            }
        })?;
        // Asked last, so that nothing was removed meanwhile.
        asked.check(&self.index.read())?;
        *next_record = behind.unwrap_or(end);
        let is_over = behind.is_none() || by_record.is_full();
        Ok(is_over.then(|| by_record.take()))
    }

    /// Shows a portion of the records between two revisions, not all in order; where the next portion
    /// begins, if there is one.
    fn records(
        &self,
        from: Revision,
        to: Revision,
        mut show: impl FnMut(&Record),
    ) -> Result<Option<Revision>, ReadError> {
        if from >= to {
            return Ok(None);
        }
        // First what may be given to the backend meanwhile: it is seen twice then, and not missed.
        let unfinished: Vec<_> = {
            let all = self.unfinished.read();
            all.range(from..to).take(RECORDS_PER_STEP).map(|(_, one)| Arc::clone(one)).collect()
        };
        let (first, last) = (from.to_bytes(), to.to_bytes());
        let rows = self.backend.scan(Table::Records, &first, Some(&last), RECORDS_PER_STEP)?;
        let rows = rows.into_iter().map(|(key, row)| Ok(codec::decode(&key, &row)?.record));
        let rows = rows.collect::<Result<Vec<Record>, ReadError>>()?;
        // Of either there may be more behind its last one.
        let cut = |count: usize, last: Option<Revision>| last.filter(|_| count == RECORDS_PER_STEP);
        let ends = [
            cut(unfinished.len(), unfinished.last().map(|one| one.revision)),
            cut(rows.len(), rows.last().map(|one| one.revision)),
        ];
        let end = ends.into_iter().flatten().min();
        let is_whole = |record: &&Record| end.is_none_or(|end| record.revision <= end);
        rows.iter().chain(unfinished.iter().map(|one| &**one)).filter(is_whole).for_each(&mut show);
        Ok(end.map(|Revision { main, sub }| Revision::new(main, sub + 1)))
    }
}

impl Asked {
    fn check(&self, index: &Index) -> Result<(), ReadError> {
        if self.from.main < index.compacted { Err(ReadError::Compacted) } else { Ok(()) }
    }

    /// Adds what happened to a path itself, and those deletions above that take it along.
    fn add_single(&self, index: &Index, found: &mut Found) {
        let Interest::Path { path, .. } = &self.interest else { return };
        for kind in [Kind::Key, Kind::Dir] {
            if path != "/"
                && let Some(points) = index.names(kind).get(path)
            {
                found.add(self, points, false);
            }
        }
        for dir in path::ancestors(path) {
            if let Some(points) = index.names(Kind::Dir).get(dir) {
                found.add(self, points, true);
            }
        }
    }

    /// The ranges of names that are of interest.
    fn names(&self) -> Vec<Names> {
        match &self.interest {
            Interest::Keys { from, to } => {
                let to = to.as_ref().map(|to| to.to_vec());
                vec![Names { kind: Kind::Key, from: from.to_vec(), to }]
            }
            Interest::Path { path, recursive: true } => {
                let below = |kind| {
                    let to = Some(path::prefix_end(path));
                    Names { kind, from: path::prefix(path), to }
                };
                vec![below(Kind::Key), below(Kind::Dir)]
            }
            Interest::Path { .. } => Vec::new(),
        }
    }

    /// Whether a name of these ranges is of interest.
    fn is_below(&self, name: &[u8]) -> bool {
        let Interest::Path { path, .. } = &self.interest else { return true };
        path::is_below(path, name)
            && path::is_path(name)
            && (self.with_hidden || !path::is_hidden(path, name))
    }

    fn concerns(&self, record: &Record) -> bool {
        let is_hidden_one = || {
            let is_path = matches!(&self.interest, Interest::Path { recursive: true, .. });
            is_path && record.told && self.is_below(&record.name)
        };
        self.interest.concerns(record) || self.with_hidden && is_hidden_one()
    }

    /// Whether only what v2 tells counts.
    fn told_only(&self) -> bool {
        matches!(self.interest, Interest::Path { .. })
    }
}

/// Names of one kind, from one on, up to and without another.
#[derive(Debug)]
struct Names {
    kind: Kind,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
}

/// The smallest `limit` places so far.
#[derive(Debug)]
struct Found {
    limit: usize,
    /// Only the main revisions are of interest: each is there once.
    is_of_mains: bool,
    places: BTreeSet<Revision>,
}

impl Found {
    fn take(&mut self) -> Vec<Revision> {
        std::mem::take(&mut self.places).into_iter().collect()
    }

    fn is_full(&self) -> bool {
        self.places.len() >= self.limit
    }

    fn add(&mut self, asked: &Asked, points: &Points, deleted_only: bool) {
        for point in points.between(asked.from.main, asked.to) {
            let place = point.revision();
            let is_before = place < asked.from;
            if is_before || (asked.told_only() && !point.told) || (deleted_only && !point.deleted) {
                continue;
            }
            if !self.insert(place) {
                return;
            }
        }
    }

    /// False if neither it is among the smallest nor what comes behind it.
    fn insert(&mut self, place: Revision) -> bool {
        let place = if self.is_of_mains { Revision::new(place.main, 0) } else { place };
        let is_full = self.is_full();
        if is_full && self.places.last().is_none_or(|last| *last <= place) {
            return false;
        }
        if self.places.insert(place) && is_full {
            self.places.pop_last();
        }
        true
    }
}
