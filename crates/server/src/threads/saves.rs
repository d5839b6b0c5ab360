//! Snapshots for clients: a thread for each, which reads the keyspace while others go on.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{AcqRel, Acquire},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use backend::{SHA256_BYTES, Saving};
use base::{limits, version};
use proto::{Message as _, between::SavedBy};
use tokio::{runtime, sync::mpsc, time};

use super::spawn;
use crate::{Handle, failure::Failure, shared::Shared};

pub use backend::Blob;

/// What is read and sent at once.
const BLOB_BYTES: usize = 128 << 10;
/// Blobs on their way to the network.
const BLOBS_WAITING: usize = 2;
/// A client that takes nothing for so long is gone: the space of what is deleted meanwhile cannot be
/// used again.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why no snapshot is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsaved {
    #[error(
        "etcdserver: {0} snapshots are on their way to clients already: ask again when one has ended"
    )]
    TooMany(usize),
    /// The machine has no more: space, or threads.
    #[error("etcdserver: the snapshot cannot begin: {0}")]
    NoRoom(String),
    #[error("etcdserver: the snapshot cannot begin: {0}")]
    Failed(String),
}

impl From<backend::Error> for Unsaved {
    fn from(error: backend::Error) -> Self {
        let why = Failure::new(&error).0;
        if error.is_full() { Self::NoRoom(why) } else { Self::Failed(why) }
    }
}

/// A snapshot on its way to a client, piece by piece, the checksum last. An error ends it.
#[derive(Debug)]
pub struct Saved {
    /// Bytes that have not come yet.
    left: u64,
    blobs: mpsc::Receiver<Result<Blob, String>>,
}

impl Saved {
    /// `total`: bytes of all but the checksum.
    fn new(total: u64, blobs: mpsc::Receiver<Result<Blob, String>>) -> Self {
        Self { left: total + SHA256_BYTES as u64, blobs }
    }

    /// The next piece; `None` once the checksum has come. What ends before is an error: a client
    /// would take it for a backup.
    pub fn poll_blob(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Blob, String>>> {
        let next = ready!(self.blobs.poll_recv(cx));
        if let Some(Ok(blob)) = &next {
            self.left = self.left.saturating_sub(blob.bytes.len() as u64);
        }
        let next = match next {
            None if self.left > 0 => Some(Err(format!(
                "etcdserver: the snapshot was given up {} bytes before its end: the client took \
                 nothing for {} s, or the server stops",
                self.left,
                PATIENCE.as_secs()
            ))),
            next => next,
        };
        Poll::Ready(next)
    }
}

impl Handle {
    /// The keyspace as it is now, in a form that is kept and restored; at most so many at once.
    pub async fn save_snapshot(&self) -> Result<Saved, Unsaved> {
        let shared = &self.shared;
        let place = Place::take(shared).ok_or(Unsaved::TooMany(limits::SNAPSHOTS_SAVED_MAX))?;
        let (give, blobs) = mpsc::channel(BLOBS_WAITING);
        let (tell, told) = tokio::sync::oneshot::channel();
        let network = runtime::Handle::current();
        let started = spawn("snapshot-save", shared, move || {
            let shared = &place.0;
            match begin(shared) {
                Ok(saving) => {
                    if tell.send(Ok(saving.total())).is_ok() {
                        save(shared, &network, saving, &give);
                    }
                }
                Err(error) => {
                    let why = Unsaved::from(error);
                    tracing::warn!("{why}");
                    drop(tell.send(Err(why)));
                }
            }
            Ok(())
        });
        if let Err(error) = started {
            tracing::warn!(%error, "cannot start a thread to save a snapshot");
            return Err(Unsaved::NoRoom(format!("no thread can be started: {error}")));
        }
        let panicked = |_| Err(Unsaved::Failed("its thread has ended".to_owned()));
        Ok(Saved::new(told.await.unwrap_or_else(panicked)?, blobs))
    }
}

/// One of those that may be under way.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let more = |count: usize| (count < limits::SNAPSHOTS_SAVED_MAX).then_some(count + 1);
        shared.saves.fetch_update(AcqRel, Acquire, more).ok()?;
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.saves.fetch_sub(1, AcqRel);
    }
}

impl Handle {
    /// A hash of all tables as they are now, the same on all members that have applied as much. Takes
    /// as long as reading them; not for a thread of the network.
    pub fn hash_tables(&self) -> Result<u32, String> {
        let hash = || -> Result<u32, Failure> {
            flush(&self.shared)?;
            Ok(self.shared.backend.export().crc32c()?)
        };
        hash().map_err(|Failure(text)| text)
    }
}

