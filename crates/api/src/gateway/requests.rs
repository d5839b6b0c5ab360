//! Questions as JSON: one as a whole, or one after the other as they come.

use std::{
    pin::Pin,
    task::{Context as Cx, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio_stream::Stream;
use tonic::Status;

use super::{Question, failure};
use crate::{context::Context, reply::Reply, upload};

/// A question of a stream; longer ones are refused.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The message of a request's body; or the answer for whoever sends none.
pub(super) async fn read<Q: DeserializeOwned + Default>(
    context: &Context,
    question: Question,
) -> Result<Q, Reply> {
    // In base64 bytes are a third longer.
    let bytes_max = context.config.grpc.request_bytes_max * 2;
    let body = match question {
        Question::Request(request) => upload::read_up_to(request, bytes_max).await?,
        // Of these there is one that counts.
        Question::Messages(_, mut messages) => messages.recv().await.unwrap_or_default(),
    };
    one(&body).map_err(|status| failure::reply(&status))
}

/// The message of a body; an empty body is an empty message.
fn one<Q: DeserializeOwned + Default>(body: &[u8]) -> Result<Q, Status> {
    if body.trim_ascii().is_empty() {
        return Ok(Q::default());
    }
    serde_json::from_slice(body).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The messages of a body, each as soon as it is there.
pub(super) fn stream<Q: DeserializeOwned + Send>(
    question: Question,
) -> impl Stream<Item = Result<Q, Status>> + Send {
    Messages { question: Some(question), come: BytesMut::new(), message: std::marker::PhantomData }
}

struct Messages<Q> {
    /// `None` once all has come.
    question: Option<Question>,
    come: BytesMut,
    message: std::marker::PhantomData<fn() -> Q>,
}

impl<Q: DeserializeOwned> Messages<Q> {
    /// Takes a whole message off the front; `None` if there is none yet.
    fn take(&mut self) -> Option<Result<Q, Status>> {
        let mut values = serde_json::Deserializer::from_slice(&self.come).into_iter::<Q>();
        let next = values.next();
        let end = values.byte_offset();
        match next? {
            Ok(message) => {
                self.come.advance(end);
                Some(Ok(message))
            }
            Err(error) if error.is_eof() && self.question.is_some() => None,
            Err(error) => Some(Err(Status::invalid_argument(error.to_string()))),
        }
    }
}

impl<Q: DeserializeOwned> Stream for Messages<Q> {
    type Item = Result<Q, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(taken) = self.take() {
                return Poll::Ready(Some(taken));
            }
            let Some(question) = &mut self.question else { return Poll::Ready(None) };
            match ready!(question.poll_more(cx)) {
                Some(Ok(data)) => {
                    self.come.extend_from_slice(&data);
                    if self.come.len() > MESSAGE_BYTES_MAX {
                        let text = format!("a message is longer than {MESSAGE_BYTES_MAX} bytes");
                        return Poll::Ready(Some(Err(Status::invalid_argument(text))));
                    }
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => self.question = None,
            }
        }
    }
}

impl Question {
    /// More of what the client says; `None` at the end.
    fn poll_more(&mut self, cx: &mut Cx<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        match self {
            Self::Messages(_, messages) => messages.poll_recv(cx).map(|more| more.map(Ok)),
            Self::Request(request) => loop {
                match ready!(Pin::new(request.body_mut()).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Some(Ok(data)));
                        }
                    }
                    Some(Err(error)) => {
                        return Poll::Ready(Some(Err(Status::cancelled(error.to_string()))));
                    }
                }
            },
        }
    }
}
