//! A connection's bytes: counted, and closed so that the last answer arrives.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use tls::Socket;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::{
    authority::Authorities,
    calm::{Calm, Frames},
    ops::metrics::grpc::Traffic,
    port::Wire,
    watchdog::Activity,
};

/// How long a client may go on sending after it was refused.
const LINGER: Duration = Duration::from_secs(3);
/// What is read of HTTP/2 at once.
const CHUNK_BYTES: usize = 16 << 10;
/// How much it may send.
const LINGER_BYTES_MAX: usize = 32 << 20;

/// A client's connection.
pub(crate) struct Stream {
    wire: Wire,
    activity: Arc<Activity>,
    is_shut: bool,
    linger: Option<Linger>,
    /// Of HTTP/2.
    multiplexed: Option<Multiplexed>,
}

/// What is done with the bytes of HTTP/2.
struct Multiplexed {
    traffic: Arc<Traffic>,
    authorities: Authorities,
    /// Looked through, and not read yet.
    ready: BytesMut,
    /// There is more, but others come first: what is answered is to be sent, whoever asks for more.
    goes_on: bool,
    calm: Calm,
    /// What goes out.
    outgoing: Frames,
    /// What the client is sent away with, as far as it is not out.
    goodbye: Option<Bytes>,
}

impl Multiplexed {
    fn poll_read(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.ready.is_empty() {
            if let Some(goodbye) = self.calm.goodbye() {
                // In the middle of a frame it waits for the rest: see `written`.
                let is_begun = self.goodbye.is_some();
                if !is_begun && !self.outgoing.is_between() {
                    return Poll::Pending;
                }
                self.goodbye.get_or_insert(goodbye);
                return self.poll_goodbye(wire, cx).map(Err);
            }
            if std::mem::take(&mut self.goes_on) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut chunk = [MaybeUninit::uninit(); CHUNK_BYTES];
            let mut read = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut *wire).poll_read(cx, &mut read))?;
            self.goes_on = read.remaining() == 0;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.traffic.received(read.filled().len());
            let (calm, now) = (&mut self.calm, Instant::now());
            self.authorities.pass(read.filled(), &mut self.ready, |head| calm.received(head, now));
        }
        let length = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready.split_to(length));
        Poll::Ready(Ok(()))
    }

    /// Sends a client away; the error is what ends the connection then.
    fn poll_goodbye(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Error> {
        while let Some(left) = self.goodbye.as_mut().filter(|left| !left.is_empty()) {
            match ready!(Pin::new(&mut *wire).poll_write(cx, left)) {
                Ok(0) => return Poll::Ready(io::ErrorKind::WriteZero.into()),
                Ok(length) => left.advance(length),
                Err(error) => return Poll::Ready(error),
            }
        }
        if let Err(error) = ready!(Pin::new(&mut *wire).poll_flush(cx)) {
            return Poll::Ready(error);
        }
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "too many pings"))
    }

    /// These bytes are out.
    fn written(&mut self, bytes: &[u8], cx: &Context<'_>) {
        self.traffic.sent(bytes.len());
        let calm = &mut self.calm;
        self.outgoing.pass(bytes, |head| calm.sent(head));
        if self.calm.goodbye().is_some() && self.outgoing.is_between() {
            cx.waker().wake_by_ref();
        }
    }
}

impl Stream {
    pub(crate) fn new(wire: Wire, activity: Arc<Activity>) -> Self {
        Self { wire, activity, is_shut: false, linger: None, multiplexed: None }
    }

    /// It speaks HTTP/2; its bytes are counted. Who asks for signs of life more often than once in
    /// `min_time` is sent away.
    pub(crate) fn multiplexed(self, traffic: Arc<Traffic>, min_time: Duration) -> Self {
        let multiplexed = Multiplexed {
            traffic,
            authorities: Authorities::new(is_of_a_file(&self.wire)),
            ready: BytesMut::new(),
            goes_on: false,
            calm: Calm::new(min_time),
            outgoing: Frames::default(),
            goodbye: None,
        };
        Self { multiplexed: Some(multiplexed), ..self }
    }

