//! A stream that must not stand still: what counts is bytes, since a message may be large and a line
//! slow.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Fails once it is waited for longer than the patience allows and not one byte has moved.
pub(crate) struct Watched<S> {
    stream: S,
    reads: Side,
    writes: Side,
    came: Arc<AtomicU64>,
}

/// One direction.
struct Side {
    patience: Duration,
    /// What moves after so long is late, whether or not somebody waited.
    late_after: Option<Duration>,
    /// When a byte moved, or was first waited for.
    moved: Instant,
    timer: Pin<Box<Sleep>>,
    is_waited_for: bool,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        let (reads, writes) = (Side::new(patience), Side::new(patience));
        Self { stream, reads, writes, came: Arc::default() }
    }

    /// What comes after a silence longer than this is not read either, whoever it was that slept.
    pub(crate) fn strictly(mut self, late_after: Duration) -> Self {
        self.reads.late_after = Some(late_after);
        self
    }

    /// How many bytes have come.
    pub(crate) fn came(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.came)
    }

    /// Whether what is read now is late.
    pub(crate) fn is_late(&self) -> bool {
        self.reads.is_over(self.reads.late_after)
    }
}

impl Side {
    fn new(patience: Duration) -> Self {
        let (moved, timer) = (Instant::now(), Box::pin(sleep(patience)));
        Self { patience, late_after: None, moved, timer, is_waited_for: false }
    }

    /// Whether nothing has moved for as long as the patience allows, or for so long.
    fn is_over(&self, limit: Option<Duration>) -> bool {
        let limit = limit.map_or(self.patience, |limit| limit.min(self.patience));
        self.moved.elapsed() > limit
    }

    /// What becomes of an attempt to move bytes.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let counts = self.late_after.is_some() || self.is_waited_for;
        let limit = self.late_after.filter(|_| attempt.is_ready());
        // Also where bytes move now: this process may have slept meanwhile.
        if counts && self.is_over(limit) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if attempt.is_ready() || !counts {
            self.moved = Instant::now();
        }
        if attempt.is_ready() {
            self.is_waited_for = false;
            return attempt;
        }
        if !self.is_waited_for {
            self.timer.as_mut().reset(self.moved + self.patience);
            self.is_waited_for = true;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let judged = this.reads.judge(cx, read);
        this.came.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        judged
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, data);
        this.writes.judge(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.writes.judge(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
