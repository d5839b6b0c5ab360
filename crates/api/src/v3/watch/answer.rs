//! A stream of watches over HTTP/2: small answers together, large ones in pieces.
//!
//! Without the detour by the generated service: that holds each answer in memory as a whole.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Cx, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use hyper::body::{Body as HttpBody, Frame};
use proto::{
    Message as _,
    etcdserverpb::{WatchRequest, WatchResponse},
};
use tonic::{
    Status, Streaming,
    codec::{Codec as _, CompressionEncoding},
    metadata::MetadataMap,
};
use tonic_prost::ProstCodec;

use super::{Large, Told, WatchStream};
use crate::{
    auth::Asker,
    context::Context,
    v3::{Body, dispatch, patience::Ends, unread::Unread},
};

/// Flag and length stand before each message.
const PREFIX_BYTES: usize = 5;
/// Answers that are sent together if they are there already; a piece of a large one.
const PIECE_BYTES: usize = 64 * 1024;

/// `Watch/Watch`.
pub(crate) async fn answer(context: &Arc<Context>, request: Request<Unread>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let asker = Asker::new(&head.headers, &head.extensions);
    if let Err(status) = asker.settle(context).await {
        return dispatch::refuse(&status);
    }
    let gzip = dispatch::encoding(&head.headers).map(|_| CompressionEncoding::Gzip);
    let bytes_max = context.config.grpc.request_bytes_max + dispatch::OVERHEAD_BYTES;
    let decoder = ProstCodec::<WatchResponse, WatchRequest>::default().decoder();
    let requests = Streaming::new_request(decoder, body, gzip, Some(bytes_max));
    let ends = Ends::new(context, &MetadataMap::from_headers(head.headers));
    let stream = WatchStream::new(Arc::clone(context), asker, ends, Box::pin(requests));
    let mut response = Response::new(Body::watch(WatchBody::new(stream)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

/// The answers of a stream.
pub(crate) struct WatchBody {
    stream: WatchStream,
    /// Under way.
    large: Option<Box<Large>>,
    /// How it has ended.
    end: Option<Status>,
    has_ended: bool,
}

impl WatchBody {
    fn new(stream: WatchStream) -> Self {
        Self { stream, large: None, end: None, has_ended: false }
    }

    /// The next piece of a large answer; `None` at its end.
    fn poll_large(&mut self, cx: &mut Cx<'_>) -> Result<Option<Bytes>, Status> {
        let Some(large) = &mut self.large else { return Ok(None) };
        if let Poll::Ready(status) = self.stream.poll_over(cx) {
            return Err(status);
        }
        let events = large.next_events(PIECE_BYTES)?;
        if events.is_empty() {
            self.large = None;
            return Ok(None);
        }
        // Repeated fields of a message may come apart.
        let piece = WatchResponse { events, ..WatchResponse::default() };
        Ok(Some(piece.encode_to_vec().into()))
    }

    /// The next answers, as many as are there; empty at the end.
    fn poll_answers(&mut self, cx: &mut Cx<'_>) -> Poll<Bytes> {
        let mut out = BytesMut::new();
        while self.end.is_none() && self.large.is_none() && out.len() < PIECE_BYTES {
            match self.stream.poll_told(cx) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Some(Ok(Told::Answer(answer)))) => put(&mut out, &answer, 0),
                Poll::Ready(Some(Ok(Told::Large(large)))) => {
                    let more = large.encoded_len() - large.head.encoded_len() as u64;
                    put(&mut out, &large.head, more);
                    self.large = Some(large);
                }
                Poll::Ready(Some(Err(status))) => self.end = Some(status),
                Poll::Ready(None) => self.end = Some(Status::ok("")),
            }
        }
        Poll::Ready(out.freeze())
    }
}

/// A message, of which so many bytes follow.
fn put(out: &mut BytesMut, message: &WatchResponse, more: u64) {
    // No answer is larger than that: see `WATCH_MESSAGE_BYTES_MAX`.
    let length = u32::try_from(message.encoded_len() as u64 + more).unwrap_or(u32::MAX);
    out.reserve(PREFIX_BYTES + message.encoded_len());
    out.put_u8(0);
    out.put_u32(length);
    message.encode_raw(out);
}

impl HttpBody for WatchBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Cx<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        match this.poll_large(cx) {
            Ok(None) => {}
            Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
            Err(status) => {
                // The length is promised: what comes now is no whole message, and the status says so.
                this.has_ended = true;
                return Poll::Ready(Some(Err(status)));
            }
        }
        let out = ready!(this.poll_answers(cx));
        if !out.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(out))));
        }
        this.has_ended = true;
        Poll::Ready(this.end.take().map(|status| Ok(Frame::trailers(trailers(&status)))))
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from_static("2"));
    }
    trailers
}
