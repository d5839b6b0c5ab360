//! Questions as JSON: one as a whole, or one after the other as they come.

use std::{
    pin::Pin,
    task::{Context as Cx, Poll, ready},
};

use bytes::Bytes;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio_stream::Stream;
use tonic::Status;

use super::{Content, failure, values::Values, wrong_method};
use crate::{
    context::Context,
    reply::{self, Reply},
    upload::{self, Bad},
};

/// A question of a stream; longer ones are refused.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The message of a request's body; or the answer for whoever sends none.
pub(super) async fn read<Q: DeserializeOwned + Default>(
    context: &Context,
    content: Content,
) -> Result<Q, Reply> {
    // In base64 bytes are a third longer.
    let bytes_max = context.config.grpc.request_bytes_max * 2;
    let body = match content {
        Content::Request(request) => {
            let read = upload::try_up_to(*request, bytes_max).await;
            read.map_err(|(bad, bytes)| unread(&bad, bytes, bytes_max))?
        }
        // Of these there is one that counts.
        Content::Messages(mut messages) => messages.recv().await.unwrap_or_default(),
        Content::WrongMethod => return Err(wrong_method()),
    };
    one(&body).map_err(|status| failure::reply(&status))
}

/// What is too large is told as the original tells it, whose numbers are those of the message in binary.
fn unread(bad: &Bad, bytes: u64, bytes_max: usize) -> Reply {
    let Bad::TooLarge { at_end } = bad else { return bad.reply() };
    let text = format!(
        "grpc: received message larger than max ({} vs. {bytes_max})",
        bytes.max(bytes_max as u64 + 1)
    );
    let told = failure::reply(&Status::resource_exhausted(text));
    if *at_end { told } else { reply::and_close(told) }
}

/// The message of a body, which is empty if there is none. What comes behind it does not count, as in the
/// original.
fn one<Q: DeserializeOwned + Default>(body: &[u8]) -> Result<Q, Status> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Option<Q>>();
    let first = values.next().transpose().map_err(|error| wrong(&error))?;
    Ok(first.flatten().unwrap_or_default())
}

fn wrong(error: &serde_json::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The messages of a body, each as soon as it is there.
pub(super) fn stream<Q: DeserializeOwned + Default + Send>(
    content: Content,
) -> impl Stream<Item = Result<Q, Status>> + Send {
    Messages { content: Some(content), come: Values::default(), message: std::marker::PhantomData }
}

struct Messages<Q> {
    /// `None` once all has come.
    content: Option<Content>,
    come: Values,
    message: std::marker::PhantomData<fn() -> Q>,
}

impl<Q: DeserializeOwned + Default> Stream for Messages<Q> {
    type Item = Result<Q, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(taken) = this.come.take(this.content.is_none()) {
                return Poll::Ready(Some(taken.map_err(|error| wrong(&error))));
            }
            if this.come.len() > MESSAGE_BYTES_MAX {
                let text = format!("a message is longer than {MESSAGE_BYTES_MAX} bytes");
                return Poll::Ready(Some(Err(Status::invalid_argument(text))));
            }
            let Some(content) = &mut this.content else { return Poll::Ready(None) };
            match ready!(content.poll_more(cx)) {
                Some(Ok(data)) => this.come.push(&data),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => this.content = None,
            }
        }
    }
}

impl Content {
    /// More of what the client says; `None` at the end.
    fn poll_more(&mut self, cx: &mut Cx<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        match self {
            Self::Messages(messages) => messages.poll_recv(cx).map(|more| more.map(Ok)),
            Self::WrongMethod => Poll::Ready(None),
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
