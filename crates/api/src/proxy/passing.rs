//! An answer's body on its way from a member to a client.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::watch;

use crate::body::Cut;

/// An answer's body on its way. It is read as fast as the client takes it and no faster; dropping
/// it, as when the client goes away, ends the request at the member.
pub(crate) struct Passing {
    body: Incoming,
    /// Of a watch: resolves when the proxy stops, which a watch does not outlive.
    stopped: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Passing {
    pub(super) fn new(body: Incoming, stop: Option<watch::Receiver<bool>>) -> Self {
        let stopped = stop.map(|mut stop| {
            let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
            Box::pin(stopped) as Pin<Box<dyn Future<Output = ()> + Send>>
        });
        Self { body, stopped }
    }

    /// The next piece. An answer that breaks off here breaks off there too: a part of it must not
    /// look like the whole.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else { break };
            match next {
                // Trailers are of one connection.
                Some(Ok(frame)) if frame.is_trailers() => {}
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => {
                    tracing::debug!(target: "proxy", "an answer breaks off: {error}");
                    return Poll::Ready(Some(Err(Cut)));
                }
                None => return Poll::Ready(None),
            }
        }
        match &mut self.stopped {
            Some(stopped) => {
                ready!(stopped.as_mut().poll(cx));
                Poll::Ready(None)
            }
            None => Poll::Pending,
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn length(&self) -> SizeHint {
        self.body.size_hint()
    }
}
