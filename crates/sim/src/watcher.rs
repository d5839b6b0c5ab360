//! A client that watches, and comes back after every crash to where it was.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use mvcc::{Commit, Interest, ReadError, Store};

use crate::Violation;

const NAME: &str = "watch order";

/// What is watched at every member, and whether with all below it. The first hears of everything.
const WATCHED: [(&str, bool); 5] =
    [("/", true), ("/", true), ("/d", true), ("/d/x", false), ("/a", false)];

/// A client that watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) interest: Interest,
    /// The first revision that it has not seen.
    pub(crate) position: i64,
    live: Option<mvcc::Watcher>,
}

impl Watcher {
    /// Those of one member, from the beginning.
    pub(crate) fn all() -> Vec<Self> {
        let watcher = |(path, recursive): &(&'static str, bool)| Self {
            interest: Interest::Path {
                path: Bytes::from_static(path.as_bytes()),
                recursive: *recursive,
            },
            position: 2,
            live: None,
        };
        WATCHED.iter().map(watcher).collect()
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
                None => match store.watch(self.interest.clone(), self.position) {
                    Ok(live) => self.live.insert(live).poll_next(&mut context),
                    Err(error) => Poll::Ready(Err(error)),
                },
            };
            match polled {
                Poll::Pending => return Ok(None),
                Poll::Ready(Ok(commit)) => return Ok(Some(commit)),
                Poll::Ready(Err(ReadError::Compacted)) => {
                    self.live = None;
                    let compacted = store.compacted();
                    if self.position > compacted {
                        let text = format!(
                            "a watcher at {} is told that this was compacted, up to {compacted}",
                            self.position
                        );
                        return Err(Violation::new(NAME, text));
                    }
                    self.position = compacted + 1;
                }
                Poll::Ready(Err(error)) => return Err(Violation::new(NAME, error)),
            }
        }
        Err(Violation::new(NAME, "compacted right after starting at what is left"))
    }
}
