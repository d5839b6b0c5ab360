//! What the generated clients send through: one connection, and what every call carries.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response, Uri};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use tonic::body::Body;
use tower_service::Service;

use super::error::innermost;

/// A connection that one call is made on.
#[derive(Clone)]
pub(super) struct Channel {
    pub(super) sender: SendRequest<Body>,
    pub(super) origin: Uri,
    pub(super) headers: HeaderMap,
    pub(super) answer_bytes_max: usize,
}

/// A call whose connection came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Lost {
    /// Whether the server may have seen it.
    pub(super) was_sent: bool,
    pub(super) why: String,
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = Lost;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Lost>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        // A connection takes any number of streams; those above the server's limit wait.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        // There is no second call.
        head.headers.extend(mem::take(&mut self.headers));
        let answer = self.sender.try_send_request(Request::from_parts(head, body));
        Box::pin(async move {
            answer.await.map_err(|mut problem| Lost {
                was_sent: problem.take_message().is_none(),
                why: innermost(problem.error()),
            })
        })
    }
}

/// Headers are made of what a program says, not of what users type: what does not fit is left out.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
}
