//! The bodies of answers: whole ones, four that are made while they are sent, and those of others.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::{
    gateway::{MessagesBody, RangeBody},
    proxy::Passing,
    v2::{listing::ListingBody, watch::WatchBody},
};

/// The body of an answer.
pub(crate) enum ReplyBody {
    /// Known beforehand; `None` once sent.
    Whole(Option<Bytes>),
    /// Events, as they happen.
    Watch(Box<WatchBody>),
    /// A directory too large to be held in memory.
    Listing(Box<ListingBody>),
    /// A range of the gateway, too large for that as well.
    Range(Box<RangeBody>),
    /// Messages of the gateway, as they come.
    Messages(Box<MessagesBody>),
    /// A member's, on its way through a proxy.
    Passing(Box<Passing>),
}

/// A body that breaks off in the middle: the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer breaks off")
    }
}

impl Error for Cut {}

impl ReplyBody {
    pub(crate) const EMPTY: Self = Self::Whole(None);

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let next = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Watch(watch) => watch.poll_chunk(cx),
            Self::Listing(listing) => Poll::Ready(listing.next_chunk()),
            Self::Range(range) => return range.poll_piece(cx),
            Self::Messages(messages) => messages.poll_chunk(cx),
            Self::Passing(passing) => return passing.poll_piece(cx),
        };
        next.map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Watch(_) | Self::Listing(_) | Self::Range(_) | Self::Messages(_) => false,
            Self::Passing(passing) => passing.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Watch(_) | Self::Listing(_) | Self::Range(_) | Self::Messages(_) => {
                SizeHint::default()
            }
            Self::Passing(passing) => passing.length(),
        }
    }
}
