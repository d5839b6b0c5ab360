//! Bodies of requests that are answered before they are read to the end.
//!
//! h2 resets a stream that nobody reads any more, forgets it soon if there are many, and takes what the
//! client had sent before it knew for a fault of the client: after a thousand frames it closes the
//! connection, and whoever has written on it never hears what came of that.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time};

/// How long what is left of a body is read after the answer. Whoever takes longer is reset.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request's body. What is left of it when it is dropped is read, and thrown away.
pub(crate) struct Unread {
    body: Option<Incoming>,
    /// At most so much is thrown away.
    bytes_max: usize,
    /// Its client goes on for as long as it likes, and must hear when nobody listens any more.
    is_stream: bool,
    has_begun: bool,
}

impl Unread {
    pub(crate) fn new(body: Incoming, bytes_max: usize, is_stream: bool) -> Self {
        Self { body: Some(body), bytes_max, is_stream, has_begun: false }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if self.is_stream && self.has_begun {
            return;
        }
        // There is none while the process ends.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(throw_away(Limited::new(body, self.bytes_max))));
        }
    }
}

async fn throw_away(mut body: Limited<Incoming>) {
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    drop(time::timeout(PATIENCE, read).await);
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.has_begun = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}
