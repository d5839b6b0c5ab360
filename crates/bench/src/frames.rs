//! Just enough HTTP/2 to call a method of gRPC and see how the call ended, at little cost: requests are
//! bytes that were made before, and of an answer's headers only those that end it are looked at.

use std::net::SocketAddr;

/// What a client says first: the preface, then its settings (it keeps no table of headers, so that the
/// same end of a call is always the same bytes; windows are as large as can be).
pub(crate) fn hello() -> Vec<u8> {
    const LARGEST: u32 = 0x7fff_ffff;
    const DEFAULT_WINDOW: u32 = 65_535;
    let mut settings = Vec::new();
    for (name, value) in [(1_u16, 0_u32), (2, 0), (4, LARGEST)] {
        settings.extend_from_slice(&name.to_be_bytes());
        settings.extend_from_slice(&value.to_be_bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, (kind::SETTINGS, 0, 0), &settings);
    let more = LARGEST - DEFAULT_WINDOW;
    frame(&mut bytes, (kind::WINDOW_UPDATE, 0, 0), &more.to_be_bytes());
    bytes
}

/// The kinds of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
}

/// Of a frame: that it is the last of its stream; or, of settings and pings, that it is an answer.
pub(crate) const END: u8 = 1;
const END_HEADERS: u8 = 4;
/// Length, kind, flags, stream.
pub(crate) const HEAD_BYTES: usize = 9;

/// Appends a frame of this kind, with these flags, on this stream.
pub(crate) fn frame(out: &mut Vec<u8>, (kind, flags, stream): (u8, u8, u32), payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(length.get(1..).unwrap_or_default());
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A call, but for the number of its stream.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    headers: Vec<u8>,
    data: Vec<u8>,
}

impl Call {
    /// A call of a method with one message.
    pub(crate) fn new(endpoint: SocketAddr, path: &str, message: &[u8]) -> Self {
        // `:method: POST`, `:scheme: http`; then literals with names of the fixed table, or their own.
        let mut headers = vec![0x83, 0x86];
        for (name, value) in [
            (&[0x04][..], path),
            (&[0x01], &endpoint.to_string()),
            (&[0x0f, 0x10], "application/grpc"),
            (b"\x00\x02te", "trailers"),
        ] {
            headers.extend_from_slice(name);
            headers.push(u8::try_from(value.len()).unwrap_or(0x7f) & 0x7f);
            headers.extend_from_slice(value.as_bytes());
        }
        Self { headers, data: framed(message) }
    }

    /// What it takes of the windows.
    pub(crate) fn data_bytes(&self) -> usize {
        self.data.len()
    }

    /// The headers alone: what the client says on this stream follows, message by message.
    pub(crate) fn begin(&self, out: &mut Vec<u8>, stream: u32) {
        frame(out, (kind::HEADERS, END_HEADERS, stream), &self.headers);
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, stream: u32) {
        frame(out, (kind::HEADERS, END_HEADERS, stream), &self.headers);
        frame(out, (kind::DATA, END, stream), &self.data);
    }
}

/// A message as gRPC has it: not compressed, and its length before it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// A frame as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of these bytes, and how many it takes; `None`: it is not all there.
    pub(crate) fn first(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = rest.get(..length)?;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Some((Self { kind, flags, stream, payload }, HEAD_BYTES + length))
    }

    pub(crate) fn number(&self) -> u32 {
        self.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// The value of a setting.
    pub(crate) fn setting(&self, name: u16) -> Option<u32> {
        self.payload.chunks_exact(6).find_map(|one| {
            let (found, value) = one.split_first_chunk::<2>()?;
            let value = u32::from_be_bytes(*value.first_chunk()?);
            (u16::from_be_bytes(*found) == name).then_some(value)
        })
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Well,
    /// `RESOURCE_EXHAUSTED`.
    Refused,
    Failed,
}

impl End {
    /// As the headers say it that end a call, to a client without a table of headers.
    pub(crate) fn of(block: &[u8]) -> Self {
        /// `grpc-status`, its length before it, as Huffman has it.
        const STATUS: [u8; 9] = [0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];
        let at = block.windows(STATUS.len()).position(|window| window == STATUS);
        match at.and_then(|at| block.get(at + STATUS.len()..)) {
            // `0` and `8`: as Huffman has them, and as they are.
            Some([0x81, 0x07, ..] | [0x01, b'0', ..]) => Self::Well,
            Some([0x81, 0x7b, ..] | [0x01, b'8', ..]) => Self::Refused,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_are_written() {
        let mut bytes = Vec::new();
        frame(&mut bytes, (kind::PING, END, 0), b"12345678");
        Call::new(([127, 0, 0, 1], 2379).into(), "/a.B/C", b"message").write(&mut bytes, 5);
        let (ping, taken) = Frame::first(&bytes).unwrap();
        assert_eq!((ping.kind, ping.flags, ping.stream, ping.payload), (6, 1, 0, &b"12345678"[..]));
        let rest = &bytes[taken..];
        let (headers, taken) = Frame::first(rest).unwrap();
        assert_eq!((headers.kind, headers.flags, headers.stream), (1, 4, 5));
        let (data, end) = Frame::first(&rest[taken..]).unwrap();
        assert_eq!((data.kind, data.flags, data.stream), (0, 1, 5));
        assert_eq!(data.payload, b"\0\0\0\0\x07message");
        assert_eq!(taken + end, rest.len());
        assert!(Frame::first(&rest[..taken - 1]).is_none());
    }

    #[test]
    fn ends_are_told_apart() {
        let name = [0x00, 0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];
        for (value, end) in [
            (&[0x81, 0x07][..], End::Well),
            (b"\x010", End::Well),
            (&[0x81, 0x7b], End::Refused),
            (b"\x018", End::Refused),
            (b"\x0214", End::Failed),
            (&[], End::Failed),
        ] {
            assert_eq!(End::of(&[&name, value].concat()), end);
        }
        assert_eq!(End::of(b""), End::Failed);
    }
}
