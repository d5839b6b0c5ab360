//! `etcdserverpb.Lease`: who renews the same lease at the same time renews it once.
//!
//! *Invariant: a renewal is answered by one that the members were asked for after it.*

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use base::Refused;
use client::v3::{Client, Error};
use parking_lot::Mutex;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinError, JoinSet},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    behalf::{self, Asker, Who},
    failure::{refused, status},
    figures::Figures,
    generated::etcdserverpb::lease_server,
    namespace::Namespace,
    pump::{Pumped, Source, pump},
};

/// Answers that wait for a client, which takes them before it is heard again.
const ANSWERS: usize = 16;
/// Renewals of one stream that are under way; the client is not heard until one is answered.
const RENEWALS_MAX: usize = 1_024;
/// How long a renewal may take: what a member takes at most with etcd's election timeout.
pub(crate) const RENEWAL: Duration = Duration::from_secs(7);

pub(crate) struct Lease {
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
    pub(crate) renewals: Arc<Renewals>,
    pub(crate) stop: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl lease_server::Lease for Lease {
    type LeaseKeepAliveStream = Pumped<LeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.lease_grant(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.lease_revoke(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let asker = Asker::new(&self.client, request.metadata());
        let (renewals, requests) = (Arc::clone(&self.renewals), Some(request.into_inner()));
        let renewing = Renewing { renewals, asker, requests, under_way: JoinSet::new() };
        Ok(Response::new(pump(renewing, ANSWERS, self.stop.clone())))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.lease_time_to_live(request.into_inner()).await;
        let mut answer = answer.map_err(|error| status(&error))?;
        self.namespace.keys(&mut answer.keys);
        Ok(Response::new(answer))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let answer = client.lease_leases(request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }
}

/// One stream. A lease that takes long holds up no other.
struct Renewing {
    renewals: Arc<Renewals>,
    asker: Asker,
    /// `None` once the client has nothing more to ask.
    requests: Option<Streaming<LeaseKeepAliveRequest>>,
    under_way: JoinSet<Renewed>,
}

impl Source for Renewing {
    type Message = LeaseKeepAliveResponse;

    async fn next(&mut self) -> Result<Option<LeaseKeepAliveResponse>, Status> {
        loop {
            let Self { renewals, asker, requests, under_way } = self;
            if requests.is_none() && under_way.is_empty() {
                return Ok(None);
            }
            let has_room = under_way.len() < RENEWALS_MAX;
            let asked = async {
                match requests {
                    Some(requests) if has_room => requests.message().await,
                    Some(_) | None => future::pending().await,
                }
            };
            tokio::select! {
                Some(renewed) = under_way.join_next() => return told(renewed).map(Some),
                asked = asked => match asked? {
                    Some(request) => {
                        let (renewals, asker) = (Arc::clone(renewals), asker.clone());
                        under_way.spawn(async move { renewals.renew(request.id, &asker).await });
                    }
                    None => *requests = None,
                },
            }
        }
    }
}

fn told(renewed: Result<Renewed, JoinError>) -> Result<LeaseKeepAliveResponse, Status> {
    let renewed = renewed.map_err(|_| refused(Refused::Stopped))?;
    renewed.map_err(|error| {
        // A member's word for it: on any other, clients would give up all their leases.
        let is_late = matches!(error, Error::Deadline { .. });
        if is_late { refused(Refused::Timeout) } else { status(&error) }
    })
}

type Renewed = Result<LeaseKeepAliveResponse, Error>;
type Of = (i64, Who, bool);

/// The renewals under way.
#[derive(Debug)]
pub(crate) struct Renewals {
    /// One is under way of each of these, and those wait for the next.
    waiting: Mutex<BTreeMap<Of, Vec<oneshot::Sender<Renewed>>>>,
    figures: Arc<Figures>,
    /// How long one may take.
    patience: Duration,
}

impl Renewals {
    pub(crate) fn new(figures: Arc<Figures>, patience: Duration) -> Self {
        Self { waiting: Mutex::default(), figures, patience }
    }

    async fn renew(self: &Arc<Self>, lease: i64, asker: &Asker) -> Renewed {
        let of = (lease, asker.who.clone(), asker.needs_leader);
        let (tell, renewed) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock();
            let is_first = !waiting.contains_key(&of);
            waiting.entry(of.clone()).or_default().push(tell);
            is_first
        };
        if is_first {
            tokio::spawn(Arc::clone(self).go_on(of, asker.client.clone()));
        }
        let lost = |_| Error::Lost { why: "the renewal was given up".to_owned() };
        renewed.await.map_err(lost).flatten()
    }

    /// Renews for all who wait, until nobody does.
    async fn go_on(self: Arc<Self>, of: Of, client: Client) {
        loop {
            let batch = {
                let mut waiting = self.waiting.lock();
                let batch = waiting.get_mut(&of).map(std::mem::take).unwrap_or_default();
                if batch.is_empty() {
                    waiting.remove(&of);
                    return;
                }
                batch
            };
            self.figures.renewals.fetch_add(batch.len() as u64 - 1, Relaxed);
            let renewed = client.within(self.patience).renew(of.0).await;
            for tell in batch {
                // Who has gone away needs no answer.
                drop(tell.send(renewed.clone()));
            }
        }
    }
}
