//! Ranges: small ones as a whole, and those of any size in bounded memory.
//!
//! A message of gRPC says its length before it begins. So a large answer is measured in the index,
//! then made in pieces while it is sent.

use std::{
    io::Read as _,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context as Cx, Poll},
};

use base::Refused;
use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use proto::{
    Message as _,
    etcdserverpb::{RangeRequest, RangeResponse},
};
use state::kv::{Error, Scan, check};
use tonic::Status;

use super::{
    body::Body,
    failure::{read, status, unserved},
    guard, header,
};
use crate::context::Context;

/// Flag and length stand before each message.
const PREFIX_BYTES: usize = 5;
/// A piece of a large answer.
const PIECE_BYTES: usize = 64 * 1024;
/// A larger answer is made while it is sent.
const WHOLE_BYTES_MAX: usize = 1 << 20;
/// Keys whose sizes are looked up between two looks whether the client is still there.
const KEYS_PER_STEP: usize = 10_000;
/// Between two looks whether compaction has come so far.
const SWEEP_LOOK: std::time::Duration = std::time::Duration::from_millis(10);

/// The answer to a range: as a whole, or a large one while it is sent.
pub(crate) enum Answer {
    Whole(RangeResponse),
    Large(Scan),
}

/// Answers a range of any size.
pub(crate) async fn any(context: &Arc<Context>, request: RangeRequest) -> Result<Answer, Status> {
    match whole(context, &request).await {
        Ok(answer) => Ok(Answer::Whole(answer)),
        // It is linearizable already: the barrier was passed.
        Err(refused) if refused.message() == Refused::AnswerTooLarge.text() => {
            let request = RangeRequest { serializable: true, ..request };
            scan(context, request).await.map(Answer::Large)
        }
        Err(refused) => Err(refused),
    }
}

/// Answers a range, up to the bound on what is made at once.
pub(crate) async fn whole(
    context: &Context,
    request: &RangeRequest,
) -> Result<RangeResponse, Status> {
    guard::range(context, request)?;
    check::range(request).map_err(status)?;
    context.counters.grpc.ranges.fetch_add(1, Relaxed);
    if !request.serializable {
        context.handle.read_barrier().await.map_err(unserved)?;
    }
    let mut answer = context.handle.reader().range_up_to(request, WHOLE_BYTES_MAX).map_err(read)?;
    let term = context.handle.status().term.0;
    header::complete(&context.handle, &mut answer.header, term);
    Ok(answer)
}

/// Begins a range of any size, whose form is checked.
pub(crate) async fn scan(context: &Arc<Context>, request: RangeRequest) -> Result<Scan, Status> {
    if !request.serializable {
        context.handle.read_barrier().await.map_err(unserved)?;
    }
    let context = Arc::clone(context);
    // Counting looks at every key.
    let begun = tokio::task::spawn_blocking(move || context.handle.reader().scan(&request)).await;
    begun.map_err(|error| Status::internal(error.to_string()))?.map_err(read)
}

/// Waits until what compaction condemned is removed.
pub(crate) async fn swept(context: &Context) -> Result<(), Status> {
    let mut stop = context.stop.clone();
    while context.handle.reader().store().is_compacting() {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return Err(status(Refused::Stopped)),
        }
    }
    Ok(())
}

/// `KV/Range`, without the detour by the generated service: that holds an answer in memory.
pub(crate) async fn answer(context: &Arc<Context>, request: Request<Incoming>) -> Response<Body> {
    match try_answer(context, request).await {
        Ok(body) => {
            let mut response = Response::new(Body::range(body));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(CONTENT_TYPE, grpc);
            response
        }
        Err(status) => status.into_http().map(Body::grpc),
    }
}

async fn try_answer(
    context: &Arc<Context>,
    request: Request<Incoming>,
) -> Result<RangeBody, Status> {
    let request = message(context, request.into_body()).await?;
    match any(context, request).await? {
        Answer::Whole(answer) => {
            let mut out = BytesMut::with_capacity(PREFIX_BYTES + answer.encoded_len());
            put_prefix(&mut out, answer.encoded_len())?;
            answer.encode(&mut out).map_err(|error| Status::internal(error.to_string()))?;
            Ok(RangeBody::new(out.freeze(), None))
        }
        Answer::Large(scan) => large(context, scan).await,
    }
}

