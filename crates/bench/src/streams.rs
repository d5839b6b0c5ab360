//! One connection of HTTP/2 with streams on which both sides go on talking: watches and keep-alives.

use std::{
    collections::{BTreeMap, VecDeque},
    io::ErrorKind,
    net::SocketAddr,
};

use anyhow::{Context as _, bail, ensure};
use tokio::net::TcpStream;

use crate::frames::{self, Call, END, End, Frame, kind};

const READ_BYTES: usize = 64 << 10;
/// As every connection and every stream begins.
const WINDOW: i64 = 65_535;
/// After so much on the connection, or on a stream, the other side may send as much again.
const RECEIVED_BYTES_MAX: u32 = 1 << 29;

/// What a stream has to say.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// A whole message of gRPC.
    Message(&'a [u8]),
    Ended(End),
}

/// A connection with its streams.
pub(crate) struct Line {
    endpoint: SocketAddr,
    socket: TcpStream,
    next_stream: u32,
    streams: BTreeMap<u32, Stream>,
    /// What the other side takes on the connection, and on a stream that begins.
    window: i64,
    window_of_streams: i64,
    received: u32,
    out: VecDeque<u8>,
    read: Vec<u8>,
}

/// One of its streams.
struct Stream {
    window: i64,
    /// Messages for which there was no room in a window, and whether they are the stream's last.
    waiting: VecDeque<(Vec<u8>, bool)>,
    received: u32,
    /// Of a message that is not all there.
    partial: Vec<u8>,
}

impl Line {
    pub(crate) async fn open(endpoint: SocketAddr) -> anyhow::Result<Self> {
        let socket =
            TcpStream::connect(endpoint).await.with_context(|| format!("connect to {endpoint}"))?;
        socket.set_nodelay(true)?;
        Ok(Self {
            endpoint,
            socket,
            next_stream: 1,
            streams: BTreeMap::new(),
            window: WINDOW,
            window_of_streams: WINDOW,
            received: 0,
            out: frames::hello().into(),
            read: Vec::with_capacity(READ_BYTES),
        })
    }

    /// Begins a call of this method, whose messages follow.
    pub(crate) fn begin(&mut self, path: &str) -> u32 {
        let number = self.next_stream;
        self.next_stream += 2;
        let mut bytes = Vec::new();
        Call::new(self.endpoint, path, &[]).begin(&mut bytes, number);
        self.out.extend(bytes);
        let stream = Stream {
            window: self.window_of_streams,
            waiting: VecDeque::new(),
            received: 0,
            partial: Vec::new(),
        };
        self.streams.insert(number, stream);
        number
    }

