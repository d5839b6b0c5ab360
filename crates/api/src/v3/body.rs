//! The body of an answer over HTTP/2.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;

use super::range::RangeBody;
use crate::body::ReplyBody;

/// The body of an answer over HTTP/2.
pub(crate) enum Body {
    /// Of what is served over HTTP/1.1 as well.
    Plain(ReplyBody),
    Grpc(tonic::body::Body),
    Range(Box<RangeBody>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Plain(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            Self::Grpc(body) => Pin::new(body).poll_frame(cx),
            Self::Range(body) => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Grpc(body) => body.is_end_stream(),
            Self::Range(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Grpc(body) => body.size_hint(),
            Self::Range(body) => body.size_hint(),
        }
    }
}