    /// The error, if the client is on its way out.
    fn poll_sent_away(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.multiplexed {
            Some(multiplexed) if multiplexed.goodbye.is_some() => {
                multiplexed.poll_goodbye(&mut self.wire, cx).map(Err)
            }
            Some(_) | None => Poll::Ready(Ok(())),
        }
    }

    /// Whether the client has ended a plain connection, or its half of it; what it sent before must have
    /// been read. With TLS nobody goes on listening who has said good-bye: there hyper looks.
    fn ended(&self, cx: &mut Context<'_>) -> Option<Ended> {
        let Wire::Plain(socket) = &self.wire else { return None };
        match socket.poll_peek(cx, &mut [0]) {
            Poll::Ready(Ok(0)) => Some(Ended::Half),
            Poll::Ready(Err(_)) => Some(Ended::Whole),
            Poll::Ready(Ok(_)) | Poll::Pending => None,
        }
    }

    /// Whether there is nobody any more for what is under way; looked at where that makes a difference.
    fn is_abandoned(&self, cx: &mut Context<'_>) -> bool {
        if self.activity.is_watching() {
            return self.ended(cx).is_some();
        }
        let presence = self.activity.presence();
        if self.multiplexed.is_some() || !presence.is_waiting() {
            return false;
        }
        let ended = self.ended(cx);
        if ended == Some(Ended::Half) {
            presence.hang_up();
        }
        ended == Some(Ended::Whole)
    }
}

/// What a client has ended of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It asks nothing more; nobody can tell whether it listens.
    Half,
    /// It was reset.
    Whole,
}

fn is_of_a_file(wire: &Wire) -> bool {
    let socket = match wire {
        Wire::Plain(socket) => socket,
        Wire::Tls(stream) => stream.socket(),
    };
    matches!(socket, Socket::Unix(_))
}

/// Throws away what still comes, for a while. A socket that is closed with unread bytes resets the
/// connection, and the client's system then forgets the answer that it already has.
struct Linger {
    until: Pin<Box<Sleep>>,
    discarded: usize,
}

impl Linger {
    fn new() -> Self {
        Self { until: Box::pin(sleep(LINGER)), discarded: 0 }
    }

    fn poll_end(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 16 * 1024];
        while self.discarded < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *wire).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.discarded += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.until.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let result = match &mut this.multiplexed {
            None => Pin::new(&mut this.wire).poll_read(cx, buffer),
            Some(multiplexed) => multiplexed.poll_read(&mut this.wire, cx, buffer),
        };
        if buffer.filled().len() > before {
            this.activity.read();
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent_away(cx))?;
        let length = ready!(Pin::new(&mut self.wire).poll_write(cx, data))?;
        if let Some(multiplexed) = &mut self.multiplexed {
            multiplexed.written(data.get(..length).unwrap_or(data), cx);
        }
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent_away(cx))?;
        let length = ready!(Pin::new(&mut self.wire).poll_write_vectored(cx, data))?;
        if let Some(multiplexed) = &mut self.multiplexed {
            let mut left = length;
            for slice in data {
                let gone = slice.get(..left.min(slice.len())).unwrap_or(slice);
                multiplexed.written(gone, cx);
                left -= gone.len();
            }
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    /// An error if the client of a watch has gone, or one whose password waits to be looked at.
    ///
    /// hyper comes here whenever it has nothing left to write, and so the task that waits for an
    /// event waits for the client's end too. For other answers a closed half is no end: whoever
    /// closes it after asking still listens. But he makes way where many passwords wait.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_abandoned(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut {
            ready!(Pin::new(&mut this.wire).poll_shutdown(cx))?;
            this.is_shut = true;
        }
        if this.linger.is_none() && this.activity.leaves_unread() {
            this.linger = Some(Linger::new());
        }
        match &mut this.linger {
            Some(linger) => linger.poll_end(&mut this.wire, cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}
