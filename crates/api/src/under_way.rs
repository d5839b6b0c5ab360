//! Answers under way: they ask for room before they are made, and what takes long is done elsewhere.

use std::sync::Arc;

use base::{Refused, limits, room::Hold};
use proto::command::Op;
use state::kv::Error;
use tokio::time;

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
                self.read_long(move || context.handle.reader().answer_bytes(&op, usize::MAX))
                    .await?
            }
            bytes => bytes?,
        };
        if bytes <= limits::ANSWER_SMALL_BYTES_MAX {
            return Ok(self.room_for_small().await?);
        }
        Ok(Some(self.room_for(bytes * FORMS).await?))
    }

    /// Reads on a thread that holds up no connection, when it is its turn.
    pub(crate) async fn read_long<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.long_reads.acquire().await.map_err(undone)?;
        tokio::task::spawn_blocking(read).await.map_err(undone)?
    }
}
