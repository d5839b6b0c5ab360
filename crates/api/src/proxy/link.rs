//! Connections to members: kept between requests, and given up when a member falls silent.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        Client as Pool,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use peer::Dialer;
use tls::{ClientStream, Wire};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{self, Instant, Sleep},
};
use tower_service::Service;

/// Idle connections to each member (the original's number), and how long they are kept.
const IDLE_MAX: usize = 128;
const IDLE_TIME: Duration = Duration::from_mins(1);

/// Connections to all members.
#[derive(Debug)]
pub(super) struct Link {
    pool: Pool<Connect, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failed {
    /// The member has certainly not seen the request.
    pub(super) is_unsent: bool,
    pub(super) why: String,
}

impl Link {
    /// `read_timeout`: how long a member may say nothing.
    pub(super) fn new(dialer: Dialer, read_timeout: Option<Duration>) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIME)
            .pool_timer(TokioTimer::new())
            // As a client would write them itself.
            .http1_title_case_headers(true)
            .build(Connect { dialer, read_timeout });
        Self { pool }
    }

    /// Sends a request to where its (whole) URI says; waits for the head of the answer.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failed> {
        self.pool
            .request(request)
            .await
            .map_err(|error| Failed { is_unsent: error.is_connect(), why: innermost(&error) })
    }
}

/// What lies at the bottom of it, and what to do about it.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    if text.starts_with("invalid peer certificate") {
        return format!("{text} (--peer-trusted-ca-file, --trusted-ca-file: whom to believe)");
    }
    text
}

/// Makes connections for the pool.
#[derive(Clone, Debug)]
struct Connect {
    dialer: Dialer,
    read_timeout: Option<Duration>,
}

impl Service<Uri> for Connect {
    type Response = TokioIo<Patient>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Patient>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let Self { dialer, read_timeout } = self.clone();
        Box::pin(async move {
            let wire = dialer.dial(&url).await?;
            Ok(TokioIo::new(Patient { wire, limit: read_timeout, timer: None }))
        })
    }
}

/// A connection that ends when nothing has been read or written for so long.
#[derive(Debug)]
pub(super) struct Patient {
    wire: Wire<ClientStream>,
    limit: Option<Duration>,
    /// Runs while a read waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    /// Begins to wait anew.
    fn rest(&mut self) {
        if let (Some(timer), Some(limit)) = (&mut self.timer, self.limit) {
            timer.as_mut().reset(Instant::now() + limit);
        }
    }
}

impl Connection for Patient {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.wire).poll_read(cx, buffer);
        let Some(limit) = self.limit else { return read };
        if read.is_ready() {
            self.timer = None;
            return read;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep(limit)));
        timer.as_mut().poll(cx).map(|()| {
            let why = format!("nothing was read for {limit:?} (--proxy-read-timeout)");
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Who was idle for long is not to be given up because he is asked again.
        self.rest();
        Pin::new(&mut self.wire).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.rest();
        Pin::new(&mut self.wire).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
