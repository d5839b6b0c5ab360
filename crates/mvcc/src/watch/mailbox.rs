//! The commits that wait for one watcher.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Waker},
};

use base::limits::WATCHER_COMMITS_WAITING_MAX;
use parking_lot::Mutex;

use crate::record::Commit;

/// A bounded queue that says when it has lost something.
#[derive(Debug)]
pub(crate) struct Mailbox(Mutex<State>);

#[derive(Debug)]
struct State {
    waiting: VecDeque<Arc<Commit>>,
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
    pub(crate) fn new(since: i64) -> Self {
        Self(Mutex::new(State { waiting: VecDeque::new(), next: since, lost: None, waker: None }))
    }

    /// Adds a commit, once; returns whom to wake.
    pub(crate) fn offer(&self, commit: &Arc<Commit>) -> Option<Waker> {
        let mut state = self.0.lock();
        if commit.main < state.next {
            return None;
        }
        state.next = commit.main + 1;
        if state.lost.is_some() {
            return None;
        }
        if state.waiting.len() < WATCHER_COMMITS_WAITING_MAX {
            state.waiting.push_back(Arc::clone(commit));
        } else {
            state.lost = Some(commit.main);
        }
        state.waker.take()
    }

    /// What happened after `offered`, up to `revision`, is left to history; returns whom to wake.
    pub(crate) fn skip(&self, offered: i64, revision: i64) -> Option<Waker> {
        let mut state = self.0.lock();
        state.next = state.next.max(revision + 1);
        state.lost = state.lost.or(Some(offered + 1));
        state.waker.take()
    }

    pub(crate) fn take(&self, cx: &Context<'_>) -> Taken {
        let mut state = self.0.lock();
        if let Some(commit) = state.waiting.pop_front() {
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
