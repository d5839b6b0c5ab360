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
    /// Something did not fit; it, and all that followed, is left to history.
    overflowed: bool,
    waker: Option<Waker>,
}

/// What [`Mailbox::take`] finds.
pub(crate) enum Taken {
    Commit(Arc<Commit>),
    /// Commits were lost after the last one taken. From now on they are kept again.
    Overflowed,
    /// The waker will be woken.
    Nothing,
}

impl Mailbox {
    pub(crate) fn new(since: i64) -> Self {
        Self(Mutex::new(State {
            waiting: VecDeque::new(),
            next: since,
            overflowed: false,
            waker: None,
        }))
    }

    /// Adds a commit, once; returns whom to wake.
    pub(crate) fn offer(&self, commit: &Arc<Commit>) -> Option<Waker> {
        let mut state = self.0.lock();
        if commit.main < state.next {
            return None;
        }
        state.next = commit.main + 1;
        if state.overflowed {
            return None;
        }
        if state.waiting.len() < WATCHER_COMMITS_WAITING_MAX {
            state.waiting.push_back(Arc::clone(commit));
        } else {
            state.overflowed = true;
        }
        state.waker.take()
    }

    /// What happened up to `revision` is left to history; returns whom to wake.
    pub(crate) fn skip(&self, revision: i64) -> Option<Waker> {
        let mut state = self.0.lock();
        state.next = state.next.max(revision + 1);
        state.overflowed = true;
        state.waker.take()
    }

    pub(crate) fn take(&self, cx: &Context<'_>) -> Taken {
        let mut state = self.0.lock();
        if let Some(commit) = state.waiting.pop_front() {
            return Taken::Commit(commit);
        }
        if std::mem::take(&mut state.overflowed) {
            return Taken::Overflowed;
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
