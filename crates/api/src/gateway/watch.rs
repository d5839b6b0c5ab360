//! The answers of watches as JSON: small ones as a line each, large ones made while they are sent.

use std::{
    pin::Pin,
    task::{Context as Cx, Poll, ready},
};

use serde::Serialize;
use tokio_stream::Stream;
use tonic::Status;

use super::messages;
use crate::v3::watch::{Large, Told, WatchStream};

/// A piece of a large answer.
const PIECE_BYTES: usize = 64 * 1024;

/// A line for each answer, or pieces of one.
pub(super) struct Lines {
    stream: WatchStream,
    /// Under way, and whether an event of it was written.
    large: Option<(Box<Large>, bool)>,
}

impl Lines {
    pub(super) fn new(stream: WatchStream) -> Self {
        Self { stream, large: None }
    }

    /// The next piece of a large answer; `None`: there is none.
    fn piece(&mut self, cx: &mut Cx<'_>) -> Result<Option<Vec<u8>>, Status> {
        let Some((large, has_begun)) = &mut self.large else { return Ok(None) };
        if let Poll::Ready(status) = self.stream.poll_over(cx) {
            return Err(status);
        }
        let mut out = Vec::new();
        for event in large.next_events(PIECE_BYTES)? {
            if std::mem::replace(has_begun, true) {
                out.push(b',');
            }
            write(&mut out, &event)?;
        }
        if out.is_empty() {
            self.large = None;
            out.extend_from_slice(b"]}}\n");
        }
        Ok(Some(out))
    }
}

impl Stream for Lines {
    type Item = Result<Vec<u8>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        if let Some(piece) = self.piece(cx).transpose() {
            return Poll::Ready(Some(piece));
        }
        Poll::Ready(match ready!(self.stream.poll_told(cx)) {
            None => None,
            Some(Err(status)) => Some(Err(status)),
            Some(Ok(Told::Answer(answer))) => Some(messages::line(&answer)),
            Some(Ok(Told::Large(large))) => {
                let head = head(&large);
                self.large = Some((large, false));
                Some(head)
            }
        })
    }
}

/// What stands before the events.
fn head(large: &Large) -> Result<Vec<u8>, Status> {
    let mut out = b"{\"result\":".to_vec();
    write(&mut out, &large.head)?;
    // It has a header at least.
    out.pop();
    out.extend_from_slice(b",\"events\":[");
    Ok(out)
}

fn write(out: &mut Vec<u8>, message: &impl Serialize) -> Result<(), Status> {
    serde_json::to_writer(out, message).map_err(|error| Status::internal(error.to_string()))
}