/// What has been applied by now is on disk when this returns.
fn flush(shared: &Shared) -> Result<(), backend::Error> {
    let wanted = shared.backend.applied().index;
    while shared.backend.durable().index < wanted {
        shared.backend.flush()?;
    }
    Ok(())
}

fn begin(shared: &Shared) -> Result<Saving, backend::Error> {
    flush(shared)?;
    let note = SavedBy {
        cluster: shared.identity.cluster.0,
        member: shared.identity.member.0,
        version: version::PRODUCT.to_owned(),
    };
    shared.backend.save(&note.encode_to_vec())
}

fn save(
    shared: &Shared,
    network: &runtime::Handle,
    mut saving: Saving,
    give: &mpsc::Sender<Result<Blob, String>>,
) {
    let (began, total, index) = (shared.now(), saving.total(), saving.applied().index.0);
    tracing::info!(bytes = total, index, "sending the keyspace's snapshot to a client");
    let ended = loop {
        let blob = match saving.next_blob(BLOB_BYTES) {
            Ok(Some(blob)) => Ok(blob),
            Ok(None) => break Ok(()),
            Err(error) => Err(Failure::new(&error).0),
        };
        let failed = blob.as_ref().err().cloned();
        let sent = network.block_on(async { time::timeout(PATIENCE, give.send(blob)).await });
        match (failed, sent) {
            (Some(why), _) => break Err(why),
            (None, Ok(Ok(()))) => {}
            (None, Ok(Err(_))) => break Err("the client has gone away".to_owned()),
            (None, Err(_)) => break Err("the client takes nothing any more".to_owned()),
        }
    };
    let took = shared.now().saturating_sub(began);
    match ended {
        Ok(()) => {
            shared.counters.snapshots_saved.record(took);
            tracing::info!(bytes = total, ?took, "sent the keyspace's snapshot to a client");
        }
        Err(why) => tracing::warn!(?took, "could not send a snapshot to a client: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use std::io;

    use super::*;
    use crate::tests::{mem, mem_config, runtime, set, start_on};

    #[test]
    fn a_full_disk_is_told_apart_from_a_damaged_one() {
        let error = |kind| backend::Error::Engine {
            verb: "write",
            path: "/data/member/keyspace".to_owned(),
            text: "it went wrong".to_owned(),
            kind,
        };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let why = Unsaved::from(error(Some(kind)));
            assert!(matches!(&why, Unsaved::NoRoom(_)), "{why:?}");
            let text = why.to_string();
            assert!(
                text.starts_with("etcdserver: the snapshot cannot begin: write /data"),
                "{text}"
            );
        }
        for kind in [None, Some(io::ErrorKind::PermissionDenied)] {
            assert!(matches!(Unsaved::from(error(kind)), Unsaved::Failed(_)));
        }
    }

    /// It is flushed before it begins.
    #[test]
    fn a_snapshot_that_cannot_begin_says_why() {
        let (content, disk) = mem();
        runtime().block_on(async {
            let handle = start_on(&disk, mem_config()).unwrap();
            handle.ready().await;
            handle.write(set("/a", "1")).await.unwrap();
            content.fail_after(0);
            let why = handle.save_snapshot().await.unwrap_err();
            assert!(matches!(&why, Unsaved::Failed(_)), "{why:?}");
            assert!(why.to_string().contains("/data/member/keyspace"), "{why}");
        });
    }

    #[test]
    fn a_snapshot_that_ends_before_its_checksum_is_an_error() {
        runtime().block_on(async {
            let blob = |bytes: usize| Ok(Blob { bytes: vec![0; bytes].into(), remaining: 0 });
            for is_whole in [true, false] {
                let (give, blobs) = mpsc::channel(BLOBS_WAITING);
                let mut saved = Saved::new(10, blobs);
                give.send(blob(10)).await.unwrap();
                if is_whole {
                    give.send(blob(SHA256_BYTES)).await.unwrap();
                }
                drop(give);
                let mut next = async || poll_fn(|cx| saved.poll_blob(cx)).await;
                assert!(next().await.unwrap().is_ok());
                if is_whole {
                    assert!(next().await.unwrap().is_ok());
                    assert!(next().await.is_none());
                } else {
                    assert!(next().await.unwrap().is_err());
                }
            }
        });
    }
}
