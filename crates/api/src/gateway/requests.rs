//! Questions as JSON: one as a whole, or one after the other as they come.

use std::{
    pin::Pin,
    task::{Context as Cx, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use http::Request;
use hyper::body::{Body as _, Incoming};
use serde::de::DeserializeOwned;
use tokio_stream::Stream;
use tonic::Status;

use super::failure;
use crate::{context::Context, reply::Reply, upload};

/// A question of a stream; longer ones are refused.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The message of a request's body; or the answer for whoever sends none.
pub(super) async fn read<Q: DeserializeOwned + Default>(
    context: &Context,
    request: Request<Incoming>,
) -> Result<Q, Reply> {
    // In base64 bytes are a third longer.
    let bytes_max = context.config.grpc.request_bytes_max * 2;
    let body = upload::read_up_to(request, bytes_max).await?;
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
    body: Incoming,
) -> impl Stream<Item = Result<Q, Status>> + Send {
    Messages { body: Some(body), come: BytesMut::new(), message: std::marker::PhantomData }
}

struct Messages<Q> {
    /// `None` once all has come.
    body: Option<Incoming>,
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
            Err(error) if error.is_eof() && self.body.is_some() => None,
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
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.come.extend_from_slice(&data);
                    }
                    if self.come.len() > MESSAGE_BYTES_MAX {
                        let text = format!("a message is longer than {MESSAGE_BYTES_MAX} bytes");
                        return Poll::Ready(Some(Err(Status::invalid_argument(text))));
                    }
                }
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(Status::cancelled(error.to_string()))));
                }
                None => self.body = None,
            }
        }
    }
}
