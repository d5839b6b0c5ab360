//! `v3electionpb.Election`: one of many leads, and all may know who.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context as Cx, Poll},
};

use base::Refused;
use bytes::Bytes;
use mvcc::{Interest, ReadError};
use proto::{
    etcdserverpb::{PutRequest, ResponseHeader, TxnRequest, request_op},
    mvccpb::KeyValue,
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
    },
};
use state::kv::watch::pair;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{
    failure::{read, status},
    generated::v3electionpb::election_server,
    header,
    patience::Ends,
    queue::{self, Ended, Place, passed_on},
    range,
    watch::Permitted,
};
use crate::{auth::Asker, context::Context};

pub(crate) struct Election(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl election_server::Election for Election {
    type ObserveStream = Observe;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let asker = Asker::of(&request);
        let CampaignRequest { name, lease, value } = request.into_inner();
        let lease = queue::lease(&self.0, &asker, lease).await?;
        let entered = Place::enter(&self.0, asker.clone(), &name, lease, value.clone()).await;
        let (mut place, entered) = entered.map_err(passed_on)?;
        let key = LeaderKey { name, key: place.key.clone(), rev: place.revision, lease };
        let stands_already = queue::found(&entered, 0).filter(|_| !entered.succeeded);
        if stands_already.is_some_and(|own| own.value != value)
            && let Err(status) = proclaim(&self.0, &asker, &key, value).await
        {
            place.leave().await;
            return Err(status);
        }
        match place.wait().await {
            Ok(()) => {}
            Err(Ended::Lost) => return Err(not_leader()),
            Err(Ended::Refused(status)) => return Err(passed_on(status)),
        }
        // The original forgets to look: a candidate whose lease has ended would take itself for the
        // leader.
        if place.own().await.map_err(passed_on)?.is_none() {
            return Err(not_leader());
        }
        Ok(Response::new(CampaignResponse { header: entered.header, leader: Some(key) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let asker = Asker::of(&request);
        let ProclaimRequest { leader, value } = request.into_inner();
        let mut leader = leader.ok_or_else(no_leader_given)?;
        leader.lease = queue::lease(&self.0, &asker, leader.lease).await?;
        let header = Some(proclaim(&self.0, &asker, &leader, value).await?);
        Ok(Response::new(ProclaimResponse { header }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let prefix = queue::prefix(&request.get_ref().name);
        let asker = Asker::of(&request);
        let found = range::whole(&self.0, &asker, &queue::first(&prefix)).await;
        let found = found.map_err(passed_on)?;
        match found.kvs.into_iter().next() {
            Some(kv) => Ok(Response::new(LeaderResponse { header: found.header, kv: Some(kv) })),
            None => Err(Status::unknown("election: no leader")),
        }
    }

    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Observe>, Status> {
        let (asker, ends) = (Asker::of(&request), Ends::new(&self.0, request.metadata()));
        Ok(Response::new(Observe::begin(&self.0, asker, &request.get_ref().name, ends)))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let asker = Asker::of(&request);
        let leader = request.into_inner().leader.ok_or_else(no_leader_given)?;
        let removed =
            queue::remove(&self.0, &asker, &leader.key, leader.rev).await.map_err(passed_on)?;
        Ok(Response::new(ResignResponse { header: removed.header }))
    }
}

/// Another value, without another election.
async fn proclaim(
    context: &Context,
    asker: &Asker,
    leader: &LeaderKey,
    value: Bytes,
) -> Result<ResponseHeader, Status> {
    let LeaderKey { key, rev, lease, .. } = leader;
    let put = PutRequest { key: key.clone(), value, lease: *lease, ..PutRequest::default() };
    let request = TxnRequest {
        compare: vec![queue::was_made_at(key, *rev)],
        success: vec![queue::op(request_op::Request::RequestPut(put))],
        failure: Vec::new(),
    };
    let answer = queue::txn(context, asker, request).await.map_err(passed_on)?;
    if answer.succeeded { Ok(answer.header.unwrap_or_default()) } else { Err(not_leader()) }
}

// In the words of etcd's client and service.

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

fn no_leader_given() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

type Told = Result<LeaderResponse, Status>;

/// Who leads, and whom that gives its word to, as it changes.
pub(crate) struct Observe {
    told: mpsc::Receiver<Told>,
    ends: Ends,
    has_ended: bool,
}

impl Observe {
    pub(crate) fn begin(context: &Arc<Context>, asker: Asker, name: &[u8], ends: Ends) -> Self {
        let (tell, told) = mpsc::channel(1);
        let (context, prefix) = (Arc::clone(context), queue::prefix(name));
        tokio::spawn(async move {
            let observed = async {
                asker.settle(&context).await?;
                let keys = (prefix.clone(), queue::end(&prefix));
                let permitted = Permitted::ask(&context, &asker, keys).map_err(status)?;
                let mut observer =
                    Observer { context: &context, asker: &asker, prefix, permitted, tell: &tell };
                loop {
                    observer.observe_one().await?;
                }
            };
            let ended: Result<(), Status> = tokio::select! {
                ended = observed => ended,
                () = tell.closed() => return,
            };
            if let Err(status) = ended {
                drop(tell.send(Err(passed_on(status))).await);
            }
        });
        Self { told, ends, has_ended: false }
    }
}

impl Stream for Observe {
    type Item = Told;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Told>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        let next = match this.ends.poll(cx) {
            Poll::Ready(refused) => Poll::Ready(Some(Err(status(refused)))),
            Poll::Pending => this.told.poll_recv(cx),
        };
        this.has_ended = matches!(next, Poll::Ready(None | Some(Err(_))));
        next
    }
}

/// Who tells.
struct Observer<'a> {
    context: &'a Arc<Context>,
    asker: &'a Asker,
    prefix: Bytes,
    permitted: Permitted,
    tell: &'a mpsc::Sender<Told>,
}

impl Observer<'_> {
    /// Tells of one leader, from its election, or now, to its end.
    async fn observe_one(&mut self) -> Result<(), Status> {
        let found = range::whole(self.context, self.asker, &queue::first(&self.prefix)).await?;
        let revision = found.header.as_ref().map_or(0, |header| header.revision);
        let first = match found.kvs.into_iter().next() {
            Some(kv) => Some((found.header.unwrap_or_default(), kv)),
            None => self.next_put(revision).await?,
        };
        // What compaction has taken away is asked for again.
        let Some((head, kv)) = first else { return Ok(()) };
        let (key, since) = (kv.key.clone(), head.revision + 1);
        self.give(head, kv).await?;
        let mut watcher = match queue::watch(self.context, queue::one(&key), since) {
            Ok(watcher) => watcher,
            Err(error) => return compacted(error),
        };
        loop {
            let commit = match poll_fn(|cx| watcher.poll_next(cx)).await {
                Ok(commit) => commit,
                Err(error) => return compacted(error),
            };
            for record in commit.records.iter().filter(|one| watcher.interest().concerns(one)) {
                if record.deleted {
                    return Ok(());
                }
                let head = header::header(&self.context.handle, commit.main);
                self.give(head, pair(record)).await?;
            }
        }
    }

    /// The first key that comes under the prefix; `None` if history does not go back so far.
    async fn next_put(&self, since: i64) -> Result<Option<(ResponseHeader, KeyValue)>, Status> {
        let to = Some(queue::end(&self.prefix));
        let interest = Interest::Keys { from: self.prefix.clone(), to };
        let mut watcher = match queue::watch(self.context, interest, since) {
            Ok(watcher) => watcher,
            Err(error) => return compacted(error).map(|()| None),
        };
        loop {
            let commit = match poll_fn(|cx| watcher.poll_next(cx)).await {
                Ok(commit) => commit,
                Err(error) => return compacted(error).map(|()| None),
            };
            let mut concerned =
                commit.records.iter().filter(|one| watcher.interest().concerns(one));
            if let Some(record) = concerned.find(|record| !record.deleted) {
                let head = header::header(&self.context.handle, record.revision.main);
                return Ok(Some((head, pair(record))));
            }
        }
    }

    /// Tells it, if that is still permitted: users may have changed since it was asked for.
    async fn give(&mut self, header: ResponseHeader, kv: KeyValue) -> Result<(), Status> {
        let leader = LeaderResponse { header: Some(header), kv: Some(kv) };
        let place = self.tell.reserve().await.map_err(|_| status(Refused::Canceled))?;
        if let Err(refused) = self.permitted.holds(self.context) {
            self.asker.refused_at_last(refused);
            return Err(status(refused));
        }
        place.send(Ok(leader));
        Ok(())
    }
}

fn compacted(error: ReadError) -> Result<(), Status> {
    match error {
        ReadError::Compacted | ReadError::Future => Ok(()),
        error @ ReadError::Backend(_) => Err(read(error.into())),
    }
}
