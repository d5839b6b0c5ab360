//! Answers that come in parts.

use proto::etcdserverpb::{
    RangeRequest, RangeResponse, RangeStreamResponse, SnapshotRequest, SnapshotResponse,
};
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

use super::{
    calls::service,
    client::Client,
    error::{Error, Failed},
    generated::etcdserverpb::{kv_client::KvClient, maintenance_client::MaintenanceClient},
    round::Policy,
};

impl Client {
    /// A range in parts, all of one revision. The last has the count.
    pub async fn range_stream(&self, request: RangeRequest) -> Result<Ranges, Error> {
        let stream = self.carry_out(Policy::Repeatable, |channel| {
            let request = request.clone();
            async move { service!(KvClient, channel).range_stream(request).await }
        });
        Ok(Ranges(Parts { stream: stream.await?, client: self.clone() }))
    }

    /// The keyspace of the endpoint that answers, as a file.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let stream = self.carry_out(Policy::Repeatable, |channel| async move {
            service!(MaintenanceClient, channel).snapshot(SnapshotRequest {}).await
        });
        Ok(Snapshot(Parts { stream: stream.await?, client: self.clone() }))
    }
}

/// A range that is being read.
#[derive(Debug)]
pub struct Ranges(Parts<RangeStreamResponse>);

impl Ranges {
    /// The next part; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<RangeResponse>, Error> {
        let part = self.0.next().await?;
        Ok(part.map(|part| part.range_response.unwrap_or_default()))
    }
}

/// A snapshot that is being read.
#[derive(Debug)]
pub struct Snapshot(Parts<SnapshotResponse>);

impl Snapshot {
    /// The next part; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<SnapshotResponse>, Error> {
        self.0.next().await
    }
}

#[derive(Debug)]
struct Parts<T> {
    stream: Streaming<T>,
    client: Client,
}

impl<T> Parts<T> {
    async fn next(&mut self) -> Result<Option<T>, Error> {
        let part = self.stream.message();
        let outcome = match self.client.deadline {
            Some(deadline) => within(deadline, part).await.ok_or(self.client.out_of_time())?,
            None => part.await,
        };
        outcome.map_err(|status| broken(&status))
    }
}

async fn within<T>(deadline: Instant, part: impl Future<Output = T>) -> Option<T> {
    timeout_at(deadline, part).await.ok()
}

/// Why a stream ended that had begun.
pub(super) fn broken(status: &tonic::Status) -> Error {
    match Failed::of(status) {
        Failed::Refused(refusal) => refusal.into(),
        Failed::Unsent(why) | Failed::Lost(why) => Error::Lost { why },
    }
}
