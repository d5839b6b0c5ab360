//! A watch as a body: its headers go at once, its events when they happen.

mod permitted;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use base::Clock;
use bytes::Bytes;
use server::Handle;
use state::{apply::Reader, keys::Watcher};

pub(crate) use self::permitted::{Permitted, Watches};
use super::json;
use crate::context::Over;

/// Events that are sent together if they are there already.
const BATCH_BYTES: usize = 64 * 1024;

/// A long poll or a stream of events. Dropping it, as when the client goes away, ends the watch.
pub(crate) struct WatchBody {
    watcher: Option<Watcher>,
    permitted: Permitted,
    reader: Arc<Reader>,
    stream: bool,
    clock: Arc<dyn Clock>,
    over: Over,
}

impl WatchBody {
    pub(crate) fn new(
        (watcher, permitted): (Watcher, Permitted),
        stream: bool,
        handle: &Handle,
        over: Over,
    ) -> Self {
        let (reader, clock) = (Arc::clone(handle.reader()), Arc::clone(handle.clock()));
        Self { watcher: Some(watcher), permitted, reader, stream, clock, over }
    }

    /// The next events, as many as are there.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut out = Vec::new();
        while out.len() < BATCH_BYTES {
            let Some(watcher) = &mut self.watcher else { break };
            match watcher.poll_next(cx) {
                Poll::Pending => break,
                // Asked behind the event: it was written before users became what they are now, or may be
                // read. Its head was sent long ago: whoever asks again is told why.
                Poll::Ready(Ok(_)) if !self.permitted.holds(&self.reader) => {
                    tracing::debug!("a watch ends: it is not permitted any more");
                    self.watcher = None;
                }
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
