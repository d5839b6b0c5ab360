//! The commits that wait for one watcher.

use std::{
    collections::VecDeque,
    sync::Arc,
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
    pub(crate) fn new(interest: &Interest, since: i64) -> Self {
        let records_max = match interest {
            Interest::Keys { .. } => WATCHER_RECORDS_WAITING_MAX,
            // It needs all: what v2 tells is numbered.
            Interest::Path { .. } => usize::MAX,
        };
        let waiting = VecDeque::new();
        let state = State { waiting, bytes: 0, next: since, lost: None, waker: None };
        Self { state: Mutex::new(state), records_max }
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
        } else {
            state.lost = Some(commit.main);
        }
        state.waker.take()
    }

    /// What happened after `offered`, up to `revision`, is left to history; returns whom to wake.
    pub(crate) fn skip(&self, offered: i64, revision: i64) -> Option<Waker> {
        let mut state = self.state.lock();
        state.next = state.next.max(revision + 1);
        state.lost = state.lost.or(Some(offered + 1));
        state.waker.take()
    }

    pub(crate) fn take(&self, cx: &Context<'_>) -> Taken {
        let mut state = self.state.lock();
        if let Some((commit, bytes)) = state.waiting.pop_front() {
            state.bytes -= bytes;
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
