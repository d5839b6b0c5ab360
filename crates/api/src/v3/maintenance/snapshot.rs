//! The keyspace as a stream of blobs, the last of which is the SHA-256 of the others.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Cx, Poll, ready},
};

use base::version::Minor;
use proto::etcdserverpb::SnapshotResponse;
use server::{Blob, Saved, Unsaved};
use tokio_stream::Stream;
use tonic::{Status, metadata::MetadataMap};

use crate::{
    auth::Asker,
    context::Context,
    v3::{failure::status, patience::Ends},
};

/// A snapshot on its way to a client.
pub(crate) struct Snapshot {
    saved: Saved,
    version: String,
    ends: Ends,
    has_ended: bool,
}

impl Snapshot {
    pub(crate) async fn begin(
        context: &Arc<Context>,
        asker: &Asker,
        metadata: &MetadataMap,
    ) -> Result<Self, Status> {
        asker.is_admin(context).await?;
        let ends = Ends::new(context, metadata);
        let saved = context.handle.save_snapshot().await.map_err(|why| unsaved(&why))?;
        let version = context.handle.reader().cluster_version();
        let version = version.map(Minor::in_full).unwrap_or_default();
        Ok(Self { saved, version, ends, has_ended: false })
    }
}

/// The original has no such case: it would take the memory, or fail.
fn unsaved(why: &Unsaved) -> Status {
    match why {
        Unsaved::TooMany(_) | Unsaved::NoRoom(_) => Status::resource_exhausted(why.to_string()),
        Unsaved::Failed(_) => Status::internal(why.to_string()),
    }
}

impl Stream for Snapshot {
    type Item = Result<SnapshotResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        let next = match this.ends.poll(cx) {
            Poll::Ready(refused) => Some(Err(status(refused))),
            Poll::Pending => match ready!(this.saved.poll_blob(cx)) {
                Some(Ok(Blob { bytes, remaining })) => {
                    let (version, header) = (this.version.clone(), None);
                    let remaining_bytes = remaining;
                    Some(Ok(SnapshotResponse { header, remaining_bytes, blob: bytes, version }))
                }
                Some(Err(why)) => Some(Err(Status::internal(why))),
                None => None,
            },
        };
        this.has_ended = matches!(next, None | Some(Err(_)));
        Poll::Ready(next)
    }
}
