//! A range as JSON: small ones as a whole, large ones made while they are sent.

use std::{
    sync::Arc,
    task::{Context as Cx, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use hyper::body::Frame;
use proto::etcdserverpb::{RangeRequest, ResponseHeader};
use serde::Serialize;
use state::kv::Scan;
use tonic::{Code, Status};

use super::{Question, answered, failed, failure, requests};
use crate::{
    body::{Cut, ReplyBody},
    context::Context,
    ops::metrics::grpc::Call,
    reply::{JSON, Reply},
    under_way::Held,
    v3::{self, range::Answer},
};

/// A piece of a large one.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) async fn answer(
    context: &Arc<Context>,
    question: Question,
    called: (usize, &'static v3::methods::Method),
) -> Reply {
    let Question { head: asked, deadline, content } = question;
    let request: RangeRequest = match requests::read(context, content).await {
        Ok(request) => request,
        Err(reply) => return asked.unread(called, reply),
    };
    let call = match asked.begin(context, called) {
        Ok(call) => call,
        Err(status) => return failure::reply(&status),
    };
    let asker = asked.asker();
    match deadline.keep(v3::range::any(context, &asker, request)).await {
        Ok(Answer::Whole(answer, hold)) => {
            let held = hold.map(|hold| Held { hold, is_whole: true });
            answered(context, call, answer, held).await
        }
        Ok(Answer::Large(scan, _, hold)) => {
            let mut call = call;
            call.made();
            let header = v3::header::header(&context.handle, scan.revision());
            match head(&header) {
                Ok(head) => {
                    let body = RangeBody::new(call, head, scan);
                    let mut reply = Response::new(ReplyBody::Range(Box::new(body)));
                    reply.headers_mut().insert(http::header::CONTENT_TYPE, JSON);
                    reply.extensions_mut().insert(Held { hold, is_whole: false });
                    reply
                }
                Err(status) => failed(call, &status),
            }
        }
        Err(status) => failed(call, &status),
    }
}

/// A large range on its way to a client.
pub(crate) struct RangeBody {
    /// What is sent next.
    next: Vec<u8>,
    /// What follows it; `None` once all is there.
    rest: Option<Scan>,
    /// A pair was written before.
    has_begun: bool,
    /// Hears how it ends.
    call: Call,
}

/// The beginning, up to the first pair.
fn head(header: &ResponseHeader) -> Result<Vec<u8>, Status> {
    let mut head = b"{\"header\":".to_vec();
    write(&mut head, header)?;
    head.extend_from_slice(b",\"kvs\":[");
    Ok(head)
}

impl RangeBody {
    /// `head`: what stands before the pairs.
    fn new(call: Call, head: Vec<u8>, scan: Scan) -> Self {
        Self { next: head, rest: Some(scan), has_begun: false, call }
    }

    /// The next piece; `None` at the end. Whoever asks has taken the last one.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Cx<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.next.is_empty()
            && let Err(status) = ready!(self.poll_fill(cx))
        {
            // The status is out already: a part must not look like the whole.
            self.call.ended(status.code());
            self.rest = None;
            return Poll::Ready(Some(Err(Cut)));
        }
        let piece = std::mem::take(&mut self.next);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece.into()))))
    }

    fn poll_fill(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Status>> {
        let Some(scan) = &mut self.rest else { return Poll::Ready(Ok(())) };
        let pairs = ready!(v3::range::poll_pairs(scan, PIECE_BYTES, cx))?;
        for pair in &pairs {
            if self.has_begun {
                self.next.push(b',');
            }
            self.has_begun = true;
            write(&mut self.next, pair)?;
        }
        if pairs.is_empty() {
            let more = if scan.more() { "\"more\":true," } else { "" };
            let end = format!("],{more}\"count\":\"{}\"}}", scan.count());
            self.next.extend_from_slice(end.as_bytes());
            self.rest = None;
            self.call.ended(Code::Ok);
        }
        Poll::Ready(Ok(()))
    }
}

fn write(out: &mut Vec<u8>, message: &impl Serialize) -> Result<(), Status> {
    serde_json::to_writer(out, message).map_err(|error| Status::internal(error.to_string()))
}
