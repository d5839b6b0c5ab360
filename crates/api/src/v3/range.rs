//! Ranges: small ones as a whole, and those of any size in bounded memory.
//!
//! A message of gRPC says its length before it begins. So a large answer is measured in the index,
//! then made in pieces while it is sent.

use std::{
    io::Read as _,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context as Cx, Poll, ready},
};

use base::{Refused, limits::ANSWER_BYTES_MAX, room::Hold};
use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Frame};
use proto::{
    Message as _,
    etcdserverpb::{RangeRequest, RangeResponse, range_request::SortTarget},
    mvccpb::KeyValue,
};
use state::kv::{self, Error, Most, Scan, Sizes, check};
use tokio::time::Instant;
use tonic::Status;

use super::{
    body::Body,
    failure::{read, status, unserved},
    guard, header,
    unread::Unread,
};
use crate::{
    audit::Does,
    auth::{Asker, Pass, TRIES},
    context::Context,
    eager,
    slow::{self, Times},
    under_way::Held,
};

/// Flag and length stand before each message.
const PREFIX_BYTES: usize = 5;
/// A piece of a large answer.
const PIECE_BYTES: usize = 64 * 1024;
/// A larger answer is made while it is sent.
const WHOLE_BYTES_MAX: usize = 1 << 20;
/// What such an answer takes at most while it is made: pairs, and what is made of them.
const WHOLE_ROOM_BYTES: usize = 3 * WHOLE_BYTES_MAX;
/// Pieces of a large answer that are there at once: one is being made, one waits in hyper, and one
/// goes out.
const PIECES: usize = 3;
/// Keys whose sizes are looked up between two looks whether the client is still there.
const KEYS_PER_STEP: usize = 10_000;
/// Between two looks whether compaction has come so far.
const SWEEP_LOOK: std::time::Duration = std::time::Duration::from_millis(10);

/// The answer to a range: as a whole, or a large one while it is sent; with the room for it.
pub(crate) enum Answer {
    Whole(RangeResponse, Option<Hold>),
    Large(Scan, Sizes, Hold),
}

/// Answers a range of any size: what is small here and now, the rest when there is room for it, on
/// a thread that holds up nobody.
pub(crate) async fn any(
    context: &Arc<Context>,
    asker: &Asker,
    request: RangeRequest,
) -> Result<Answer, Status> {
    let mut times = Times::begin();
    if !request.range_end.is_empty() {
        // Several that come on one connection are read on several threads.
        eager::step_back().await;
    }
    let answer = timed(context, asker, &request, &mut times).await;
    slow::range(context, &request, &times, answer.as_ref());
    answer
}

async fn timed(
    context: &Arc<Context>,
    asker: &Asker,
    request: &RangeRequest,
    times: &mut Times,
) -> Result<Answer, Status> {
    begin(context, request, times).await?;
    for _ in 0..TRIES {
        let pass = permit(context, asker, request).await?;
        let answer = permitted(context, request, times).await?;
        if pass.holds(context) {
            return Ok(answer);
        }
    }
    Err(status(Refused::AuthOldRevision))
}

/// Whether somebody may read a range.
async fn permit(context: &Context, asker: &Asker, request: &RangeRequest) -> Result<Pass, Status> {
    asker.note_keys(Does::Read, &request.key, &request.range_end);
    asker.may(context, |auth, by| auth.reads(by, &request.key, &request.range_end)).await
}

async fn permitted(
    context: &Arc<Context>,
    request: &RangeRequest,
    times: &mut Times,
) -> Result<Answer, Status> {
    let hold = times.for_room(context.room_for_small()).await?;
    let began = Instant::now();
    let answer = match context.handle.reader().range_up_to(request, Most::SMALL) {
        Ok(answer) => Ok(Answer::Whole(completed(context, answer), hold)),
        Err(Error::Refused(Refused::AnswerTooLarge)) => {
            drop(hold);
            long(context, request.clone(), times).await
        }
        Err(refused) => Err(read(refused)),
    };
    context.counters.grpc.read_range(began, answer.is_ok());
    answer
}

