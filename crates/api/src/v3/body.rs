//! The body of an answer over HTTP/2.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;

use super::{range::RangeBody, watch::WatchBody};
use crate::{
    body::{Cut, ReplyBody},
    ops::metrics::grpc::Call,
};

/// The body of an answer over HTTP/2.
pub(crate) struct Body {
    content: Content,
    /// Hears how it ends.
    call: Option<Call>,
}

enum Content {
    /// Of what is served over HTTP/1.1 as well.
    Plain(ReplyBody),
    Grpc(tonic::body::Body),
    Range(Box<RangeBody>),
    Watch(Box<WatchBody>),
}

impl Body {
    pub(crate) fn plain(body: ReplyBody) -> Self {
        Self { content: Content::Plain(body), call: None }
    }

    pub(crate) fn grpc(body: tonic::body::Body) -> Self {
        Self { content: Content::Grpc(body), call: None }
    }

    pub(crate) fn range(body: RangeBody) -> Self {
        Self { content: Content::Range(Box::new(body)), call: None }
    }

    pub(crate) fn watch(body: WatchBody) -> Self {
        Self { content: Content::Watch(Box::new(body)), call: None }
    }

    /// Tells the call how it ends: now, or when the last of the answer is sent.
    pub(crate) fn counted(mut call: Call, response: Response<Self>) -> Response<Self> {
        call.made();
        call.ended_as(response.headers());
        response.map(|body| Self { call: Some(call), ..body })
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.content {
            Content::Plain(body) => Pin::new(body).poll_frame(cx).map(|frame| {
                frame.map(|frame| {
                    frame.map_err(|_: Cut| Status::unavailable("the answer is cut off"))
                })
            }),
            Content::Grpc(body) => Pin::new(body).poll_frame(cx),
            Content::Range(body) => Pin::new(body.as_mut()).poll_frame(cx),
            Content::Watch(body) => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(this.poll_content(cx));
        if let Some(call) = &mut this.call {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        call.sends(bytes);
                    } else if let Some(trailers) = frame.trailers_ref() {
                        call.ended_as(trailers);
                    }
                }
                Some(Err(status)) => call.ended(status.code()),
                None => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Plain(body) => body.is_end_stream(),
            Content::Grpc(body) => body.is_end_stream(),
            Content::Range(body) => body.is_end_stream(),
            Content::Watch(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Plain(body) => body.size_hint(),
            Content::Grpc(body) => body.size_hint(),
            Content::Range(body) => body.size_hint(),
            Content::Watch(body) => body.size_hint(),
        }
    }
}
