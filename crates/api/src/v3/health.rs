//! `grpc.health.v1.Health`: for load balancers and probes.

use std::{pin::Pin, sync::Arc};

use proto::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::generated::health::health_server;
use crate::context::Context;

/// The one service that is known by name, beside the server as a whole, as in etcd.
const KV: &str = "etcdserverpb.KV";

pub(crate) struct Health {
    stop: watch::Receiver<bool>,
}

impl Health {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self { stop: context.stop.clone() }
    }
}

fn serving(stopping: bool) -> HealthCheckResponse {
    let status = if stopping { ServingStatus::NotServing } else { ServingStatus::Serving };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "" | KV => Ok(Response::new(serving(*self.stop.borrow()))),
            _ => Err(Status::not_found("unknown service")),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let known = matches!(request.get_ref().service.as_str(), "" | KV);
        let mut stop = self.stop.clone();
        let first = if known {
            serving(*stop.borrow())
        } else {
            HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() }
        };
        tokio::spawn(async move {
            if sender.send(Ok(first)).await.is_err() {
                return;
            }
            let stopping = async { drop(stop.wait_for(|stop| *stop).await) };
            tokio::select! {
                () = sender.closed() => {}
                () = stopping => drop(sender.send(Ok(serving(true))).await),
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }
}
