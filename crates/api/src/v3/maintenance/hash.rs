//! Hashes, by which members are compared.

use std::sync::Arc;

use base::Refused;
use mvcc::{Hashing, KeysHash};
use state::kv::Error;
use tokio::time::Instant;
use tonic::Status;

use crate::{
    context::Context,
    v3::failure::{read, status},
};

/// Rows that are looked at before others have their turn, and the client may go away.
const ROWS: usize = 2_000;
/// Compaction waits for a hash, but not for long.
const TRIES: usize = 5;

/// Of all tables. Its reader holds others up no more than a snapshot does.
pub(super) async fn of_tables(context: &Context) -> Result<u32, Status> {
    let _place = context.hashing.acquire().await.map_err(|_| status(Refused::Stopped))?;
    let handle = context.handle.clone();
    let began = Instant::now();
    let hashed = tokio::task::spawn_blocking(move || handle.hash_tables()).await;
    context.counters.storage.hash.record(began.elapsed());
    let hashed = hashed.map_err(|error| Status::internal(error.to_string()))?;
    hashed.map_err(Status::internal)
}

/// Of the history of keys up to a revision; 0: the current one. As etcd has it.
pub(super) async fn of_keys(context: &Arc<Context>, revision: i64) -> Result<KeysHash, Status> {
    let _place = context.hashing.acquire().await.map_err(|_| status(Refused::Stopped))?;
    let (mut tries, began) = (0, Instant::now());
    loop {
        tries += 1;
        let begun = context.handle.reader().hash(revision).map_err(read)?;
        match to_the_end(begun).await {
            // It was overtaken, unless the revision itself is gone: then the beginning says so.
            Err(Error::Refused(Refused::Compacted)) if tries < TRIES => {}
            ended => {
                context.counters.storage.hash_rev.record(began.elapsed());
                return ended.map_err(read);
            }
        }
    }
}

async fn to_the_end(mut hashing: Hashing) -> Result<KeysHash, Error> {
    loop {
        let stepped = tokio::task::spawn_blocking(move || {
            let found = hashing.step(ROWS);
            (hashing, found)
        });
        let (back, found) = stepped.await.map_err(|_| Refused::Canceled)?;
        if let Some(found) = found? {
            return Ok(found);
        }
        hashing = back;
    }
}
