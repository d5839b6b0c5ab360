//! `etcdserverpb.KV`: reads and writes, with what is remembered of them.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use base::Refused;
use bytes::Bytes;
use client::v3::{Client, Ranges};
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, RequestOp, TxnRequest,
    TxnResponse, request_op::Request as Op,
};
use tokio::{sync::watch, time::sleep};
use tonic::{Request, Response, Status};

use crate::{
    behalf::{self, Asker},
    cache::Cache,
    failure::{refused, status},
    figures::Figures,
    generated::etcdserverpb::kv_server,
    namespace::Namespace,
    order::Order,
    pump::{Pumped, Source, pump},
};

/// A member that has answered from before what was told has so long to catch up.
const BEHIND: Duration = Duration::from_millis(10);
/// Parts of a range that wait for the client.
const PARTS: usize = 2;

pub(crate) struct Kv {
    pub(crate) client: Client,
    pub(crate) namespace: Namespace,
    pub(crate) cache: Arc<Cache>,
    pub(crate) order: Arc<Order>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// A range in parts.
struct Parts {
    ranges: Ranges,
    namespace: Namespace,
    order: Arc<Order>,
}

impl Source for Parts {
    type Message = RangeStreamResponse;

    async fn next(&mut self) -> Result<Option<RangeStreamResponse>, Status> {
        let part = self.ranges.next().await.map_err(|error| status(&error))?;
        let Some(mut part) = part else { return Ok(None) };
        self.order.told(part.header.as_ref());
        self.namespace.ranged(&mut part);
        Ok(Some(RangeStreamResponse { range_response: Some(part) }))
    }
}

impl Kv {
    /// Asks the members, and again if they answer from before what was told.
    async fn ask_range(
        &self,
        client: &Client,
        request: RangeRequest,
    ) -> Result<RangeResponse, Status> {
        let mut request = request;
        self.namespace.range(&mut request).map_err(refused)?;
        let mut wanted = self.order.wanted(self.client.endpoints().len());
        loop {
            let answer = client.range(request.clone()).await;
            let mut answer = answer.map_err(|error| status(&error))?;
            if self.order.takes(&mut wanted, answer.header.as_ref())? {
                self.namespace.ranged(&mut answer);
                return Ok(answer);
            }
            sleep(BEHIND).await;
        }
    }

    /// A transaction is being carried out, or has just been.
    fn invalidate_all(&self, request: &TxnRequest) {
        for op in request.success.iter().chain(&request.failure) {
            match &op.request {
                Some(Op::RequestPut(put)) => self.cache.invalidate(&put.key, &Bytes::new()),
                Some(Op::RequestDeleteRange(delete)) => {
                    self.cache.invalidate(&delete.key, &delete.range_end);
                }
                Some(Op::RequestTxn(txn)) => self.invalidate_all(txn),
                Some(Op::RequestRange(_)) | None => {}
            }
        }
        // Whoever finds that a key is not what he took it for looks again.
        for compare in &request.compare {
            self.cache.invalidate(&compare.key, &compare.range_end);
        }
    }
}

/// Whether a transaction writes nothing.
fn only_reads(request: &TxnRequest) -> bool {
    let reads = |op: &RequestOp| match &op.request {
        Some(Op::RequestRange(_)) | None => true,
        Some(Op::RequestTxn(txn)) => only_reads(txn),
        Some(Op::RequestPut(_) | Op::RequestDeleteRange(_)) => false,
    };
    request.success.iter().chain(&request.failure).all(reads)
}

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    type RangeStreamStream = Pumped<RangeStreamResponse>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let Asker { client, who, .. } = Asker::new(&self.client, request.metadata());
        let request = request.into_inner();
        if request.serializable {
            let found = self.cache.get(&request, &who, self.order.revision());
            let is_hit = !matches!(found, Ok(None));
            let count = if is_hit { &self.figures.hits } else { &self.figures.misses };
            count.fetch_add(1, Relaxed);
            match found {
                Ok(Some(answer)) => return Ok(Response::new(answer)),
                Ok(None) => {}
                Err(_) => return Err(refused(Refused::Compacted)),
            }
        }
        let began = self.cache.begin();
        let answer = self.ask_range(&client, request.clone()).await?;
        self.cache.add(began, &request, &who, &answer);
        Ok(Response::new(answer))
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let mut request = request.into_inner();
        self.namespace.range(&mut request).map_err(refused)?;
        // Of when an answer is its last part says, and then the others have been told.
        request.serializable &= !self.order.is_kept();
        let ranges = client.range_stream(request).await;
        let ranges = ranges.map_err(|error| status(&error))?;
        let (namespace, order) = (self.namespace.clone(), Arc::clone(&self.order));
        let parts = Parts { ranges, namespace, order };
        Ok(Response::new(pump(parts, PARTS, self.stop.clone())))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let mut request = request.into_inner();
        let written = request.key.clone();
        self.namespace.put(&mut request).map_err(refused)?;
        self.cache.invalidate(&written, &Bytes::new());
        let answer = client.put(request).await;
        self.cache.invalidate(&written, &Bytes::new());
        let mut answer = answer.map_err(|error| status(&error))?;
        self.namespace.was_put(&mut answer);
        Ok(Response::new(answer))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let mut request = request.into_inner();
        let (key, end) = (request.key.clone(), request.range_end.clone());
        self.namespace.delete(&mut request).map_err(refused)?;
        self.cache.invalidate(&key, &end);
        let answer = client.delete_range(request).await;
        self.cache.invalidate(&key, &end);
        let mut answer = answer.map_err(|error| status(&error))?;
        self.namespace.deleted(&mut answer);
        Ok(Response::new(answer))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let asked = request.into_inner();
        let mut request = asked.clone();
        self.namespace.txn(&mut request).map_err(refused)?;
        let only_reads = only_reads(&asked);
        let mut wanted = self.order.wanted(self.client.endpoints().len());
        self.invalidate_all(&asked);
        let answer = loop {
            let answer = if only_reads {
                client.txn_repeatable(request.clone()).await
            } else {
                client.txn(request.clone()).await
            };
            self.invalidate_all(&asked);
            let answer = answer.map_err(|error| status(&error))?;
            if !only_reads {
                // It is never of before.
                self.order.told(answer.header.as_ref());
                break answer;
            }
            if self.order.takes(&mut wanted, answer.header.as_ref())? {
                break answer;
            }
            sleep(BEHIND).await;
        };
        let mut answer = answer;
        self.namespace.txned(&mut answer);
        Ok(Response::new(answer))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let client = behalf::client(&self.client, request.metadata());
        let request = request.into_inner();
        let revision = request.revision;
        let answer = client.compact(request).await.map_err(|error| status(&error))?;
        self.cache.compact(revision);
        Ok(Response::new(answer))
    }
}
