//! A watch as a body: its headers go at once, its events when they happen.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use base::Clock;
use bytes::Bytes;
use state::keys::Watcher;

use super::json;
use crate::context::Over;

/// Events that are sent together if they are there already.
const BATCH_BYTES: usize = 64 * 1024;

/// A long poll or a stream of events. Dropping it, as when the client goes away, ends the watch.
pub(crate) struct WatchBody {
    watcher: Option<Watcher>,
    stream: bool,
    clock: Arc<dyn Clock>,
    over: Over,
}

impl WatchBody {
    pub(crate) fn new(watcher: Watcher, stream: bool, clock: Arc<dyn Clock>, over: Over) -> Self {
        Self { watcher: Some(watcher), stream, clock, over }
    }

    /// The next events, as many as are there.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut out = Vec::new();
        while out.len() < BATCH_BYTES {
            let Some(watcher) = &mut self.watcher else { break };
            match watcher.poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(event)) => {
                    json::write_event(&mut out, &event, self.clock.wall(), false);
                    if !self.stream {
                        self.watcher = None;
                    }
                }
                Poll::Ready(Err(error)) => {
                    // As 2.3.8 does: the body ends, and the client asks again.
                    tracing::debug!(%error, "a watch ends");
                    self.watcher = None;
                }
            }
        }
        if !out.is_empty() {
            return Poll::Ready(Some(out.into()));
        }
        if self.watcher.is_none() || self.over.as_mut().poll(cx).is_ready() {
            self.watcher = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