    /// Says this on a stream; it goes out with the next `turn`.
    pub(crate) fn say(&mut self, stream: u32, message: &[u8], is_last: bool) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.waiting.push_back((frames::framed(message), is_last));
        }
        self.send_waiting(stream);
    }

    fn send_waiting(&mut self, number: u32) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        while let Some((bytes, is_last)) = stream.waiting.front() {
            let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            if length > self.window.min(stream.window) {
                return;
            }
            self.window -= length;
            stream.window -= length;
            let mut framed = Vec::with_capacity(bytes.len() + frames::HEAD_BYTES);
            frames::frame(&mut framed, (kind::DATA, u8::from(*is_last) * END, number), bytes);
            self.out.extend(framed);
            stream.waiting.pop_front();
        }
    }

    /// A call with one message, to its end.
    pub(crate) async fn call(&mut self, path: &str, message: &[u8]) -> anyhow::Result<()> {
        let stream = self.begin(path);
        self.say(stream, message, true);
        let mut end = None;
        while end.is_none() {
            let tell = &mut |of, said: Said<'_>| {
                if let Said::Ended(how) = said {
                    end = end.or((of == stream).then_some(how));
                }
                Ok(())
            };
            self.turn(tell).await?;
        }
        ensure!(end == Some(End::Well), "a call of {path} failed");
        Ok(())
    }

    /// Sends what is to be sent, waits until something comes, and tells what has come whole.
    pub(crate) async fn turn(
        &mut self,
        tell: &mut dyn FnMut(u32, Said<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.write()?;
        tokio::select! {
            ready = self.socket.readable() => {
                ready?;
                self.receive(tell)
            }
            ready = self.socket.writable(), if !self.out.is_empty() => Ok(ready?),
        }
    }

    /// Sends what goes out at once.
    pub(crate) fn write(&mut self) -> anyhow::Result<()> {
        while !self.out.is_empty() {
            match self.socket.try_write(self.out.as_slices().0) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        tell: &mut dyn FnMut(u32, Said<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.read.reserve(READ_BYTES);
        match self.socket.try_read_buf(&mut self.read) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let read = std::mem::take(&mut self.read);
        let mut at = 0;
        while let Some((frame, taken)) = read.get(at..).and_then(Frame::first) {
            self.take(frame, tell)?;
            at += taken;
        }
        self.read = read;
        self.read.drain(..at);
        Ok(())
    }

    fn take(
        &mut self,
        frame: Frame<'_>,
        tell: &mut dyn FnMut(u32, Said<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut answer = Vec::new();
        match frame.kind {
            kind::DATA => self.take_data(frame, tell)?,
            kind::HEADERS if frame.flags & END != 0 => {
                self.streams.remove(&frame.stream);
                tell(frame.stream, Said::Ended(End::of(frame.payload)))?;
            }
            kind::RST_STREAM => {
                self.streams.remove(&frame.stream);
                tell(frame.stream, Said::Ended(End::Failed))?;
            }
            kind::SETTINGS if frame.flags & END == 0 => {
                if let Some(window) = frame.setting(4) {
                    let more = i64::from(window) - self.window_of_streams;
                    self.window_of_streams += more;
                    self.streams.values_mut().for_each(|stream| stream.window += more);
                }
                frames::frame(&mut answer, (kind::SETTINGS, END, 0), &[]);
                self.send_all_waiting();
            }
            kind::PING if frame.flags & END == 0 => {
                frames::frame(&mut answer, (kind::PING, END, 0), frame.payload);
            }
            kind::WINDOW_UPDATE if frame.stream == 0 => {
                self.window += i64::from(frame.number());
                self.send_all_waiting();
            }
            kind::WINDOW_UPDATE => {
                if let Some(stream) = self.streams.get_mut(&frame.stream) {
                    stream.window += i64::from(frame.number());
                }
                self.send_waiting(frame.stream);
            }
            kind::GOAWAY => bail!("the server sends its client away"),
            _ => {}
        }
        self.out.extend(answer);
        Ok(())
    }

    fn send_all_waiting(&mut self) {
        let is_waiting =
            |(number, stream): (&u32, &Stream)| (!stream.waiting.is_empty()).then_some(*number);
        let waiting: Vec<u32> = self.streams.iter().filter_map(is_waiting).collect();
        for number in waiting {
            self.send_waiting(number);
        }
    }

    fn take_data(
        &mut self,
        frame: Frame<'_>,
        tell: &mut dyn FnMut(u32, Said<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(stream) = self.streams.get_mut(&frame.stream) else { return Ok(()) };
        let length = u32::try_from(frame.payload.len())?;
        let mut answer = Vec::new();
        for (number, received) in [(0, &mut self.received), (frame.stream, &mut stream.received)] {
            *received += length;
            if *received > RECEIVED_BYTES_MAX {
                let more = std::mem::take(received).to_be_bytes();
                frames::frame(&mut answer, (kind::WINDOW_UPDATE, 0, number), &more);
            }
        }
        self.out.extend(answer);
        let mut rest = if stream.partial.is_empty() {
            frame.payload
        } else {
            stream.partial.extend_from_slice(frame.payload);
            &stream.partial
        };
        while let Some((message, behind)) = first_message(rest)? {
            tell(frame.stream, Said::Message(message))?;
            rest = behind;
        }
        stream.partial = rest.to_vec();
        Ok(())
    }
}

/// The first message of these bytes, and what is behind it; `None`: it is not all there.
fn first_message(bytes: &[u8]) -> anyhow::Result<Option<(&[u8], &[u8])>> {
    let Some(([compressed, length @ ..], rest)) = bytes.split_first_chunk::<5>() else {
        return Ok(None);
    };
    ensure!(*compressed == 0, "a message is compressed, which nobody has asked for");
    Ok(rest.split_at_checked(u32::from_be_bytes(*length) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_when_they_are_all_there() {
        let two = [frames::framed(b"first"), frames::framed(b"")].concat();
        let (first, rest) = first_message(&two).unwrap().unwrap();
        assert_eq!(first, b"first");
        assert_eq!(first_message(rest).unwrap(), Some((&b""[..], &b""[..])));
        assert_eq!(first_message(&two[..9]).unwrap(), None);
        assert_eq!(first_message(&two[..4]).unwrap(), None);
        assert!(first_message(b"\x01\0\0\0\0").is_err());
    }
}
