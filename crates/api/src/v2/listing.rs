//! A directory as JSON, made piece by piece.

use std::sync::Arc;

use base::{UnixNanos, limits};
use bytes::Bytes;
use mvcc::ReadError;
use proto::command::By;
use state::{
    auth::Auth,
    keys::{Listing, Node, Step},
};

use super::json;

/// A directory up to this is one body with a length; a larger one is sent while it is read.
const WHOLE_BYTES_MAX: usize = limits::ANSWER_SMALL_BYTES_MAX;
/// A piece of a larger one.
const CHUNK_BYTES: usize = 64 * 1024;

/// Nodes that somebody may read who may not read all that lies in a directory: those that are listed.
pub(crate) struct Shows {
    pub(crate) auth: Arc<Auth>,
    pub(crate) by: Option<By>,
}

impl Shows {
    fn has(&self, node: &Node) -> bool {
        self.auth.v2_shows(self.by.as_ref(), &node.key, node.dir)
    }
}

/// A directory on its way to a client.
pub(crate) struct ListingBody {
    listing: Listing,
    /// `None`: all.
    shows: Option<Shows>,
    now: UnixNanos,
    /// The directories that are open, the asked one first, and whether a child was written.
    open: Vec<(Node, bool)>,
    out: Vec<u8>,
    ended: bool,
}

/// What [`ListingBody::begin`] found.
pub(crate) enum Begun {
    Whole(Vec<u8>),
    Long(Box<ListingBody>),
    Failed(ReadError),
}

impl ListingBody {
    pub(crate) fn new(node: Node, listing: Listing, now: UnixNanos) -> Self {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(b"{\"action\":\"get\",\"node\":");
        json::begin_node(&mut out, &node, now);
        Self { listing, shows: None, now, open: vec![(node, false)], out, ended: false }
    }

    pub(crate) fn only(self, shows: Option<Shows>) -> Self {
        Self { shows, ..self }
    }

    /// Makes the first piece.
    pub(crate) fn begin(mut self) -> Begun {
        match self.fill(WHOLE_BYTES_MAX) {
            Err(error) => Begun::Failed(error),
            Ok(()) if self.ended => Begun::Whole(self.out),
            Ok(()) => Begun::Long(Box::new(self)),
        }
    }

    /// The next piece of a long one; `None` at the end.
    pub(crate) fn next_chunk(&mut self) -> Option<Bytes> {
        if self.out.is_empty()
            && !self.ended
            && let Err(error) = self.fill(CHUNK_BYTES)
        {
            // The status is out already: what is left is to end too early, which no parser of
            // JSON takes for the whole.
            tracing::warn!(%error, "a listing ends too early");
            return None;
        }
        let chunk = std::mem::take(&mut self.out);
        (!chunk.is_empty()).then(|| chunk.into())
    }

    fn fill(&mut self, bytes: usize) -> Result<(), ReadError> {
        while self.out.len() < bytes && !self.ended {
            match self.listing.next_step()? {
                // Such listings are never recursive.
                Some(Step::Leaf(node)) if self.hides(&node) => {}
                Some(Step::Leaf(node)) => {
                    self.begin_child();
                    json::write_node(&mut self.out, &node, self.now);
                }
                Some(Step::Enter(node)) => {
                    self.begin_child();
                    json::begin_node(&mut self.out, &node, self.now);
                    self.open.push((node, false));
                }
                Some(Step::Leave) => self.leave(),
                None => {
                    while !self.open.is_empty() {
                        self.leave();
                    }
                    self.out.extend_from_slice(b"}\n");
                    self.ended = true;
                }
            }
        }
        Ok(())
    }

    fn hides(&self, node: &Node) -> bool {
        self.shows.as_ref().is_some_and(|shows| !shows.has(node))
    }

    fn begin_child(&mut self) {
        let Some((_, has_children)) = self.open.last_mut() else { return };
        let before: &[u8] = if *has_children { b"," } else { b"\"nodes\":[" };
        *has_children = true;
        self.out.extend_from_slice(before);
    }

    fn leave(&mut self) {
        let Some((node, has_children)) = self.open.pop() else { return };
        if has_children {
            self.out.extend_from_slice(b"],");
        }
        json::end_node(&mut self.out, &node);
    }
}
