//! What is known of a stream that is being written to, and when it is given up.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::{
    Timeouts,
    frame::{Frame, SIGN_OF_LIFE},
};

pub(crate) struct Standing {
    timeouts: Timeouts,
    /// When the peer was last heard: what it says is that it reads.
    heard: Instant,
    /// The last ping, and when it was sent if it has no answer yet.
    pinged: (u64, Option<Instant>),
    /// What is being written, or was last.
    batch: Batch,
    /// The ping that was sent behind all messages so far, if there is one: its answer says that they
    /// have been read.
    behind: Option<u64>,
}

struct Batch {
    bytes: usize,
    written: usize,
    since: Instant,
    /// When the last of them were written.
    moved: Instant,
}

impl Standing {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        let now = Instant::now();
        let batch = Batch { bytes: 0, written: 0, since: now, moved: now };
        Self { timeouts, heard: now, pinged: (SIGN_OF_LIFE, None), batch, behind: None }
    }

    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    /// How long the last ping took, if this is its answer.
    pub(crate) fn hear(&mut self, frame: &Frame) -> Option<Duration> {
        self.heard = Instant::now();
        let (number, sent) = self.pinged;
        let sent = sent.filter(|_| *frame == Frame::Pong(number))?;
        self.pinged.1 = None;
        Some(sent.elapsed())
    }

    /// Whether this frame says that all that was written has been read.
    pub(crate) fn is_behind_all(&self, frame: &Frame) -> bool {
        matches!(frame, Frame::Pong(number) if self.behind == Some(*number))
    }

    /// Writes the next ping, if the last one is answered.
    pub(crate) fn ping(&mut self, out: &mut BytesMut) {
        let (number, sent) = &mut self.pinged;
        if sent.is_none() {
            *number += 1;
            *sent = Some(Instant::now());
            self.behind = Some(*number);
            Frame::Ping(*number).write(out);
        }
    }

    /// Messages are written behind all pings.
    pub(crate) fn messages(&mut self) {
        self.behind = None;
    }

    pub(crate) fn begins(&mut self, bytes: usize) {
        let now = Instant::now();
        self.batch = Batch { bytes, written: 0, since: now, moved: now };
    }

    pub(crate) fn writes(&mut self, bytes: usize) {
        self.batch.written += bytes;
        self.batch.moved = Instant::now();
    }

    /// When it is to be given up, as things are: the peer answers pings, and says once a second that it
    /// reads what is before them. While it says so what is written moves, in whatever portions the system
    /// takes it.
    pub(crate) fn given_up_at(&self) -> Instant {
        let Timeouts { read, write } = self.timeouts;
        let until = self.heard + read;
        if self.batch.written == self.batch.bytes {
            return until;
        }
        until.min(self.heard.max(self.batch.moved) + write)
    }

    /// Why it is given up.
    pub(crate) fn silent(&self) -> String {
        let Batch { bytes, written, since, .. } = self.batch;
        let seconds = self.heard.elapsed().as_secs();
        if written == bytes {
            return format!("no answer for {seconds} s");
        }
        let took = since.elapsed();
        let per_second = u128::try_from(written).unwrap_or(0) * 1_000 / took.as_millis().max(1);
        format!(
            "no answer for {seconds} s, and of {bytes} bytes {written} went out within {took:.1?} \
             ({per_second} bytes a second)"
        )
    }
}
