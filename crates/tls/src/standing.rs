//! Connections that end once the other's certificate is not believed any more.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::live::Live;

/// How often a connection asks, at most, and only while something goes over it.
const LOOK: Duration = Duration::from_secs(1);

/// Judges what was shown anew, if files have changed since. The error says why it is not believed.
type Judge<S> = Box<dyn FnMut(&S) -> Result<(), String> + Send + Sync>;

/// A connection with TLS on it. It fails within two seconds, at the next byte that is to go over it, once
/// the other's certificate is refused by a CA file or a CRL that has changed since the handshake. It is
/// judged as at the handshake: that it has run out meanwhile ends no connection.
pub struct Standing<S> {
    stream: S,
    judge: Judge<S>,
    looked: Instant,
    refused: Option<String>,
}

impl<S> Standing<S> {
    /// `judged` are the files by which the handshake was judged, `believes` does so by other ones.
    pub(crate) fn new<T: Send + Sync + 'static>(
        stream: S,
        live: &Arc<Live<T>>,
        mut judged: Arc<T>,
        believes: impl Fn(&S, &T) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let live = Arc::clone(live);
        let judge = Box::new(move |stream: &S| {
            let now = live.get();
            if !Arc::ptr_eq(&now, &judged) {
                believes(stream, &now)?;
                judged = now;
            }
            Ok(())
        });
        Self { stream, judge, looked: Instant::now(), refused: None }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    fn look(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.refused.is_none() && now.duration_since(self.looked) >= LOOK {
            self.looked = now;
            self.refused = (self.judge)(&self.stream).err();
        }
        match &self.refused {
            None => Ok(()),
            Some(why) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("its certificate is not accepted any more: {why}"),
            )),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Standing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Standing").field(&self.stream).finish()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Standing<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Before what has come is read: what is asked once the change was seen is not answered.
        this.look()?;
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Standing<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look()?;
        Pin::new(&mut this.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look()?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
