//! A queue of keys under a name: the first that was made holds the lock, or has won the election.
//!
//! Each waits for those before it alone, by watching the last of them, so that one that goes wakes
//! one. Keys and comparisons are those of etcd's clients, who may stand in the same queue.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context as Cx, Poll},
};

use bytes::Bytes;
use mvcc::{Interest, ReadError, Watcher};
use proto::{
    command::Op,
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
        ResponseHeader, TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        range_request::{SortOrder, SortTarget},
        request_op, response_op,
    },
    mvccpb::KeyValue,
};
use state::apply::Reply;
use tokio::runtime;
use tonic::Status;

use super::{
    failure::{read, status},
    header,
    kv::{unexpected, write},
    lease, range,
};
use crate::{auth::Asker, context::Context};

/// The time to live of a lease for whoever brings none, in seconds (etcd).
const LEASE_TTL: i64 = 60;

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
/// The services of etcd are clients themselves, and pass errors on without their codes.
pub(super) fn passed_on(status: Status) -> Status {
    Status::unknown(status.message())
}

/// A queue's name, as what all its keys begin with.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The lease of whoever comes; a new one if it has none.
pub(super) async fn lease(context: &Context, asker: &Asker, lease: i64) -> Result<i64, Status> {
    if lease != 0 {
        return Ok(lease);
    }
    let granted = lease::grant(context, asker, LEASE_TTL, 0).await;
    granted.map(|granted| granted.id).map_err(passed_on)
}

/// Someone's place in a queue. Whoever goes away while it waits leaves the queue.
pub(super) struct Place {
    context: Arc<Context>,
    asker: Asker,
    prefix: Bytes,
    pub(super) key: Bytes,
    /// The key's create revision.
    pub(super) revision: i64,
    /// Waiting, and not told of the end yet.
    waits: bool,
}

/// Why a wait has ended without the others being gone.
pub(super) enum Ended {
    /// The place is lost: its lease is over, or somebody removed the key.
    Lost,
    Refused(Status),
}

impl Place {
    /// Enters the queue, or finds the place that the lease has there already. What was in the way is
    /// read by `owner` in the same transaction. Returns what the transaction gave.
    pub(super) async fn enter(
        context: &Arc<Context>,
        asker: Asker,
        name: &[u8],
        lease: i64,
        value: Bytes,
    ) -> Result<(Self, TxnResponse), Status> {
        let prefix = prefix(name);
        // As Go writes a number that may be negative.
        let sign = if lease < 0 { "-" } else { "" };
        let end = format!("{sign}{:x}", lease.unsigned_abs());
        let key: Bytes = [&prefix[..], end.as_bytes()].concat().into();
        let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
        let own = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let first = || op(request_op::Request::RequestRange(first(&prefix)));
        let entered = txn(
            context,
            &asker,
            TxnRequest {
                compare: vec![was_made_at(&key, 0)],
                success: vec![op(request_op::Request::RequestPut(put)), first()],
                failure: vec![op(request_op::Request::RequestRange(own)), first()],
            },
        )
        .await?;
        let revision = if entered.succeeded {
            entered.header.as_ref().map_or(0, |header| header.revision)
        } else {
            found(&entered, 0).map_or(0, |own| own.create_revision)
        };
        let context = Arc::clone(context);
        Ok((Self { context, asker, prefix, key, revision, waits: false }, entered))
    }

    /// Waits until all who came before are gone.
    pub(super) async fn wait(&mut self) -> Result<(), Ended> {
        self.waits = true;
        let waited = self.wait_for_others().await;
        // On a server that stops the place is kept: its owner goes on elsewhere.
        let stops = *self.context.stop.borrow() || self.context.handle.is_fenced();
        match &waited {
            Err(Ended::Refused(_)) if !stops => self.leave().await,
            _ => self.waits = false,
        }
        waited
    }

    async fn wait_for_others(&self) -> Result<(), Ended> {
        tokio::select! {
            waited = self.wait_for_each() => waited,
            refused = self.context.over() => Err(Ended::Refused(status(refused))),
        }
    }

    async fn wait_for_each(&self) -> Result<(), Ended> {
        let last = RangeRequest {
            sort_order: SortOrder::Descend.into(),
            max_create_revision: self.revision - 1,
            keys_only: true,
            ..first(&self.prefix)
        };
        loop {
            let found =
                range::whole(&self.context, &self.asker, &last).await.map_err(Ended::Refused)?;
            let Some(before) = found.kvs.first() else { return Ok(()) };
            let since = found.header.as_ref().map_or(0, |header| header.revision);
            let mut others = self.watch(&before.key, since);
            let mut own = self.watch(&self.key, self.revision + 1);
            poll_fn(|cx| {
                if poll_deleted(&mut own, cx)?.is_ready() {
                    return Poll::Ready(Err(Ended::Lost));
                }
                poll_deleted(&mut others, cx)
            })
            .await?;
        }
    }

