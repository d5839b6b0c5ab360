//! From a path to a service.

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response, header};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::Status;
use tower_service::Service;

use super::{
    body::Body,
    generated::{
        etcdserverpb::{kv_server::KvServer, watch_server::WatchServer},
        health::health_server::HealthServer,
    },
    health::Health,
    kv::Kv,
    range,
    watch::Watch,
};
use crate::context::Context;

/// What gRPC's messages may be larger than the request that they carry, as in etcd.
pub(super) const OVERHEAD_BYTES: usize = 512 * 1024;
/// What a client may send ahead on a stream, and on all streams of a connection.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What waits of one stream's answer until the client takes it.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// Names and values of a request's head.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Whether a request over HTTP/2 is one of gRPC.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|found| found.as_bytes().starts_with(b"application/grpc"))
}

/// All services of the client port.
pub(crate) struct Services {
    context: Arc<Context>,
    health: HealthServer<Health>,
    kv: KvServer<Kv>,
    watch: WatchServer<Watch>,
}

impl Services {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        let limit = context.config.grpc.request_bytes_max + OVERHEAD_BYTES;
        let watch = WatchServer::new(Watch(Arc::clone(context)));
        Self {
            context: Arc::clone(context),
            health: HealthServer::new(Health::new(context)),
            kv: KvServer::new(Kv(Arc::clone(context))).max_decoding_message_size(limit),
            watch: watch.max_decoding_message_size(limit),
        }
    }

    /// How connections are served.
    pub(crate) fn http2(&self) -> http2::Builder<TokioExecutor> {
        let limits = &self.context.config.grpc;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BYTES_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .keep_alive_interval(Some(limits.keepalive_interval).filter(|often| !often.is_zero()))
            .keep_alive_timeout(limits.keepalive_timeout);
        builder
    }

    /// Answers one request, which may be a stream of them.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        match service {
            Some(("etcdserverpb.KV", "Range")) => range::answer(&self.context, request).await,
            Some(("etcdserverpb.KV", _)) => call(&self.kv, request).await,
            Some(("etcdserverpb.Watch", _)) => call(&self.watch, request).await,
            Some(("grpc.health.v1.Health", _)) => call(&self.health, request).await,
            Some((service, _)) => {
                refuse(&Status::unimplemented(format!("unknown service {service}")))
            }
            None => refuse(&Status::unimplemented(format!("malformed method name: \"{path}\""))),
        }
    }
}

async fn call<S>(service: &S, request: Request<Incoming>) -> Response<Body>
where
    S: Service<Request<Incoming>, Response = Response<tonic::body::Body>, Error = Infallible>
        + Clone,
{
    match service.clone().call(request).await {
        Ok(response) => response.map(Body::Grpc),
        Err(never) => match never {},
    }
}

fn refuse(status: &Status) -> Response<Body> {
    status.clone().into_http().map(Body::Grpc)
}
