//! Watchers: history first, then live, with no gap.
//!
//! A commit that concerns a watcher is put into its bounded mailbox; when that is full the watcher
//! falls back to reading history from where it stands. So a slow watcher costs nobody anything, and
//! live and history tell the same.
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
    record::Commit,
    store::{ReadError, Store},
};

/// Revisions that are asked of history at once.
const HISTORY_BATCH: usize = 4_096;

/// A running watch. Dropping it unregisters it.
#[derive(Debug)]
pub struct Watcher {
    store: Arc<Store>,
    interest: Interest,
    registration: Registration,
    /// Everything that concerns the watcher below this was handed out.
    position: i64,
    /// History is being read up to this revision, if that is not below `position`.
    catch_up_to: i64,
    /// What history has said so far.
    history: VecDeque<i64>,
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
        Ok(Self {
            store: Arc::clone(store),
            interest,
            registration,
            position: since,
            catch_up_to,
            history: VecDeque::new(),
        })
    }

    /// The next commit that concerns this watcher, in order of revision, none left out. An error
    /// (`Compacted`) ends the watch.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Commit>, ReadError>> {
        loop {
            if let Some(commit) = self.next_of_history()? {
                return Poll::Ready(Ok(commit));
            }
            match self.registration.mailbox().take(cx) {
                Taken::Commit(commit) if commit.main < self.position => {}
                Taken::Commit(commit) => {
                    self.position = commit.main + 1;
                    return Poll::Ready(Ok(commit));
                }
                Taken::Overflowed(lost) => {
                    // What came before was taken: it need not be asked for, and may be compacted.
                    self.position = self.position.max(lost);
                    // The mailbox takes commits again: what is newer than this comes through it.
                    self.catch_up_to = self.store.revision();
                }
                Taken::Nothing => return Poll::Pending,
            }
        }
    }

    fn next_of_history(&mut self) -> Result<Option<Arc<Commit>>, ReadError> {
        if self.history.is_empty() && self.position <= self.catch_up_to {
            let found = self.store.history(
                &self.interest,
                self.position,
                self.catch_up_to,
                HISTORY_BATCH,
            )?;
            if found.is_empty() {
                self.position = self.catch_up_to + 1;
            }
            self.history = found.into();
        }
        let Some(main) = self.history.front().copied() else { return Ok(None) };
        let commit = self.store.commit_at(main)?;
        self.history.pop_front();
        self.position = main + 1;
        Ok(Some(commit))
    }

    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// The revision from which the next commit will come.
    pub fn position(&self) -> i64 {
        self.position
    }
}
