//! What is under way of an answer is counted until the client's connection has taken it.
//!
//! hyper takes one piece of a body ahead, whether the client reads or not, and keeps what it has
//! taken. So each piece carries what counts it, and gives it back when its last byte is out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use base::{
    limits::{ANSWER_SMALL_BYTES_MAX, ANSWER_TINY_BYTES_MAX},
    room::{Hold, Share, Take},
};
use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, SizeHint};

use crate::{body::ReplyBody, under_way::Held, v3};

/// A body whose pieces are counted.
pub(crate) struct Portions<B> {
    body: B,
    /// `None`: it is small, and the only answer of its connection.
    share: Option<Arc<Share>>,
    /// Given before the answer was made.
    held: Option<Held>,
    /// Waits before the next piece is made.
    gate: Option<Take>,
    /// Of a piece: what is handed out next, with what counts it.
    rest: Option<(Bytes, Hold)>,
}

/// Bytes with what counts them.
struct Counted<K> {
    bytes: Bytes,
    _kept: K,
}

impl<K> AsRef<[u8]> for Counted<K> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn counted(bytes: Bytes, kept: impl Send + 'static) -> Bytes {
    Bytes::from_owner(Counted { bytes, _kept: kept })
}

impl Portions<ReplyBody> {
    /// An answer over HTTP/1, where there is one at a time.
    pub(crate) fn single(share: &Arc<Share>, mut response: Response<ReplyBody>) -> Response<Self> {
        let held = response.extensions_mut().remove();
        let is_small = match response.body() {
            ReplyBody::Whole(bytes) => {
                bytes.as_ref().is_none_or(|bytes| bytes.len() <= ANSWER_SMALL_BYTES_MAX)
            }
            ReplyBody::Watch(_)
            | ReplyBody::Listing(_)
            | ReplyBody::Range(_)
            | ReplyBody::Messages(_)
            | ReplyBody::Passing(_) => false,
        };
        let share = (!is_small).then(|| Arc::clone(share));
        response.map(|body| Self { body, share, held, gate: None, rest: None })
    }
}

impl Portions<v3::Body> {
    /// An answer over HTTP/2, one of many.
    pub(crate) fn one_of_many(
        share: &Arc<Share>,
        mut response: Response<v3::Body>,
    ) -> Response<Self> {
        let held = response.extensions_mut().remove();
        let share = Some(Arc::clone(share));
        response.map(|body| Self { body, share, held, gate: None, rest: None })
    }
}

impl<B: Body<Data = Bytes> + Unpin> Portions<B> {
    /// Ready once a piece may be made; perhaps with the room for it.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<Option<Hold>> {
        let Some(share) = &self.share else { return Poll::Ready(None) };
        if self.held.is_some() || (self.gate.is_none() && share.is_light()) {
            return Poll::Ready(None);
        }
        // It is too late to refuse anything.
        let begin = || share.take(ANSWER_SMALL_BYTES_MAX).however_many_wait();
        let given = ready!(Pin::new(self.gate.get_or_insert_with(begin)).poll(cx));
        self.gate = None;
        Poll::Ready(given.ok())
    }

    /// A piece as it is handed out.
    fn piece(&mut self, bytes: Bytes, given: Option<Hold>) -> Bytes {
        let Some(share) = &self.share else { return bytes };
        if let Some(Held { hold, is_whole }) = &self.held {
            if *is_whole {
                hold.resize(bytes.len());
            }
            let hold = hold.clone();
            return self.first_of(bytes, hold);
        }
        if let Some(hold) = given {
            hold.resize(bytes.len());
            return self.first_of(bytes, hold);
        }
        match bytes.len() {
            ..ANSWER_TINY_BYTES_MAX => bytes,
            length @ ..=ANSWER_SMALL_BYTES_MAX => counted(bytes, share.small(length)),
            length => {
                let hold = share.charge(length);
                self.first_of(bytes, hold)
            }
        }
    }

    fn first_of(&mut self, bytes: Bytes, hold: Hold) -> Bytes {
        self.rest = Some((counted(bytes, hold.clone()), hold));
        self.next_of_rest().unwrap_or_default()
    }

    /// In small pieces: hyper copies them over HTTP/1, and keeps its memory; and so it is seen whether
    /// the client takes them.
    fn next_of_rest(&mut self) -> Option<Bytes> {
        let (rest, hold) = self.rest.as_mut()?;
        hold.moved();
        let next = rest.split_to(rest.len().min(ANSWER_SMALL_BYTES_MAX));
        if rest.is_empty() {
            self.rest = None;
        }
        Some(next)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Portions<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let Some(next) = this.next_of_rest() {
            return Poll::Ready(Some(Ok(Frame::data(next))));
        }
        let given = ready!(this.poll_gate(cx));
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(bytes) => Frame::data(this.piece(bytes, given)),
                Err(other) => other,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, |(rest, _)| rest.len() as u64);
        let hint = self.body.size_hint();
        match hint.exact() {
            Some(exact) => SizeHint::with_exact(exact + rest),
            None => hint,
        }
    }
}
