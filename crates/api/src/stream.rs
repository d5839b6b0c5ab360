//! A connection's bytes: counted, and closed so that the last answer arrives.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::{authority::Authorities, ops::metrics::grpc::Traffic, port::Wire, watchdog::Activity};

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
}

impl Multiplexed {
    fn poll_read(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK_BYTES];
        while self.ready.is_empty() {
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut *wire).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.traffic.received(read.filled().len());
            self.authorities.pass(read.filled(), &mut self.ready);
        }
        let length = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    pub(crate) fn new(wire: Wire, activity: Arc<Activity>) -> Self {
        Self { wire, activity, is_shut: false, linger: None, multiplexed: None }
    }

    /// It speaks HTTP/2; its bytes are counted.
    pub(crate) fn multiplexed(self, traffic: Arc<Traffic>) -> Self {
        let (authorities, ready) = (Authorities::default(), BytesMut::new());
        Self { multiplexed: Some(Multiplexed { traffic, authorities, ready }), ..self }
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some(multiplexed), Poll::Ready(Ok(bytes))) = (&self.multiplexed, &written) {
            multiplexed.traffic.sent(*bytes);
        }
        written
    }

    /// Whether the client has closed its half of a plain connection; what it sent before must have
    /// been read. With TLS nobody goes on listening who has said good-bye: there hyper looks.
    fn is_abandoned(&self, cx: &mut Context<'_>) -> bool {
        let Wire::Plain(tcp) = &self.wire else { return false };
        let mut byte = [0];
        let peeked = tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte));
        matches!(peeked, Poll::Ready(Ok(0) | Err(_)))
    }
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
        let written = Pin::new(&mut self.wire).poll_write(cx, data);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire).poll_write_vectored(cx, data);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    /// An error if the client of a watch has gone.
    ///
    /// hyper comes here whenever it has nothing left to write, and so the task that waits for an
    /// event waits for the client's end too. For other answers a closed half is no end: whoever
    /// closes it after asking still listens.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_watching() && self.is_abandoned(cx) {
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