    fn watch(&self, key: &Bytes, since: i64) -> Result<Watcher, ReadError> {
        watch(&self.context, one(key), since)
    }

    /// The key as it is now; `None` if the place is lost.
    pub(super) async fn own(&self) -> Result<Option<(KeyValue, ResponseHeader)>, Status> {
        let request = RangeRequest { key: self.key.clone(), ..RangeRequest::default() };
        let RangeResponse { header, kvs, .. } =
            range::whole(&self.context, &self.asker, &request).await?;
        let own = kvs.into_iter().find(|own| own.create_revision == self.revision);
        Ok(own.map(|own| (own, header.unwrap_or_default())))
    }

    pub(super) async fn leave(&mut self) {
        self.waits = false;
        if let Err(status) = remove(&self.context, &self.asker, &self.key, self.revision).await {
            let why = status.message().to_owned();
            tracing::debug!(why, "could not leave a queue: its lease will end the place");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        let Ok(runtime) = runtime::Handle::try_current() else { return };
        let (context, asker) = (Arc::clone(&self.context), std::mem::take(&mut self.asker));
        let (key, revision) = (self.key.clone(), self.revision);
        runtime.spawn(async move { drop(remove(&context, &asker, &key, revision).await) });
    }
}

/// Ready once a deletion is told. What history does not have any more may have been one.
fn poll_deleted(
    watcher: &mut Result<Watcher, ReadError>,
    cx: &mut Cx<'_>,
) -> Poll<Result<(), Ended>> {
    let failed = |error| Poll::Ready(Err(Ended::Refused(read(error))));
    let watcher = match watcher {
        Ok(watcher) => watcher,
        Err(ReadError::Compacted | ReadError::Future) => return Poll::Ready(Ok(())),
        Err(ReadError::Backend(error)) => {
            return Poll::Ready(Err(Ended::Refused(Status::internal(error.to_string()))));
        }
    };
    loop {
        let Poll::Ready(next) = watcher.poll_next(cx) else { return Poll::Pending };
        match next {
            Ok(commit) => {
                let mut records = commit.records.iter();
                if records.any(|one| one.deleted && watcher.interest().concerns(one)) {
                    return Poll::Ready(Ok(()));
                }
            }
            Err(ReadError::Compacted | ReadError::Future) => return Poll::Ready(Ok(())),
            Err(error @ ReadError::Backend(_)) => return failed(error.into()),
        }
    }
}

pub(super) fn watch(
    context: &Context,
    interest: Interest,
    since: i64,
) -> Result<Watcher, ReadError> {
    context.handle.reader().store().watch(interest, since)
}

/// One key.
pub(super) fn one(key: &Bytes) -> Interest {
    Interest::Keys { from: key.clone(), to: Some(mvcc::path::successor(key).into()) }
}

/// The key under a prefix that was made first.
pub(super) fn first(prefix: &Bytes) -> RangeRequest {
    RangeRequest {
        key: prefix.clone(),
        range_end: end(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..RangeRequest::default()
    }
}

/// Where the keys of a queue end: its prefix ends in a slash.
pub(super) fn end(prefix: &Bytes) -> Bytes {
    let name = prefix.strip_suffix(b"/").unwrap_or(prefix);
    [name, b"0"].concat().into()
}

/// The key was made at this revision; 0: it is not there.
pub(super) fn was_made_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
    }
}

/// Removes a key, if it is still the one that was made at this revision.
pub(super) async fn remove(
    context: &Context,
    asker: &Asker,
    key: &Bytes,
    revision: i64,
) -> Result<TxnResponse, Status> {
    let delete = DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
    let request = TxnRequest {
        compare: vec![was_made_at(key, revision)],
        success: vec![op(request_op::Request::RequestDeleteRange(delete))],
        failure: Vec::new(),
    };
    txn(context, asker, request).await
}

pub(super) fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub(super) async fn txn(
    context: &Context,
    asker: &Asker,
    request: TxnRequest,
) -> Result<TxnResponse, Status> {
    match write(context, asker, Op::Txn(request)).await? {
        (Reply::Txn(mut answer), term) => {
            header::complete(&context.handle, &mut answer.header, term);
            Ok(answer)
        }
        (other, _) => Err(unexpected(&other)),
    }
}

/// The first pair of the range that stood at this place of a transaction.
pub(super) fn found(answer: &TxnResponse, at: usize) -> Option<&KeyValue> {
    match answer.responses.get(at)?.response.as_ref()? {
        response_op::Response::ResponseRange(range) => range.kvs.first(),
        response_op::Response::ResponsePut(_)
        | response_op::Response::ResponseDeleteRange(_)
        | response_op::Response::ResponseTxn(_) => None,
    }
}
