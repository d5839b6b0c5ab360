//! A client that watches everything, and comes back after every crash to where it was.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use mvcc::{Commit, Interest, ReadError, Store};

use crate::Violation;

/// A client that watches everything.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// The first revision that it has not seen.
    pub(crate) position: i64,
    live: Option<mvcc::Watcher>,
}

impl Watcher {
    pub(crate) fn new(position: i64) -> Self {
        Self { position, live: None }
    }

    /// The member is gone.
    pub(crate) fn disconnect(&mut self) {
        self.live = None;
    }

    /// The next commit, if there is one now. If compaction has removed what this client wants, it
    /// goes on from what is left, as a client does.
    pub(crate) fn next(&mut self, store: &Arc<Store>) -> Result<Option<Arc<Commit>>, Violation> {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let polled = match &mut self.live {
                Some(live) => live.poll_next(&mut context),
                None => match store.watch(interest(), self.position) {
                    Ok(live) => self.live.insert(live).poll_next(&mut context),
                    Err(error) => Poll::Ready(Err(error)),
                },
            };
            match polled {
                Poll::Pending => return Ok(None),
                Poll::Ready(Ok(commit)) => return Ok(Some(commit)),
                Poll::Ready(Err(ReadError::Compacted)) => {
                    self.live = None;
                    self.position = self.position.max(store.compacted() + 1);
                }
                Poll::Ready(Err(error)) => return Err(Violation::new("watchers", error)),
            }
        }
        Err(Violation::new("watchers", "compacted right after starting at what is left"))
    }
}

fn interest() -> Interest {
    Interest::Path { path: Bytes::from_static(b"/"), recursive: true }
}
