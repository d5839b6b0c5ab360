//! Notices a connection that sends a request's head too slowly.
//!
//! hyper's own header timeout also ends connections that are merely idle, which clients keep in
//! their pools for long, and sets a timer for every request. Here a connection is looked at now
//! and then: bytes without a request for two looks in a row, and it goes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Between two looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// What a connection has done so far.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Reads that brought bytes.
    reads: AtomicU64,
    /// Reads as they stood when the last request began, its head being complete.
    reads_at_request: AtomicU64,
    /// Requests under way.
    running: AtomicU64,
}

impl Activity {
    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.running.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.reads_at_request.store(self.reads.load(Relaxed), Relaxed);
        self.running.fetch_sub(1, Relaxed);
    }

    /// Whether part of a request's head has come, and no request is under way.
    pub(crate) fn has_partial_head(&self) -> bool {
        self.running.load(Relaxed) == 0
            && self.reads.load(Relaxed) != self.reads_at_request.load(Relaxed)
    }
}

/// A connection that counts what it reads.
pub(crate) struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.reads.fetch_add(1, Relaxed);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
