//! Answers under way: they ask for room before they are made, and what takes long is done elsewhere.

use std::sync::Arc;

use base::{
    Refused, limits,
    room::{Hold, Share},
};
use proto::command::Op;
use state::kv::Error;
use tokio::{sync::Semaphore, time};

use crate::context::Context;

/// What an answer may take while it is made, as a multiple of its keys and values: these, its form on the
/// wire, in base64 perhaps, in a buffer that has just grown; and what the allocator keeps of all that.
pub(crate) const FORMS: usize = 4;

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

/// Waits for so many bytes of a connection's share, but not for ever.
async fn room_of(share: &Arc<Share>, bytes: usize) -> Result<Hold, Crowded> {
    let taken = time::timeout(limits::ANSWER_PATIENCE, share.take(bytes)).await;
    taken.map_err(|_| Crowded)?.map_err(|_| Crowded)
}

impl Context {
    /// Waits until an answer of so many bytes may be made.
    pub(crate) async fn room_for(&self, bytes: usize) -> Result<Hold, Crowded> {
        room_of(&self.share, bytes).await
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
    use tokio::time::Instant;

    use super::*;

    /// Of 100 bytes somebody holds 60.
    async fn crowded() -> (Arc<Room>, Hold) {
        let room = Arc::new(Room::new(100, 100, 10));
        let hold = room.share().take(60).await.unwrap();
        (room, hold)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_finds_no_room_is_refused_after_twenty_seconds() {
        let (room, hold) = crowded().await;
        let (share, began) = (room.share(), Instant::now());
        assert_eq!(room_of(&share, 41).await.map(drop), Err(Crowded));
        assert_eq!(began.elapsed(), Duration::from_secs(20));
        // It waits no more, and took nothing.
        assert!(!room.is_waited_for());
        assert_eq!(room.taken(), 60);
        room_of(&share, 40).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(20), "what there is is had at once");
        drop(hold);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_finds_room_in_time_is_made() {
        let (room, hold) = crowded().await;
        let (share, began) = (room.share(), Instant::now());
        tokio::spawn(async move {
            time::sleep(Duration::from_secs(19)).await;
            drop(hold);
        });
        let given = room_of(&share, 41).await.unwrap();
        assert_eq!((began.elapsed(), room.taken()), (Duration::from_secs(19), 41));
        drop(given);
    }

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
