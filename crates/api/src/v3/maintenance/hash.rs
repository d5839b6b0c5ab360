//! Hashes, by which members are compared.

use std::sync::Arc;

use mvcc::KeysHash;
use tokio::time::Instant;
use tonic::Status;

use crate::{
    context::Context,
    v3::failure::{read, status},
};

/// Of all tables. Its reader holds others up no more than a snapshot does.
pub(super) async fn of_tables(context: &Context) -> Result<u32, Status> {
    let _place = context.handle.hashing().await.map_err(status)?;
    let handle = context.handle.clone();
    let began = Instant::now();
    let hashed = tokio::task::spawn_blocking(move || handle.hash_tables()).await;
    context.counters.storage.hash.record(began.elapsed());
    let hashed = hashed.map_err(|error| Status::internal(error.to_string()))?;
    hashed.map_err(Status::internal)
}

/// Of the history of keys up to a revision; 0: the current one. As etcd has it.
pub(super) async fn of_keys(context: &Arc<Context>, revision: i64) -> Result<KeysHash, Status> {
    let began = Instant::now();
    let hashed = context.handle.hash_keys(revision).await;
    context.counters.storage.hash_rev.record(began.elapsed());
    hashed.map_err(read)
}
