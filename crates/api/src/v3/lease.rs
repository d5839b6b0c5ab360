//! `etcdserverpb.Lease`: keys that go together unless somebody keeps them.

use std::{
    collections::BTreeSet,
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context as Cx, Poll},
};

use base::Refused;
use futures_util::stream::FuturesOrdered;
use proto::{
    command::{By, LeaseRevoke, Op},
    etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    },
};
use server::LeaseError;
use state::{apply::Reply, auth::Auth};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    failure::{status, unserved},
    generated::etcdserverpb::lease_server,
    header,
    kv::{unexpected, write},
    patience::Ends,
};
use crate::{
    auth::{Asker, Pass},
    context::Context,
};

/// What is told of a lease that is not there.
const NONE_TO_KEEP: i64 = 0;
const NONE_TO_TELL_OF: i64 = -1;

pub(crate) struct Lease(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl lease_server::Lease for Lease {
    type LeaseKeepAliveStream = KeepAlive;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let asker = Asker::of(&request);
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        grant(&self.0, &asker, ttl, id).await.map(Response::new)
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let (asker, id) = (Asker::of(&request), request.get_ref().id);
        let revoke = Op::LeaseRevoke(LeaseRevoke { id, ..LeaseRevoke::default() });
        match write(&self.0, &asker, revoke).await? {
            (Reply::LeaseRevoke(mut answer), term) => {
                header::complete(&self.0.handle, &mut answer.header, term);
                Ok(Response::new(answer))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAlive>, Status> {
        let (asker, ends) = (Asker::of(&request), Ends::new(&self.0, request.metadata()));
        let requests = Box::pin(request.into_inner());
        Ok(Response::new(KeepAlive::new(Arc::clone(&self.0), asker, ends, requests)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let (asker, asked) = (Asker::of(&request), request.into_inner());
        asker.note(|trail| trail.lease(asked.id));
        let pass = may_ask(&self.0, &asker, asked).await?;
        let told = self.0.handle.lease_time_to_live(asked).await;
        let mut answer = match told {
            Err(LeaseError::NotFound) => LeaseTimeToLiveResponse {
                id: asked.id,
                ttl: NONE_TO_TELL_OF,
                ..LeaseTimeToLiveResponse::default()
            },
            told => told.map_err(failed)?,
        };
        if asked.keys && !pass.holds(&self.0) {
            return Err(status(Refused::AuthOldRevision));
        }
        // Others may have come onto it since.
        let may = |auth: &Auth, by: Option<&By>| {
            if auth.is_admin(by).is_ok() {
                return Ok(());
            }
            answer.keys.iter().try_for_each(|key| auth.reads(by, key, b""))
        };
        asker.may_now(&self.0, may).map_err(status)?;
        answer.header = Some(header::now(&self.0.handle));
        Ok(Response::new(answer))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let reader = self.0.handle.reader();
        let ids = reader.leases().ids();
        let may = |auth: &Auth, by: Option<&By>| {
            auth.identified(by)?;
            if auth.is_admin(by).is_ok() {
                return Ok(());
            }
            let mut keys = ids.iter().flat_map(|id| reader.lease_keys(*id));
            keys.try_for_each(|key| auth.reads(by, &key, b""))
        };
        Asker::of(&request).may(&self.0, may).await?;
        let leases = ids.into_iter().map(|id| LeaseStatus { id }).collect();
        let header = Some(header::now(&self.0.handle));
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}

/// Grants a lease; without an id (0), one of our choice.
pub(super) async fn grant(
    context: &Context,
    asker: &Asker,
    ttl: i64,
    id: i64,
) -> Result<LeaseGrantResponse, Status> {
    let handle = &context.handle;
    let ttl = ttl.max(handle.lease_ttl_min());
    loop {
        let own = if id == 0 { handle.new_lease_id() } else { id };
        let grant = Op::LeaseGrant(LeaseGrantRequest { ttl, id: own });
        match write(context, asker, grant).await {
            Ok((Reply::LeaseGrant(mut answer), term)) => {
                header::complete(handle, &mut answer.header, term);
                return Ok(answer);
            }
            Ok((other, _)) => return Err(unexpected(&other)),
            Err(taken) if id == 0 && taken.message() == Refused::LeaseExists.text() => {}
            Err(status) => return Err(status),
        }
    }
}

/// Whether somebody may ask how long a lease lives: whoever is known, and about its keys, whoever may
/// read them.
async fn may_ask(
    context: &Context,
    asker: &Asker,
    asked: LeaseTimeToLiveRequest,
) -> Result<Pass, Status> {
    let may = |auth: &Auth, by: Option<&By>| {
        auth.identified(by)?;
        if !asked.keys || auth.is_admin(by).is_ok() {
            return Ok(());
        }
        let keys = context.handle.reader().lease_keys(asked.id);
        keys.iter().try_for_each(|key| auth.reads(by, key, b""))
    };
    asker.may(context, may).await
}

/// Whether somebody may keep a lease: whoever may write its keys.
async fn may_keep(context: &Context, asker: &Asker, id: i64) -> Result<(), Status> {
    let may = |auth: &Auth, by: Option<&By>| {
        auth.identified(by)?;
        if auth.is_admin(by).is_ok() {
            return Ok(());
        }
        let keys = context.handle.reader().lease_keys(id);
        keys.iter().try_for_each(|key| auth.writes(by, key, b""))
    };
    asker.may(context, may).await.map(drop)
}

fn failed(error: LeaseError) -> Status {
    match error {
        LeaseError::NotFound => status(Refused::LeaseNotFound),
        LeaseError::NotPrimary => status(Refused::NotPrimary),
        LeaseError::TooLarge => status(Refused::AnswerTooLarge),
        LeaseError::Unserved(why) => unserved(why),
    }
}

/// What a client asks to be kept.
type Requests = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveRequest, Status>> + Send>>;
type Keeping = Pin<Box<dyn Future<Output = Result<LeaseKeepAliveResponse, Status>> + Send>>;

/// How many of one stream are under way at once. Clients of Go keep all the leases of a process on one
/// stream; those that come together share the round by which the leader makes sure that it leads.
const KEPT_AT_ONCE: usize = 256;
/// Of how many leases a stream knows that there is a record.
const RECORDED_MAX: usize = 10_000;

/// Keeps leases, and answers in the order in which they are asked for.
pub(crate) struct KeepAlive {
    context: Arc<Context>,
    asker: Arc<Asker>,
    requests: Requests,
    /// Of which there is a record.
    recorded: BTreeSet<i64>,
    /// Whether more may be asked for.
    asks: bool,
    keeping: FuturesOrdered<Keeping>,
    ends: Ends,
    has_ended: bool,
}

impl KeepAlive {
    pub(crate) fn new(context: Arc<Context>, asker: Asker, ends: Ends, requests: Requests) -> Self {
        let (asker, keeping) = (Arc::new(asker), FuturesOrdered::new());
        let recorded = BTreeSet::new();
        Self { context, asker, requests, recorded, asks: true, keeping, ends, has_ended: false }
    }

    /// Who asks for a lease to be kept: of each there is a record when that is first asked on a
    /// stream, and whenever it is refused.
    fn asker_about(&mut self, id: i64) -> Arc<Asker> {
        if self.context.config.audit.is_none() {
            return Arc::clone(&self.asker);
        }
        if self.recorded.len() >= RECORDED_MAX {
            self.recorded.clear();
        }
        let asker = self.asker.branch(&self.context, self.recorded.insert(id));
        asker.note(|trail| trail.lease(id));
        Arc::new(asker)
    }

    fn poll_answer(
        &mut self,
        cx: &mut Cx<'_>,
    ) -> Poll<Option<Result<LeaseKeepAliveResponse, Status>>> {
        while self.asks && self.keeping.len() < KEPT_AT_ONCE {
            let next = self.requests.as_mut().poll_next(cx);
            if let Poll::Ready(Some(question)) = &next {
                let counters = &self.context.counters.grpc;
                let question = question.as_ref().map(drop).map_err(Status::code);
                counters.asked(&counters.keep_alive, question);
            }
            let keeping: Keeping = match next {
                Poll::Ready(Some(Ok(request))) => {
                    let (context, asker) =
                        (Arc::clone(&self.context), self.asker_about(request.id));
                    Box::pin(async move { keep(&context, &asker, request.id).await })
                }
                // Those before are answered first.
                Poll::Ready(Some(Err(status))) => {
                    self.asks = false;
                    self.asker.note_unread(&self.context, status.code());
                    Box::pin(ready(Err(status)))
                }
                Poll::Ready(None) => {
                    self.asks = false;
                    break;
                }
                Poll::Pending => break,
            };
            self.keeping.push_back(keeping);
        }
        let next = Pin::new(&mut self.keeping).poll_next(cx);
        let waits = self.asks && matches!(next, Poll::Ready(None));
        if waits { Poll::Pending } else { next }
    }
}

async fn keep(context: &Context, asker: &Asker, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
    let may = may_keep(context, asker, id).await;
    let code = may.as_ref().err().map_or(tonic::Code::Ok, Status::code);
    asker.note(|trail| trail.ended(code));
    may?;
    // The revision of before: a client must not believe that the lease was alive at one at which it
    // was gone.
    let header = Some(header::now(&context.handle));
    let ttl = match context.handle.keep_lease(id).await {
        Err(LeaseError::NotFound) => NONE_TO_KEEP,
        kept => kept.map_err(failed)?,
    };
    Ok(LeaseKeepAliveResponse { header, id, ttl })
}

impl Stream for KeepAlive {
    type Item = Result<LeaseKeepAliveResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        let next = match this.ends.poll(cx) {
            Poll::Ready(refused) => Poll::Ready(Some(Err(status(refused)))),
            Poll::Pending => this.poll_answer(cx),
        };
        this.has_ended = matches!(next, Poll::Ready(None | Some(Err(_))));
        next
    }
}