/// Answers a range whose answer is used here, and so as a whole.
pub(crate) async fn whole(
    context: &Arc<Context>,
    asker: &Asker,
    request: &RangeRequest,
) -> Result<RangeResponse, Status> {
    match any(context, asker, request.clone()).await? {
        Answer::Whole(answer, _) => Ok(answer),
        Answer::Large(_, Sizes { all, .. }, hold) => {
            let all = usize::try_from(all).unwrap_or(usize::MAX).min(ANSWER_BYTES_MAX);
            hold.resize(all.saturating_mul(WHOLE_ROOM_BYTES / WHOLE_BYTES_MAX));
            let (reading, request) = (Arc::clone(context), request.clone());
            let read_all = move || reading.handle.reader().range_up_to(&request, Most::WHOLE);
            let answer = context.read_long(Some(hold), read_all).await.map_err(read)?;
            Ok(completed(context, answer))
        }
    }
}

/// Whether a range may be asked for here, once all is there that it must tell.
async fn begin(context: &Context, request: &RangeRequest, times: &mut Times) -> Result<(), Status> {
    guard::range(context, request)?;
    check::range(request).map_err(status)?;
    context.counters.grpc.ranges.fetch_add(1, Relaxed);
    if !request.serializable {
        times.at_read_index(context.handle.read_barrier()).await.map_err(unserved)?;
    }
    Ok(())
}

fn completed(context: &Context, mut answer: RangeResponse) -> RangeResponse {
    let term = context.handle.status().term.0;
    header::complete(&context.handle, &mut answer.header, term);
    answer
}

/// What a long read comes to.
enum Long {
    Whole(RangeResponse),
    Large(Scan, Sizes),
}

async fn long(
    context: &Arc<Context>,
    request: RangeRequest,
    times: &mut Times,
) -> Result<Answer, Status> {
    // To bring keys into another order it needs them all; it is known only afterwards how many. And of
    // those that a filter takes it remembers many.
    let keeps_places = request.sort_target() != SortTarget::Key || kv::has_filters(&request);
    let has_many = keeps_places && !request.range_end.is_empty() && !request.count_only;
    let bytes = if has_many { ANSWER_BYTES_MAX } else { WHOLE_ROOM_BYTES };
    let hold = times.for_room(context.room_for(bytes)).await?;
    let reading = Arc::clone(context);
    let long = context.read_long(Some(hold.clone()), move || {
        let reader = reading.handle.reader();
        match reader.range_up_to(&request, Most::of(WHOLE_BYTES_MAX)) {
            Err(Error::Refused(Refused::AnswerTooLarge)) => {}
            whole => return whole.map(Long::Whole),
        }
        let scan = reader.scan(&request)?;
        let sizes = measure(&scan)?;
        Ok(Long::Large(scan, sizes))
    });
    Ok(match long.await.map_err(read)? {
        Long::Whole(answer) => Answer::Whole(completed(context, answer), Some(hold)),
        Long::Large(scan, sizes) => {
            hold.resize(room_of_pieces(&scan, sizes, PIECE_BYTES));
            Answer::Large(scan, sizes, hold)
        }
    })
}

fn measure(scan: &Scan) -> Result<Sizes, Error> {
    let mut measure = scan.measure();
    loop {
        if let Some(sizes) = measure.step(KEYS_PER_STEP)? {
            return Ok(sizes);
        }
    }
}

/// What a range takes that is made while it is sent.
fn room_of_pieces(scan: &Scan, sizes: Sizes, piece_bytes: usize) -> usize {
    scan.bytes() + PIECES * (piece_bytes + sizes.largest)
}

/// Begins a range of any size, whose form is checked, to be sent in such pieces.
pub(crate) async fn scan(
    context: &Arc<Context>,
    asker: &Asker,
    request: RangeRequest,
    piece_bytes: usize,
) -> Result<(Scan, Hold), Status> {
    if !request.serializable {
        context.handle.read_barrier().await.map_err(unserved)?;
    }
    for _ in 0..TRIES {
        let pass = permit(context, asker, &request).await?;
        let begun = scan_permitted(context, request.clone(), piece_bytes).await?;
        if pass.holds(context) {
            return Ok(begun);
        }
    }
    Err(status(Refused::AuthOldRevision))
}

