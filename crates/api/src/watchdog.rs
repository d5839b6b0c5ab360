//! Notices what a connection has done, and one that sends a request's head too slowly.
//!
//! hyper's own header timeout also ends connections that are merely idle, which clients keep in
//! their pools for long, and sets a timer for every request. Here a connection is looked at now
//! and then: bytes without a request for two looks in a row, and it goes.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::header;

use crate::{body::ReplyBody, reply::Reply};

/// Between two looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// What a connection has done so far. Only its own task looks at it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Reads that brought bytes.
    reads: AtomicU64,
    /// Reads as they stood when the last answer was there.
    reads_at_answer: AtomicU64,
    /// Requests under way.
    running: AtomicU64,
    /// The last answer is a watch.
    watching: AtomicBool,
    /// The last answer was given before its request had been read to the end.
    refused: AtomicBool,
    /// The server stops.
    stopping: AtomicBool,
}

impl Activity {
    /// Bytes have come.
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Relaxed);
    }

    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.running.fetch_add(1, Relaxed);
        self.watching.store(false, Relaxed);
    }

    /// The answer is there, though perhaps not its whole body.
    pub(crate) fn end(&self, reply: &Reply) {
        self.reads_at_answer.store(self.reads.load(Relaxed), Relaxed);
        self.running.fetch_sub(1, Relaxed);
        self.watching.store(matches!(reply.body(), ReplyBody::Watch(_)), Relaxed);
        self.refused.store(reply.headers().contains_key(header::CONNECTION), Relaxed);
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Whether part of a request's head has come, and no request is under way.
    pub(crate) fn has_partial_head(&self) -> bool {
        self.running.load(Relaxed) == 0
            && self.reads.load(Relaxed) != self.reads_at_answer.load(Relaxed)
    }

    /// Whether a watch is being answered, which a client ends by going away.
    pub(crate) fn is_watching(&self) -> bool {
        self.watching.load(Relaxed)
    }

    /// Whether the client may still be sending what nobody will read.
    pub(crate) fn leaves_unread(&self) -> bool {
        let unread = self.refused.load(Relaxed) || self.has_partial_head();
        unread && !self.stopping.load(Relaxed)
    }
}
