//! Comparing what lies on disk: etcd's hash of the history of keys, at one revision.

use base::{MemberId, Refused};
use mvcc::KeysHash;
use state::kv::Error;
use tokio::{sync::SemaphorePermit, time};

use super::{Of, ask_all, conclude};
use crate::Handle;

/// Where a peer is asked for its hash; the revision follows.
pub const HASH_PATH: &str = "/members/hashkv/";

/// Rows that are looked at before others have their turn.
const ROWS: usize = 2_000;
/// Compaction waits for a hash, but not for long.
const TRIES: usize = 5;
/// How long a member may take: it reads all there is.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(10);
/// How long a revision may take until it is there.
const REVISION_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

impl Handle {
    /// A place for whoever hashes all there is.
    pub async fn hashing(&self) -> Result<SemaphorePermit<'_>, Refused> {
        self.shared.hashing.acquire().await.map_err(|_| Refused::Stopped)
    }

    /// Etcd's hash of the history of keys up to a revision (0: the current one). One at a time: each
    /// reads all there is.
    pub async fn hash_keys(&self, revision: i64) -> Result<KeysHash, Error> {
        let _place = self.hashing().await?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.hash_to_the_end(revision).await {
                // It was overtaken, unless the revision itself is gone: then the beginning says so.
                Err(Error::Refused(Refused::Compacted)) if tries < TRIES => {}
                ended => return ended,
            }
        }
    }

    async fn hash_to_the_end(&self, revision: i64) -> Result<KeysHash, Error> {
        let mut hashing = self.reader().hash(revision)?;
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

    /// The answer to a peer that asks for the hash at this revision, as a line.
    pub async fn tell_hash(&self, revision: i64) -> String {
        let store = self.reader().store();
        let is_there = async {
            while store.revision() < revision {
                time::sleep(super::AGAIN).await;
            }
        };
        if time::timeout(REVISION_PATIENCE, is_there).await.is_err() {
            return "ahead\n".to_owned();
        }
        match self.hash_keys(revision).await {
            Ok(found) => format!("{} {}\n", found.compacted, found.hash),
            Err(why) => format!("{why}\n"),
        }
    }
}

/// The leader's round.
pub(super) async fn compare(handle: &Handle) {
    match handle.hash_keys(handle.reader().store().revision()).await {
        Ok(own) => compare_with(handle, own).await,
        Err(why) => tracing::warn!(%why, "the keys could not be hashed, to compare members"),
    }
}

/// What compactions have left behind this revision; returns up to where.
pub(super) async fn compare_compactions(handle: &Handle, behind: i64) -> i64 {
    let left = handle.reader().store().hashes();
    for own in left.iter().filter(|hash| hash.revision > behind) {
        compare_with(handle, *own).await;
    }
    left.iter().map(|hash| hash.revision).fold(behind, i64::max)
}

async fn compare_with(handle: &Handle, own: KeysHash) {
    let of = Of::Hash { revision: own.revision, compacted: own.compacted };
    let voices = ask_all(handle, of, own.hash.into()).await;
    conclude(handle, of, &voices).await;
}

/// `None`: it does not answer, or has compacted up to another revision.
pub(super) async fn ask(
    handle: &Handle,
    member: MemberId,
    revision: i64,
    compacted: i64,
) -> Option<u64> {
    let asking = super::ask(handle, member, format!("{HASH_PATH}{revision}"));
    let line = time::timeout(PATIENCE, asking).await.ok().flatten()?;
    let (until, hash) = line.trim_end().split_once(' ')?;
    let is_same = until.parse::<i64>().ok()? == compacted;
    hash.parse::<u32>().ok().filter(|_| is_same).map(Into::into)
}
