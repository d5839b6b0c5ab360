//! What `fuzz/` reaches: a stream of a peer, as it comes from a socket.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use crate::frame::Frame;

/// Kind, length and checksum.
const HEAD_BYTES: usize = 9;

/// A byte for what the stream is, one for the pieces in which it comes, and its content: frames, what
/// somebody else sent, or that with checksums that are right. Pieces give what the whole gives, and a
/// frame that was read is written as it came.
pub fn frames(data: &[u8]) {
    let [how, piece, rest @ ..] = data else { return };
    let mut stream = rest.to_vec();
    if how % 3 == 0 {
        let frames = described(rest);
        let mut sent = BytesMut::new();
        for frame in &frames {
            frame.write(&mut sent);
        }
        stream = sent.to_vec();
        assert_eq!(read(&stream, stream.len()), (frames, None));
    } else if how % 3 == 1 {
        seal(&mut stream);
    }
    let whole = read(&stream, stream.len());
    assert_eq!(read(&stream, usize::from(*piece)), whole);
    let mut again = BytesMut::new();
    for frame in &whole.0 {
        frame.write(&mut again);
    }
    assert!(stream.starts_with(&again));
    assert!(whole.1.is_some() || stream.len() == again.len());
}

/// For each a byte for its kind and the length of its message.
fn described(mut data: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((what, rest)) = data.split_first() {
        let (payload, rest) = rest.split_at(usize::from(what >> 2).min(rest.len()));
        data = rest;
        let number = payload.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        frames.push(match what & 3 {
            0 => Frame::Ping(number),
            1 => Frame::Pong(number),
            // More than is read at once.
            2 => Frame::Message(payload.repeat(3_000).into()),
            _ => Frame::Message(Bytes::copy_from_slice(payload)),
        });
    }
    frames
}

/// Makes the checksums right, as far as heads lead to one another.
fn seal(mut stream: &mut [u8]) {
    while let Some((head, rest)) = stream.split_first_chunk_mut::<HEAD_BYTES>() {
        let [_, l0, l1, l2, l3, sum @ ..] = head;
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
        let Some((payload, behind)) = rest.split_at_mut_checked(length) else { return };
        *sum = crc32c::crc32c(payload).to_be_bytes();
        stream = behind;
    }
}

/// What comes out, and what ends it but the end of the stream.
fn read(stream: &[u8], piece: usize) -> (Vec<Frame>, Option<String>) {
    // Not too many.
    let piece = piece.max(stream.len() / 1_000).max(1);
    let mut pieces = Pieces { rest: stream, piece, is_there: false };
    let mut frames = Vec::new();
    loop {
        match ready(Frame::read(&mut pieces)) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error.to_string())),
        }
    }
}

/// Asks until it is there: nothing but the asking is waited for.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut cx) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return done;
        }
    }
}

/// Bytes that come in pieces, of which each has to be waited for.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
    is_there: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_there = !self.is_there;
        if self.is_there {
            return Poll::Pending;
        }
        let length = self.piece.min(into.remaining()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(length);
        into.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}
