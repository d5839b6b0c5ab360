//! `--grpc-keepalive-min-time`: who asks for signs of life (PING) more often than that is sent away, in
//! the way of grpc-go, whose clients then ask less often.

use std::{collections::BTreeSet, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::time::Instant;

/// What stands before each frame of HTTP/2.
pub(crate) const FRAME_HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
/// Of PING.
const ACK: u8 = 1;
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// By this word clients of Go know what they did.
const WHY: &[u8] = b"too_many_pings";
/// So many questions that come too early are let pass.
const STRIKES_MAX: u32 = 2;
/// Where nothing is under way there is nothing to ask for: so often is enough (grpc-go).
const IDLE_MIN_TIME: Duration = Duration::from_hours(2);

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) fn read(bytes: [u8; FRAME_HEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1);
        Self { length, kind, flags, stream }
    }
}

/// Watches how often one client asks.
#[derive(Debug)]
pub(crate) struct Calm {
    /// Zero: as often as it likes.
    min_time: Duration,
    strikes: u32,
    asked_at: Option<Instant>,
    /// Requests that are under way.
    streams: BTreeSet<u32>,
    last_stream: u32,
}

impl Calm {
    pub(crate) fn new(min_time: Duration) -> Self {
        Self { min_time, strikes: 0, asked_at: None, streams: BTreeSet::new(), last_stream: 0 }
    }

    /// A frame has begun to come.
    pub(crate) fn received(&mut self, head: Head, now: Instant) {
        match head.kind {
            HEADERS => {
                self.last_stream = self.last_stream.max(head.stream);
                self.streams.insert(head.stream);
            }
            RST_STREAM => {
                self.streams.remove(&head.stream);
            }
            PING if head.flags & ACK == 0 => self.asked(now),
            _ => {}
        }
    }

    /// A frame has begun to go out.
    pub(crate) fn sent(&mut self, head: Head) {
        if matches!(head.kind, DATA | HEADERS) {
            // Whoever gets something may look how much comes by asking.
            self.strikes = 0;
            self.asked_at = None;
        }
        let ends = matches!(head.kind, DATA | HEADERS) && head.flags & END_STREAM != 0;
        if ends || head.kind == RST_STREAM {
            self.streams.remove(&head.stream);
        }
    }

    fn asked(&mut self, now: Instant) {
        let min_time = if self.streams.is_empty() { IDLE_MIN_TIME } else { self.min_time };
        let is_early = self.asked_at.is_some_and(|before| now - before < min_time);
        self.asked_at = Some(now);
        if is_early && !self.min_time.is_zero() {
            self.strikes += 1;
        }
    }

    /// The frame to send a client away with that has asked too often.
    pub(crate) fn goodbye(&self) -> Option<Bytes> {
        if self.strikes <= STRIKES_MAX {
            return None;
        }
        let mut frame = BytesMut::with_capacity(FRAME_HEAD_BYTES + 8 + WHY.len());
        frame.put_uint((8 + WHY.len()) as u64, 3);
        frame.put_u8(GOAWAY);
        frame.put_u8(0);
        frame.put_u32(0);
        frame.put_u32(self.last_stream);
        frame.put_u32(ENHANCE_YOUR_CALM);
        frame.put_slice(WHY);
        Some(frame.freeze())
    }
}

/// Follows the frames of a connection, whatever the pieces in which they go.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; FRAME_HEAD_BYTES],
    /// How much of `head` has gone.
    filled: usize,
    /// What is left of the frame behind it.
    left: usize,
}

impl Frames {
    /// These bytes have gone; calls `begun` for each frame whose head is whole with them.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], mut begun: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.left -= skipped;
            for (byte, place) in bytes.iter().zip(self.head.iter_mut().skip(self.filled)) {
                *place = *byte;
            }
            let taken = bytes.len().min(FRAME_HEAD_BYTES - self.filled);
            bytes = bytes.get(taken..).unwrap_or_default();
            self.filled += taken;
            if self.filled == FRAME_HEAD_BYTES {
                let head = Head::read(self.head);
                (self.filled, self.left) = (0, head.length);
                begun(head);
            }
        }
    }

    /// Whether the last frame is out as a whole.
    pub(crate) fn is_between(&self) -> bool {
        self.filled == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN_TIME: Duration = Duration::from_secs(5);

    fn head(kind: u8, flags: u8, stream: u32) -> Head {
        Head { length: 8, kind, flags, stream }
    }

    /// Asks so often, with so much time between.
    fn ask(calm: &mut Calm, times: u32, apart: Duration) -> bool {
        let begun = Instant::now();
        for at in 0..times {
            calm.received(head(PING, 0, 0), begun + apart * at);
        }
        calm.goodbye().is_some()
    }

    #[test]
    fn three_questions_that_come_too_early_are_too_many() {
        let busy = || {
            let mut calm = Calm::new(MIN_TIME);
            calm.received(head(HEADERS, 0, 1), Instant::now());
            calm
        };
        assert!(!ask(&mut busy(), 3, Duration::from_secs(1)));
        assert!(ask(&mut busy(), 4, Duration::from_secs(1)));
        assert!(!ask(&mut busy(), 100, MIN_TIME));
        // An answer to our own question is none.
        let mut calm = busy();
        for _ in 0..10 {
            calm.received(head(PING, ACK, 0), Instant::now());
        }
        assert_eq!(calm.goodbye(), None);
        // Whoever is sent something may ask.
        let mut calm = busy();
        for _ in 0..10 {
            calm.sent(head(DATA, 0, 1));
            assert!(!ask(&mut calm, 3, Duration::ZERO));
        }
    }

    #[test]
    fn where_nothing_is_under_way_once_in_two_hours_is_enough() {
        let minute = Duration::from_mins(1);
        assert!(ask(&mut Calm::new(MIN_TIME), 4, minute));
        let mut ended = Calm::new(MIN_TIME);
        ended.received(head(HEADERS, END_STREAM, 1), Instant::now());
        assert!(!ask(&mut ended, 4, minute));
        ended.sent(head(HEADERS, END_STREAM, 1));
        assert!(ask(&mut ended, 4, minute));
        assert!(!ask(&mut Calm::new(MIN_TIME), 4, IDLE_MIN_TIME));
        assert!(!ask(&mut Calm::new(Duration::ZERO), 100, Duration::ZERO));
    }

    #[test]
    fn frames_are_told_from_one_another_in_whatever_pieces_they_go() {
        let mut bytes = BytesMut::new();
        for (length, kind) in [(0_u64, PING), (3, DATA), (8, PING)] {
            bytes.put_uint(length, 3);
            bytes.put_slice(&[kind, 1, 0, 0, 0, 5]);
            bytes.put_bytes(9, usize::try_from(length).unwrap());
        }
        for size in 1..=bytes.len() {
            let (mut frames, mut begun) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                frames.pass(piece, |head| begun.push((head.length, head.kind, head.stream)));
            }
            assert_eq!(begun, [(0, PING, 5), (3, DATA, 5), (8, PING, 5)], "{size}");
            assert!(frames.is_between());
        }
        let mut frames = Frames::default();
        frames.pass(&bytes[..12], |_| {});
        assert!(!frames.is_between());
    }
}
