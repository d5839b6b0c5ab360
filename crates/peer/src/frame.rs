//! What goes over a stream: a head of nine bytes, then the payload.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Kind, length of the payload and its CRC32C.
const HEAD_BYTES: usize = 9;
/// More than any message has: entries of a megabyte, and one that may be larger.
const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Read from a peer at once: under load messages are small, and many.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// The number of no ping: a pong of this number says that bytes come, though no whole frame yet.
pub(crate) const SIGN_OF_LIFE: u64 = 0;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Message(Bytes),
    /// To be answered with the same number, which is not that of the sign of life.
    Ping(u64),
    Pong(u64),
}

impl Frame {
    pub(crate) fn write(&self, out: &mut BytesMut) {
        let number;
        let (kind, payload) = match self {
            Self::Message(payload) => (0, &payload[..]),
            Self::Ping(value) => {
                number = value.to_be_bytes();
                (1, &number[..])
            }
            Self::Pong(value) => {
                number = value.to_be_bytes();
                (2, &number[..])
            }
        };
        out.reserve(HEAD_BYTES + payload.len());
        out.put_u8(kind);
        // Bounded by the queue.
        out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        out.put_u32(crc32c::crc32c(payload));
        out.put_slice(payload);
    }

    /// The next one; `None` where the stream ends between two.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD_BYTES];
        if stream.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut head[1..]).await?;
        let [kind, l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(bad(format!("a message of {length} bytes")));
        }
        // Filled as it comes: a length alone takes no memory to speak of.
        let mut payload = BytesMut::with_capacity(length.min(READ_BYTES));
        let mut limited = stream.take(length as u64);
        while payload.len() < length {
            if limited.read_buf(&mut payload).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if crc32c::crc32c(&payload) != u32::from_be_bytes([c0, c1, c2, c3]) {
            return Err(bad("a message whose checksum is wrong".to_owned()));
        }
        let number = || payload.as_ref().try_into().map(u64::from_be_bytes);
        match (kind, number()) {
            (0, _) => Ok(Some(Self::Message(payload.freeze()))),
            (1, Ok(number)) => Ok(Some(Self::Ping(number))),
            (2, Ok(number)) => Ok(Some(Self::Pong(number))),
            _ => Err(bad(format!("a message of kind {kind}"))),
        }
    }
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(frames: &[Frame]) -> BytesMut {
        let mut out = BytesMut::new();
        for frame in frames {
            frame.write(&mut out);
        }
        out
    }

    async fn read(mut bytes: &[u8]) -> io::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = Frame::read(&mut bytes).await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let frames = [
            Frame::Message(Bytes::from_static(b"hello")),
            Frame::Ping(7),
            Frame::Message(Bytes::new()),
            Frame::Pong(u64::MAX),
        ];
        assert_eq!(read(&written(&frames)).await.unwrap(), frames);
    }

    #[tokio::test]
    async fn what_is_damaged_or_cut_off_or_too_large_is_an_error() {
        let good = written(&[Frame::Message(Bytes::from_static(b"hello"))]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(read(&bad).await.is_err(), "byte {at}");
            assert!(at == 0 || read(&good[..at]).await.is_err(), "cut at {at}");
        }
        let mut huge = good.clone();
        huge[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
        let error = read(&huge).await.unwrap_err();
        assert!(error.to_string().contains("4294967295 bytes"), "{error}");
    }
}
