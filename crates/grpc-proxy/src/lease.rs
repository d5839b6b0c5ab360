//! `etcdserverpb.Lease`: who renews the same lease at the same time renews it once.
//!
//! *Invariant: a renewal is answered by one that the members were asked for after it.*

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use base::Refused;
use client::v3::{Client, Error};
use parking_lot::Mutex;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    behalf::{self, Who},
    failure::{refused, status},
    figures::Figures,
    generated::etcdserverpb::lease_server,
    namespace::Namespace,
    proxy::stopped,
};

/// Answers that wait for a client, which takes them before it is heard again.
const ANSWERS: usize = 16;

pub(crate) struct Lease {
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
    pub(crate) renewals: Arc<Renewals>,
    pub(crate) stop: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl lease_server::Lease for Lease {
    type LeaseKeepAliveStream = ReceiverStream<Result<LeaseKeepAliveResponse, Status>>;

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
        let asker = Asker {
            client: behalf::client(&self.client, request.metadata()),
            who: behalf::who(request.metadata()),
            needs_leader: behalf::needs_leader(request.metadata()),
        };
        let (send, answers) = mpsc::channel(ANSWERS);
        let (renewals, stop) = (Arc::clone(&self.renewals), self.stop.clone());
        tokio::spawn(serve(renewals, asker, request.into_inner(), (send, stop)));
        Ok(Response::new(ReceiverStream::new(answers)))
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

/// Who renews.
#[derive(Clone, Debug)]
struct Asker {
    client: Client,
    who: Who,
    needs_leader: bool,
}

type Answers = mpsc::Sender<Result<LeaseKeepAliveResponse, Status>>;

/// One stream: one request after the other, as members take them too.
async fn serve(
    renewals: Arc<Renewals>,
    asker: Asker,
    mut requests: Streaming<LeaseKeepAliveRequest>,
    (send, mut stop): (Answers, watch::Receiver<bool>),
) {
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            () = send.closed() => return,
            () = stopped(&mut stop) => Err(refused(Refused::Stopped)),
        };
        let answer = match request {
            Ok(Some(request)) => {
                renewals.renew(request.id, &asker).await.map_err(|error| status(&error))
            }
            Ok(None) => return,
            Err(status) => Err(status),
        };
        let is_over = answer.is_err();
        if send.send(answer).await.is_err() || is_over {
            return;
        }
    }
}

type Renewed = Result<LeaseKeepAliveResponse, Error>;
type Of = (i64, Who, bool);

/// The renewals under way.
#[derive(Debug)]
pub(crate) struct Renewals {
    /// One is under way of each of these, and those wait for the next.
    waiting: Mutex<BTreeMap<Of, Vec<oneshot::Sender<Renewed>>>>,
    figures: Arc<Figures>,
}

impl Renewals {
    pub(crate) fn new(figures: Arc<Figures>) -> Self {
        Self { waiting: Mutex::default(), figures }
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
            let renewed = client.renew(of.0).await;
            for tell in batch {
                // Who has gone away needs no answer.
                drop(tell.send(renewed.clone()));
            }
        }
    }
}
