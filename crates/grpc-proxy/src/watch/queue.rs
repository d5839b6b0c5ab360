//! What waits for a client until it takes it.
//!
//! *Invariant: no more than so many bytes wait, or one batch that is larger.*

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use proto::{Message as _, etcdserverpb::WatchResponse};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};
use tokio_stream::Stream;
use tonic::Status;

/// What waits for a client at most. Whoever is slower is told from history.
pub(super) const QUEUE_BYTES: u32 = 1 << 20;
/// What an answer, and each event in it, takes besides its own bytes.
const OVERHEAD_BYTES: u32 = 256;

/// A queue for a stream of answers where so many bytes may wait.
pub(super) fn queue(bytes_max: u32) -> (Queue, Answers) {
    // The bytes are all taken before these places are.
    let (send, receive) = mpsc::channel((bytes_max / OVERHEAD_BYTES) as usize + 1);
    let room = Arc::new(Semaphore::new(bytes_max as usize));
    (Queue { send, room, bytes_max }, Answers { receive, current: Batch::default() })
}

/// Where answers go in.
#[derive(Debug)]
pub(super) struct Queue {
    send: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
    bytes_max: u32,
}

/// Answers that nothing comes between.
#[derive(Debug, Default)]
struct Batch {
    answers: VecDeque<Result<WatchResponse, Status>>,
    /// Given back once all are taken.
    _room: Option<OwnedSemaphorePermit>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Its client has to be waited for.
    Full,
    /// It has gone.
    Closed,
}

/// Room for some answers.
#[derive(Debug)]
pub(super) struct Room<'a> {
    place: mpsc::Permit<'a, Batch>,
    answers: Vec<WatchResponse>,
    bytes: OwnedSemaphorePermit,
}

impl Room<'_> {
    pub(super) fn send(self) {
        let answers = self.answers.into_iter().map(Ok).collect();
        self.place.send(Batch { answers, _room: Some(self.bytes) });
    }
}

impl Queue {
    pub(super) async fn closed(&self) {
        self.send.closed().await;
    }

    /// Waits until there is room for all of these together.
    pub(super) async fn room(&self, answers: Vec<WatchResponse>) -> Result<Room<'_>, NoRoom> {
        // Once its client has gone, nothing waits there any more.
        let bytes = Arc::clone(&self.room).acquire_many_owned(self.bytes(&answers)).await;
        let bytes = bytes.map_err(|_| NoRoom::Closed)?;
        let place = self.send.reserve().await.map_err(|_| NoRoom::Closed)?;
        Ok(Room { place, answers, bytes })
    }

    /// The same, if there is room now.
    pub(super) fn room_now(&self, answers: Vec<WatchResponse>) -> Result<Room<'_>, NoRoom> {
        let bytes = Arc::clone(&self.room).try_acquire_many_owned(self.bytes(&answers));
        let bytes = bytes.map_err(|why| match why {
            TryAcquireError::Closed => NoRoom::Closed,
            TryAcquireError::NoPermits => NoRoom::Full,
        })?;
        let place = self.send.try_reserve().map_err(|why| match why {
            mpsc::error::TrySendError::Closed(()) => NoRoom::Closed,
            mpsc::error::TrySendError::Full(()) => NoRoom::Full,
        })?;
        Ok(Room { place, answers, bytes })
    }

    /// Behind all that waits; nothing is to come behind it.
    pub(super) async fn end(&self, status: Status) {
        let answers = VecDeque::from([Err(status)]);
        // Who has gone away needs none.
        self.send.send(Batch { answers, _room: None }).await.ok();
    }

    /// What these take; what is larger than all there is takes all.
    fn bytes(&self, answers: &[WatchResponse]) -> u32 {
        let bytes = |answer: &WatchResponse| {
            let overhead = OVERHEAD_BYTES as usize * (1 + answer.events.len());
            answer.encoded_len().saturating_add(overhead)
        };
        let bytes = answers.iter().map(bytes).fold(0, usize::saturating_add);
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max)
    }
}

/// Where they come out.
#[derive(Debug)]
pub(crate) struct Answers {
    receive: mpsc::Receiver<Batch>,
    current: Batch,
}

impl Stream for Answers {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(answer) = this.current.answers.pop_front() {
                if this.current.answers.is_empty() {
                    drop(mem::take(&mut this.current));
                }
                return Poll::Ready(Some(answer));
            }
            match ready!(this.receive.poll_recv(cx)) {
                Some(batch) => this.current = batch,
                None => return Poll::Ready(None),
            }
        }
    }
}
