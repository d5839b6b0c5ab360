//! An answer that tells of so much that it is made while it is sent.

use base::room::Hold;
use proto::{Message as _, etcdserverpb::WatchResponse, mvccpb::Event};
use state::kv::watch;
use tonic::Status;

use crate::v3::failure::read;

/// An answer whose events are still to be read; its length is known.
pub(crate) struct Large {
    /// All but the events.
    pub(crate) head: WatchResponse,
    events: Box<watch::Large>,
    _hold: Hold,
}

impl Large {
    pub(super) fn new(head: WatchResponse, events: Box<watch::Large>, hold: Hold) -> Self {
        Self { head, events, _hold: hold }
    }

    /// Bytes of the whole, encoded.
    pub(super) fn encoded_len(&self) -> u64 {
        self.head.encoded_len() as u64 + self.events.bytes()
    }

    /// The next events, about so many bytes of them; empty at the end.
    pub(crate) fn next_events(&mut self, bytes: usize) -> Result<Vec<Event>, Status> {
        self.events.next_events(bytes).map_err(|error| read(error.into()))
    }
}
