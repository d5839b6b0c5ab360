//! Watchers: history first, then live, with no gap.
//!
//! A commit that concerns a watcher is put into its bounded mailbox; when that is full, or the commit
//! is one of very many keys, the watcher falls back to reading history from where it stands. So a slow
//! watcher costs nobody anything, and live and history tell the same.
//!
//! Of a range of keys history reads only what concerns it, and a revision of many keys in parts. What
//! concerns it is searched for in portions, so that nobody waits for one that has a long way back.
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
    store::{ReadError, Search, Store},
};
use base::Revision;

/// Revisions that are asked of history at once, or places in them.
/// With one more, which waits for those behind it.
const HISTORY_BATCH: usize = 4 * PART_RECORDS + 1;
/// The same in the midst of a revision: each search may look at all names of a range.
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
    /// All that history has before this is in `history`, or was handed out.
    searched: Revision,
    /// Looks for what comes then.
    search: Option<Search>,
    /// It counts as one that has history to read.
    is_behind: bool,
}

/// What history has next.
enum Next {
    Commit(Arc<Commit>),
    /// It is still being looked for.
    Later,
    Nothing,
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
            searched: Revision::new(since, 0),
            search: None,
            is_behind,
        })
    }

    /// The next commit that concerns this watcher, in order of revision, none left out. An error
    /// (`Compacted`) ends the watch.
    ///
    /// Pending although there may be more, once others had their turn, while it
    /// [searches](Watcher::is_searching).
    ///
    /// A watcher of keys can be handed, of what lies in the past, only the records of its keys (and an
    /// `advance` of 1), and these in parts: see [`Watcher::is_within_revision`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Commit>, ReadError>> {
        loop {
            match self.next_of_history()? {
                Next::Commit(commit) => return Poll::Ready(Ok(commit)),
                Next::Later => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::Nothing => {}
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
                    self.searched = self.searched.max(self.position);
                    // The mailbox takes commits again: what is newer than this comes through it.
                    self.catch_up_to = self.store.revision();
                    self.is_behind = true;
                }
                Taken::Nothing => return Poll::Pending,
            }
        }
    }

    fn next_of_history(&mut self) -> Result<Next, ReadError> {
        // The last place waits for those behind it: they may be of its revision.
        if self.history.len() <= 1 && self.may_have_more() && !self.search()? {
            return Ok(Next::Later);
        }
        let Some(place) = self.history.front().copied() else {
            // All has been told as far as it was searched.
            self.position = self.position.max(self.searched);
            if std::mem::take(&mut self.is_behind) {
                self.registration.mailbox().set_behind(false);
            }
            return Ok(Next::Nothing);
        };
        if let Interest::Keys { .. } = &self.interest {
            return self.part_at(place.main).map(Next::Commit);
        }
        let commit = self.store.commit_at(place.main)?;
        self.history.pop_front();
        self.position = Revision::new(place.main + 1, 0);
        Ok(Next::Commit(commit))
    }

    /// Whether history was not searched to its end.
    fn may_have_more(&self) -> bool {
        self.searched.main <= self.catch_up_to
    }

    /// Looks on for what comes behind all that was found; false: there is more to look at.
    fn search(&mut self) -> Result<bool, ReadError> {
        let Self { interest, searched, catch_up_to: to, .. } = self;
        let is_of_keys = matches!(interest, Interest::Keys { .. });
        let search = self.search.get_or_insert_with(|| {
            let batch = if searched.sub == 0 { HISTORY_BATCH } else { REVISION_BATCH };
            if is_of_keys {
                Search::places(interest.clone(), *searched, *to, batch)
            } else {
                Search::revisions(interest.clone(), searched.main, *to, batch)
            }
        });
        let Some(found) = self.store.look(search)? else { return Ok(false) };
        let full = found.len() >= search.limit();
        self.search = None;
        self.searched = match found.last().filter(|_| full) {
            Some(last) if is_of_keys => Revision::new(last.main, last.sub + 1),
            Some(last) => Revision::new(last.main + 1, 0),
            None => Revision::new(*to + 1, 0),
        };
        self.history.extend(found);
        if self.history.is_empty() {
            self.position = self.searched;
        }
        Ok(true)
    }

    /// What concerns this watcher at a revision that history has named, or the next part of it.
    fn part_at(&mut self, main: i64) -> Result<Arc<Commit>, ReadError> {
        let (mut records, mut bytes): (Vec<Record>, usize) = (Vec::new(), 0);
        let began_at = self.position;
        let is_here = |place: &&Revision| place.main == main;
        let mut taken = 0;
        while let Some(place) = self.history.front().filter(is_here).copied() {
            let is_held_back = self.history.len() == 1 && self.may_have_more();
            if taken > 0 && (is_held_back || taken >= PART_RECORDS || bytes >= PART_BYTES) {
                break;
            }
            // What is missing is compacted: asked below.
            if let Some(record) = self.store.record(place)? {
                bytes += record.name.len() + record.value.len();
                records.push((*record).clone());
            }
            taken += 1;
            self.history.pop_front();
            self.position = Revision::new(main, place.sub + 1);
        }
        // Asked last, so that nothing was removed meanwhile.
        if main < self.store.compacted() {
            // Whoever asks again is not to go on behind what is missing, but to hear the same.
            self.history.clear();
            (self.position, self.searched) = (began_at, began_at);
            return Err(ReadError::Compacted);
        }
        if self.history.front().as_ref().is_none_or(|place| !is_here(place)) {
            self.position = self.position.max(Revision::new(main + 1, 0));
        }
        Ok(Arc::new(Commit { main, advance: 1, records }))
    }

    /// Whether it looks for something in history: it may have something to say before anything new
    /// happens.
    pub fn is_searching(&self) -> bool {
        self.search.is_some()
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