/// An answer in pieces.
async fn large(context: &Context, scan: Scan) -> Result<RangeBody, Status> {
    let (bytes, scan) = tokio::task::spawn_blocking(move || {
        let mut measure = scan.measure();
        let bytes = loop {
            if let Some(bytes) = measure.step(KEYS_PER_STEP)? {
                break bytes;
            }
        };
        drop(measure);
        Ok::<_, Error>((bytes, scan))
    })
    .await
    .map_err(|error| Status::internal(error.to_string()))?
    .map_err(read)?;
    let tail = RangeResponse {
        header: Some(header::header(&context.handle, scan.revision())),
        more: scan.more(),
        count: scan.count(),
        kvs: Vec::new(),
    };
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(tail.encoded_len());
    let mut out = BytesMut::new();
    put_prefix(&mut out, bytes)?;
    tail.encode(&mut out).map_err(|error| Status::internal(error.to_string()))?;
    Ok(RangeBody::new(out.freeze(), Some(scan)))
}

fn put_prefix(out: &mut BytesMut, length: usize) -> Result<(), Status> {
    let length = u32::try_from(length).map_err(|_| status(Refused::AnswerTooLarge))?;
    out.put_u8(0);
    out.put_u32(length);
    Ok(())
}

/// Reads the one message of a request.
async fn message(context: &Context, body: Incoming) -> Result<RangeRequest, Status> {
    let bytes_max = context.config.grpc.request_bytes_max + super::dispatch::OVERHEAD_BYTES;
    let read = Limited::new(body, PREFIX_BYTES + bytes_max).collect().await;
    let mut bytes = read
        .map_err(|error| {
            Status::resource_exhausted(format!("the request cannot be read: {error}"))
        })?
        .to_bytes();
    if bytes.len() < PREFIX_BYTES {
        return Err(Status::internal("Missing request message."));
    }
    let prefix = bytes.split_to(PREFIX_BYTES);
    let (flag, length) = prefix.split_at(1);
    let told = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if told != bytes.len() {
        return Err(Status::internal("a request of one message was expected"));
    }
    if flag != [0] {
        bytes = unzipped(&bytes, bytes_max)?;
    }
    RangeRequest::decode(bytes).map_err(|error| Status::internal(error.to_string()))
}

/// What a compressed message says; what it grows to is bounded.
fn unzipped(bytes: &[u8], bytes_max: usize) -> Result<Bytes, Status> {
    let mut message = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = GzDecoder::new(bytes).take(limit).read_to_end(&mut message);
    let length = read.map_err(|error| {
        Status::internal(format!("grpc: failed to decompress the received message: {error}"))
    })?;
    if length > bytes_max {
        return Err(Status::resource_exhausted(format!(
            "grpc: received message after decompression larger than max {bytes_max}"
        )));
    }
    Ok(message.into())
}

/// The answer to a range.
pub(crate) struct RangeBody {
    /// What is sent next.
    next: Option<Bytes>,
    /// What follows it.
    rest: Option<Scan>,
    has_ended: bool,
}

impl RangeBody {
    fn new(next: Bytes, rest: Option<Scan>) -> Self {
        Self { next: Some(next), rest, has_ended: false }
    }
}

impl RangeBody {
    fn piece(&mut self) -> Result<Option<Bytes>, Status> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        let Some(scan) = &mut self.rest else { return Ok(None) };
        let kvs = scan.next_pairs(PIECE_BYTES).map_err(read)?;
        if kvs.is_empty() {
            self.rest = None;
            return Ok(None);
        }
        // Fields of a message may come in any order, and repeated ones apart.
        let piece = RangeResponse { kvs, ..RangeResponse::default() };
        Ok(Some(piece.encode_to_vec().into()))
    }
}

impl HttpBody for RangeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Cx<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        match this.piece() {
            Ok(Some(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Ok(None) => {
                this.has_ended = true;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Err(refused) => {
                // The length is promised: what comes now is no whole message, and the status says so.
                this.has_ended = true;
                Poll::Ready(Some(Err(refused)))
            }
        }
    }
}