async fn scan_permitted(
    context: &Arc<Context>,
    request: RangeRequest,
    piece_bytes: usize,
) -> Result<(Scan, Hold), Status> {
    let hold = context.room_for(WHOLE_ROOM_BYTES).await?;
    let reading = Arc::clone(context);
    let begun = context.read_long(Some(hold.clone()), move || {
        let scan = reading.handle.reader().scan(&request)?;
        let sizes = measure(&scan)?;
        Ok((scan, sizes))
    });
    let (scan, sizes) = begun.await.map_err(read)?;
    hold.resize(room_of_pieces(&scan, sizes, piece_bytes));
    Ok((scan, hold))
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
pub(crate) async fn answer(context: &Arc<Context>, request: Request<Unread>) -> Response<Body> {
    match try_answer(context, request).await {
        Ok((body, held)) => {
            let mut response = Response::new(Body::range(body));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(CONTENT_TYPE, grpc);
            if let Some(held) = held {
                response.extensions_mut().insert(held);
            }
            response
        }
        Err(status) => status.into_http().map(Body::grpc),
    }
}

async fn try_answer(
    context: &Arc<Context>,
    request: Request<Unread>,
) -> Result<(RangeBody, Option<Held>), Status> {
    let asker = Asker::new(request.headers(), request.extensions());
    let request = message(context, request.into_body()).await?;
    match any(context, &asker, request).await? {
        Answer::Whole(answer, hold) => {
            let mut out = BytesMut::with_capacity(PREFIX_BYTES + answer.encoded_len());
            put_prefix(&mut out, answer.encoded_len())?;
            answer.encode(&mut out).map_err(|error| Status::internal(error.to_string()))?;
            let held = hold.map(|hold| Held { hold, is_whole: true });
            Ok((RangeBody::new(out.freeze(), None), held))
        }
        Answer::Large(scan, sizes, hold) => {
            let body = large(context, scan, sizes)?;
            Ok((body, Some(Held { hold, is_whole: false })))
        }
    }
}

/// An answer in pieces.
fn large(context: &Context, scan: Scan, sizes: Sizes) -> Result<RangeBody, Status> {
    let tail = RangeResponse {
        header: Some(header::header(&context.handle, scan.revision())),
        more: scan.more(),
        count: scan.count(),
        kvs: Vec::new(),
    };
    let bytes = usize::try_from(sizes.all).unwrap_or(usize::MAX);
    let bytes = bytes.saturating_add(tail.encoded_len());
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
async fn message(context: &Context, body: Unread) -> Result<RangeRequest, Status> {
    let bytes_max = context.config.grpc.request_bytes_max + super::dispatch::OVERHEAD_BYTES;
    let mut body = Limited::new(body, PREFIX_BYTES + bytes_max);
    let broken = |error| Status::resource_exhausted(format!("the request cannot be read: {error}"));
    let mut bytes = Bytes::new();
    // Mostly one frame has all of it.
    while bytes.len() < PREFIX_BYTES
        && let Some(frame) = body.frame().await
    {
        let data = frame.map_err(broken)?.into_data().unwrap_or_default();
        bytes = if bytes.is_empty() { data } else { [bytes, data].concat().into() };
    }
    if bytes.len() < PREFIX_BYTES {
        return Err(Status::internal("Missing request message."));
    }
    let prefix = bytes.split_to(PREFIX_BYTES);
    let (flag, length) = prefix.split_at(1);
    let told = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if told > bytes_max {
        // In the words of grpc-go, before any more of it is read.
        let why = format!("grpc: received message larger than max ({told} vs. {bytes_max})");
        return Err(Status::resource_exhausted(why));
    }
    let rest = body.collect().await.map_err(broken)?.to_bytes();
    if !rest.is_empty() {
        bytes = [bytes, rest].concat().into();
    }
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
    fn poll_piece(&mut self, cx: &mut Cx<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(Ok(Some(next)));
        }
        let Some(scan) = &mut self.rest else { return Poll::Ready(Ok(None)) };
        let kvs = ready!(poll_pairs(scan, PIECE_BYTES, cx))?;
        if kvs.is_empty() {
            self.rest = None;
            return Poll::Ready(Ok(None));
        }
        // Fields of a message may come in any order, and repeated ones apart.
        let piece = RangeResponse { kvs, ..RangeResponse::default() };
        Poll::Ready(Ok(Some(piece.encode_to_vec().into())))
    }
}

/// The next pairs of a scan, none at the end. While a filter leaves many keys out, others have their
/// turn.
pub(crate) fn poll_pairs(
    scan: &mut Scan,
    bytes: usize,
    cx: &mut Cx<'_>,
) -> Poll<Result<Vec<KeyValue>, Status>> {
    let pairs = scan.next_pairs(bytes).map_err(read)?;
    if pairs.is_empty() && !scan.is_done() {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(Ok(pairs))
}

impl HttpBody for RangeBody {
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
        match ready!(this.poll_piece(cx)) {
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
