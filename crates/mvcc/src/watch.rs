//! Watchers: history first, then live, with no gap.
//!
//! A commit that concerns a watcher is put into its bounded mailbox; when that is full, or the commit
//! is one of very many keys, the watcher falls back to reading history from where it stands. So a slow
//! watcher costs nobody anything, and live and history tell the same.
//!
//! Of a range of keys history reads only what concerns it, and a revision of many keys in parts.
//!
//! - `hub`: finds the watchers that a commit concerns; `intervals`: those of ranges
//! - `mailbox`: what waits for one of them

mod hub;
mod interest;
mod intervals;
mod mailbox;

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

pub(crate) use self::hub::Hub;
pub use self::interest::Interest;
use self::{hub::Registration, mailbox::Taken};
use crate::{
    record::{Commit, Record},
    store::{ReadError, Store},
};
use base::Revision;

/// Revisions that are asked of history at once, or places in them.
const HISTORY_BATCH: usize = 4 * PART_RECORDS;
/// The same in the midst of a revision: each question looks at all names of a range.
const REVISION_BATCH: usize = 16 * HISTORY_BATCH;
/// A part of a revision that history hands out: so many records, or about so many bytes.
const PART_RECORDS: usize = 1_000;
const PART_BYTES: usize = 64 << 10;

/// A running watch. Dropping it unregisters it.
#[derive(Debug)]
pub struct Watcher {
    store: Arc<Store>,
    interest: Interest,
    registration: Registration,
    /// Everything that concerns the watcher below this was handed out. In the midst of a revision its
    /// `sub` is not 0.
    position: Revision,
    /// History is being read up to this revision, if that is not below `position`.
    catch_up_to: i64,
    /// What history has said so far: for keys each place, else revisions as a whole.
    history: VecDeque<Revision>,
    /// History may have more places than those in `history`.
    has_more: bool,
    /// It counts as one that has history to read.
    is_behind: bool,
}

impl Watcher {
    pub(crate) fn new(
        store: &Arc<Store>,
        interest: Interest,
        since: i64,
    ) -> Result<Self, ReadError> {
        // Registered first: what is committed after the look at the current revision comes through
        // the mailbox.
        let registration = store.hub.register(&interest, since);
        let (catch_up_to, compacted) = {
            let index = store.index.read();
            (index.revision, index.compacted)
        };
        if since < compacted {
            return Err(ReadError::Compacted);
        }
        let is_behind = since <= catch_up_to;
        registration.mailbox().set_behind(is_behind);
        Ok(Self {
            store: Arc::clone(store),
            interest,
            registration,
            position: Revision::new(since, 0),
            catch_up_to,
            history: VecDeque::new(),
            has_more: true,
            is_behind,
        })
    }

    /// The next commit that concerns this watcher, in order of revision, none left out. An error
    /// (`Compacted`) ends the watch.
    ///
    /// A watcher of keys can be handed, of what lies in the past, only the records of its keys (and an
    /// `advance` of 1), and these in parts: see [`Watcher::is_within_revision`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Commit>, ReadError>> {
        loop {
            if let Some(commit) = self.next_of_history()? {
                return Poll::Ready(Ok(commit));
            }
            match self.registration.mailbox().take(cx) {
                Taken::Commit(commit) if commit.main < self.position.main => {}
                Taken::Commit(commit) => {
                    self.position = Revision::new(commit.main + 1, 0);
                    return Poll::Ready(Ok(commit));
                }
                Taken::Overflowed(lost) => {
                    // What came before was taken: it need not be asked for, and may be compacted.
                    self.position = self.position.max(Revision::new(lost, 0));
                    // The mailbox takes commits again: what is newer than this comes through it.
                    self.catch_up_to = self.store.revision();
                    self.is_behind = true;
                }
                Taken::Nothing => return Poll::Pending,
            }
        }
    }

    fn next_of_history(&mut self) -> Result<Option<Arc<Commit>>, ReadError> {
        if self.history.is_empty() {
            self.ask_history()?;
        }
        let Some(place) = self.history.front().copied() else { return Ok(None) };
        if let Interest::Keys { .. } = &self.interest {
            return self.part_at(place.main).map(Some);
        }
        let commit = self.store.commit_at(place.main)?;
        self.history.pop_front();
        self.position = Revision::new(place.main + 1, 0);
        Ok(Some(commit))
    }

    /// Asks for what follows `position`.
    fn ask_history(&mut self) -> Result<(), ReadError> {
        let (position, to) = (self.position, self.catch_up_to);
        if position.main > to {
            if std::mem::take(&mut self.is_behind) {
                self.registration.mailbox().set_behind(false);
            }
            return Ok(());
        }
        let batch = if position.sub == 0 { HISTORY_BATCH } else { REVISION_BATCH };
        let found = match &self.interest {
            Interest::Keys { from, to: end } => {
                self.store.places_of_history((from, end.as_ref()), position, to, batch)?
            }
            Interest::Path { .. } => {
                let mains = self.store.history(&self.interest, position.main, to, batch)?;
                mains.into_iter().map(|main| Revision::new(main, 0)).collect()
            }
        };
        if found.is_empty() {
            self.position = Revision::new(to + 1, 0);
        }
        self.has_more = found.len() >= batch;
        self.history = found.into();
        Ok(())
    }

    /// What concerns this watcher at a revision that history has named, or the next part of it.
    fn part_at(&mut self, main: i64) -> Result<Arc<Commit>, ReadError> {
        let (mut records, mut bytes): (Vec<Record>, usize) = (Vec::new(), 0);
        let is_here = |place: &&Revision| place.main == main;
        while let Some(place) = self.history.front().filter(is_here).copied() {
            if records.len() >= PART_RECORDS || bytes >= PART_BYTES {
                break;
            }
            // What is missing is compacted: asked below.
            if let Some(record) = self.store.record(place)? {
                bytes += record.name.len() + record.value.len();
                records.push((*record).clone());
            }
            self.history.pop_front();
            self.position = Revision::new(main, place.sub + 1);
        }
        // Asked last, so that nothing was removed meanwhile.
        if main < self.store.compacted() {
            return Err(ReadError::Compacted);
        }
        if self.history.is_empty() && self.has_more {
            self.ask_history()?;
        }
        if self.history.front().as_ref().is_none_or(|place| !is_here(place)) {
            self.position = self.position.max(Revision::new(main + 1, 0));
        }
        Ok(Arc::new(Commit { main, advance: 1, records }))
    }

    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// The revision from which the next commit will come.
    pub fn position(&self) -> i64 {
        self.position.main
    }

    /// Whether the last commit was but a part of its revision: the next one is another.
    pub fn is_within_revision(&self) -> bool {
        self.position.sub > 0
    }
}
