//! Answers that come one after the other: a line of JSON for each.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::Response;
use serde::Serialize;
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::{Code, Status};

use super::{deadline::Deadline, failure};
use crate::{
    body::ReplyBody,
    ops::metrics::grpc::Call,
    reply::{JSON, Reply},
    v3::deadline_exceeded,
};

/// Lines that are sent together if they are there already.
const BATCH_BYTES: usize = 64 * 1024;

pub(super) type Lines = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

/// `{"result":…}` for each message, and `{"error":…}` at a bad end.
pub(crate) struct MessagesBody {
    /// What is there already.
    begun: Vec<u8>,
    /// `None` once the last is out.
    lines: Option<Lines>,
    /// Ends when the client waits no longer.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Hears how it ends.
    call: Call,
}

/// An answer of messages.
pub(super) async fn reply<A>(
    call: Call,
    deadline: Deadline,
    messages: impl Stream<Item = Result<A, Status>> + Send + 'static,
) -> Reply
where
    A: Serialize + Send + 'static,
{
    reply_in(call, deadline, Box::pin(Encoded(Box::pin(messages)))).await
}

/// An answer of lines, or pieces of them, which begins at once; for whoever waits no longer than some time it
/// begins with the first, as in the original: if none comes, the status says so.
pub(super) async fn reply_in(mut call: Call, deadline: Deadline, lines: Lines) -> Reply {
    let mut lines = lines;
    let mut begun = Vec::new();
    if deadline.is_set() {
        match deadline.keep(lines.try_next()).await {
            Ok(first) => {
                begun = first.unwrap_or_default();
                // Of a large answer it is but the beginning.
                call.sent(u64::from(begun.ends_with(b"\n")));
            }
            Err(status) => {
                call.ended(status.code());
                return failure::before_a_stream(&status);
            }
        }
    }
    let body = MessagesBody { begun, lines: Some(lines), deadline: deadline.sleep(), call };
    let mut reply = Response::new(ReplyBody::Messages(Box::new(body)));
    reply.headers_mut().insert(http::header::CONTENT_TYPE, JSON);
    reply
}

impl MessagesBody {
    /// The next lines, as many as are there.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut out = std::mem::take(&mut self.begun);
        while let Some(lines) = &mut self.lines {
            let is_over =
                self.deadline.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready());
            let next = if is_over {
                Poll::Ready(Some(Err(deadline_exceeded())))
            } else {
                lines.as_mut().poll_next(cx)
            };
            match next {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Some(Ok(line))) => {
                    self.call.sent(u64::from(line.ends_with(b"\n")));
                    out.extend_from_slice(&line);
                }
                Poll::Ready(Some(Err(status))) => {
                    out.extend_from_slice(failure::in_stream(&status).to_string().as_bytes());
                    out.push(b'\n');
                    self.call.ended(status.code());
                    self.lines = None;
                }
                Poll::Ready(None) => {
                    self.call.ended(Code::Ok);
                    self.lines = None;
                }
            }
            if out.len() >= BATCH_BYTES {
                break;
            }
        }
        Poll::Ready((!out.is_empty()).then(|| out.into()))
    }
}

/// Messages as lines.
struct Encoded<A>(Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>);

#[derive(Serialize)]
struct Line<'a, A> {
    result: &'a A,
}

impl<A: Serialize> Stream for Encoded<A> {
    type Item = Result<Vec<u8>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx).map(|next| next.map(|message| line(&message?)))
    }
}

/// A message as a line.
pub(super) fn line(message: &impl Serialize) -> Result<Vec<u8>, Status> {
    let mut line = serde_json::to_vec(&Line { result: message })
        .map_err(|error| Status::internal(error.to_string()))?;
    line.push(b'\n');
    Ok(line)
}
