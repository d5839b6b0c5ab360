//! Answers under way: they ask for room before they are made, and what takes long is done elsewhere.

use std::sync::Arc;

use base::{Refused, limits, room::Hold};
use proto::command::Op;
use state::kv::Error;
use tokio::{sync::Semaphore, time};

use crate::context::Context;

/// What an answer may take beside the keys and values that it holds, as a multiple: its form on the
/// wire, in base64 perhaps, while they are still there.
pub(crate) const FORMS: usize = 3;

/// The room that an answer has been given.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) hold: Hold,
    /// The answer is sent as it is, and its parts are gone by then; else it is made while it is sent.
    pub(crate) is_whole: bool,
}

/// No room was found in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

impl From<Crowded> for Error {
    fn from(_: Crowded) -> Self {
        Refused::TooManyAnswers.into()
    }
}

/// Not done: the server stops, or it failed.
fn undone<T>(_: T) -> Error {
    Refused::Stopped.into()
}

impl Context {
    /// Waits until an answer of so many bytes may be made.
    pub(crate) async fn room_for(&self, bytes: usize) -> Result<Hold, Crowded> {
        let taken = time::timeout(limits::ANSWER_PATIENCE, self.share.take(bytes)).await;
        taken.map_err(|_| Crowded)?.map_err(|_| Crowded)
    }

    /// The same before a small one, which need not ask while few are under way.
    pub(crate) async fn room_for_small(&self) -> Result<Option<Hold>, Crowded> {
        if self.share.is_light() {
            return Ok(None);
        }
        self.room_for(limits::ANSWER_SMALL_BYTES_MAX).await.map(Some)
    }

    /// The same before a command is carried out: then its answer is there, whatever its size.
    pub(crate) async fn room_for_answer_to(
        self: &Arc<Self>,
        op: &Op,
    ) -> Result<Option<Hold>, Error> {
        let reader = self.handle.reader();
        let bytes = match reader.answer_bytes(op, limits::ANSWER_SMALL_NAMES_MAX) {
            Err(Error::Refused(Refused::AnswerTooLarge)) => {
                let (context, op) = (Arc::clone(self), op.clone());
                let measure = move || context.handle.reader().answer_bytes(&op, usize::MAX);
                self.read_long(None, measure).await?
            }
            bytes => bytes?,
        };
        if bytes <= limits::ANSWER_SMALL_BYTES_MAX {
            return Ok(self.room_for_small().await?);
        }
        Ok(Some(self.room_for(bytes * FORMS).await?))
    }

    /// Reads on a thread that holds up no connection, when it is its turn; `hold` is the room that it
    /// has.
    pub(crate) async fn read_long<T: Send + 'static>(
        &self,
        hold: Option<Hold>,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.long_reads.run(hold, read).await
    }
}

/// Places for reads that would hold up a thread of the network.
#[derive(Debug)]
pub(crate) struct LongReads(Arc<Semaphore>);

impl Default for LongReads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::LONG_READS_MAX)))
    }
}

impl LongReads {
    /// Whoever asks may go away before it is done. Then it goes on, and so it keeps its place and its
    /// room.
    async fn run<T: Send + 'static>(
        &self,
        hold: Option<Hold>,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(undone)?;
        let reading = tokio::task::spawn_blocking(move || {
            let _kept = (place, hold);
            read()
        });
        reading.await.map_err(undone)?
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use base::Room;

    use super::*;

    #[tokio::test]
    async fn a_long_read_that_nobody_waits_for_keeps_its_place_and_its_room_until_it_is_done() {
        let (room, reads) = (Arc::new(Room::default()), LongReads::default());
        let hold = room.share().take(1_000).await.unwrap();
        let (go_on, told) = mpsc::channel::<u8>();
        let read = reads.run(Some(hold), move || Ok(told.recv().unwrap()));
        assert!(time::timeout(Duration::from_millis(100), read).await.is_err(), "it waits");
        let taken = || (limits::LONG_READS_MAX - reads.0.available_permits(), room.taken());
        assert_eq!(taken(), (1, 1_000));
        go_on.send(1).unwrap();
        while taken() != (0, 0) {
            time::sleep(Duration::from_millis(1)).await;
        }
    }
}
