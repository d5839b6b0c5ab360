//! The commits that wait for one watcher.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Waker},
};

use base::limits::{
    WATCHER_BYTES_WAITING_MAX, WATCHER_COMMITS_WAITING_MAX, WATCHER_RECORDS_WAITING_MAX,
};
use parking_lot::Mutex;

use super::Interest;
use crate::record::{Commit, Record};

/// A queue that says when it has lost something. It is bounded in commits and in bytes, save that one
/// commit has always room.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    /// A commit of more records is left to history, which reads only those of interest.
    records_max: usize,
    backlog: Arc<Backlog>,
}

/// What waits for all watchers, for metrics.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Watchers that read history, or have lost something and will.
    pub(crate) behind: AtomicUsize,
    /// Commits in mailboxes.
    pub(crate) waiting: AtomicUsize,
}

/// A commit on its way to watchers, with its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) commit: &'a Arc<Commit>,
    bytes: usize,
}

impl<'a> Offer<'a> {
    /// Looks at all records.
    pub(crate) fn new(commit: &'a Arc<Commit>) -> Self {
        Self { commit, bytes: bytes(commit) }
    }
}

/// What a commit takes in memory, about.
fn bytes(commit: &Commit) -> usize {
    let one = |record: &Record| size_of::<Record>() + record.name.len() + record.value.len();
    commit.records.iter().map(one).sum()
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<(Arc<Commit>, usize)>,
    /// Of all that waits.
    bytes: usize,
    /// The first revision of interest that was not offered yet.
    next: i64,
    /// The first revision that may not have come in: it, and all that followed, is left to history.
    lost: Option<i64>,
    /// It counts in [`Backlog::behind`].
    is_behind: bool,
    waker: Option<Waker>,
}

/// What [`Mailbox::take`] finds.
pub(crate) enum Taken {
    Commit(Arc<Commit>),
    /// Commits were lost from this revision on, and none before. From now on they are kept again.
    Overflowed(i64),
    /// The waker will be woken.
    Nothing,
}

impl Mailbox {
    pub(crate) fn new(interest: &Interest, since: i64, backlog: &Arc<Backlog>) -> Self {
        let records_max = match interest {
            Interest::Keys { .. } => WATCHER_RECORDS_WAITING_MAX,
            // It needs all: what v2 tells is numbered.
            Interest::Path { .. } => usize::MAX,
        };
        let waiting = VecDeque::new();
        let (lost, is_behind, waker) = (None, false, None);
        let state = State { waiting, bytes: 0, next: since, lost, is_behind, waker };
        Self { state: Mutex::new(state), records_max, backlog: Arc::clone(backlog) }
    }

    /// Whether its watcher has history to read.
    pub(crate) fn set_behind(&self, is_behind: bool) {
        let mut state = self.state.lock();
        let is_behind = is_behind || state.lost.is_some();
        self.backlog.set_behind(&mut state, is_behind);
    }

    /// Adds a commit, once; returns whom to wake.
    pub(crate) fn offer(&self, Offer { commit, bytes }: Offer<'_>) -> Option<Waker> {
        let mut state = self.state.lock();
        if commit.main < state.next {
            return None;
        }
        state.next = commit.main + 1;
        if state.lost.is_some() {
            return None;
        }
        let has_room = state.waiting.is_empty()
            || state.waiting.len() < WATCHER_COMMITS_WAITING_MAX
                && state.bytes.saturating_add(bytes) <= WATCHER_BYTES_WAITING_MAX;
        if has_room && commit.records.len() <= self.records_max {
            state.waiting.push_back((Arc::clone(commit), bytes));
            state.bytes += bytes;
            self.backlog.waiting.fetch_add(1, Relaxed);
        } else {
            state.lost = Some(commit.main);
            self.backlog.set_behind(&mut state, true);
        }
        state.waker.take()
    }

    /// What happened after `offered`, up to `revision`, is left to history; returns whom to wake.
    pub(crate) fn skip(&self, offered: i64, revision: i64) -> Option<Waker> {
        let mut state = self.state.lock();
        state.next = state.next.max(revision + 1);
        state.lost = state.lost.or(Some(offered + 1));
        self.backlog.set_behind(&mut state, true);
        state.waker.take()
    }

    pub(crate) fn take(&self, cx: &Context<'_>) -> Taken {
        let mut state = self.state.lock();
        if let Some((commit, bytes)) = state.waiting.pop_front() {
            state.bytes -= bytes;
            self.backlog.waiting.fetch_sub(1, Relaxed);
            return Taken::Commit(commit);
        }
        if let Some(lost) = state.lost.take() {
            return Taken::Overflowed(lost);
        }
        // A watcher that has nothing to do keeps no room for a burst that is over.
        state.waiting = VecDeque::new();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Taken::Nothing
    }
}

impl Backlog {
    fn set_behind(&self, of: &mut State, is_behind: bool) {
        match (std::mem::replace(&mut of.is_behind, is_behind), is_behind) {
            (false, true) => drop(self.behind.fetch_add(1, Relaxed)),
            (true, false) => drop(self.behind.fetch_sub(1, Relaxed)),
            (false, false) | (true, true) => {}
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.backlog.waiting.fetch_sub(state.waiting.len(), Relaxed);
        self.backlog.set_behind(state, false);
    }
}
