//! From a path to a service.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use base::{Refused, code::message_too_large, room::Share};
use http::{HeaderMap, Request, Response, header};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::TokioTimer;
use tokio::time;
use tonic::{Status, codec::CompressionEncoding::Gzip};
use tower_service::Service;

use super::{
    auth::Auth,
    body::Body,
    cluster::Cluster,
    election::Election,
    failure::{deadline_exceeded, status},
    generated::{
        etcdserverpb::{
            auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
            lease_server::LeaseServer, maintenance_server::MaintenanceServer,
        },
        health::health_server::HealthServer,
        v3electionpb::election_server::ElectionServer,
        v3lockpb::lock_server::LockServer,
    },
    guard,
    health::Health,
    kv::Kv,
    lease::Lease,
    lock::Lock,
    maintenance::Maintenance,
    methods::{Kind, Method},
    range,
    reflection::Reflection,
    unread::Unread,
    watch,
};
use crate::{
    audit::Trail,
    context::{Context, Grpc},
    eager::{self, Eager},
    ops::metrics::grpc::{Call, Traffic},
};

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
    kv: KvServer<Kv>,
    others: Arc<Others>,
}

/// Those to whom it is all one on which connection they are asked.
struct Others {
    auth: AuthServer<Auth>,
    cluster: ClusterServer<Cluster>,
    election: ElectionServer<Election>,
    health: HealthServer<Health>,
    lease: LeaseServer<Lease>,
    lock: LockServer<Lock>,
    maintenance: MaintenanceServer<Maintenance>,
    reflection: Reflection,
}

/// A service of the client port: what it takes, and in which form.
macro_rules! service {
    ($context:ident, $server:ident($service:expr)) => {
        $server::new($service)
            .max_decoding_message_size($context.config.grpc.request_bytes_max + OVERHEAD_BYTES)
            .accept_compressed(Gzip)
    };
}

impl Others {
    fn new(context: &Arc<Context>) -> Self {
        Self {
            auth: service!(context, AuthServer(Auth(Arc::clone(context)))),
            cluster: service!(context, ClusterServer(Cluster(Arc::clone(context)))),
            election: service!(context, ElectionServer(Election(Arc::clone(context)))),
            health: service!(context, HealthServer(Health::new(context))),
            lease: service!(context, LeaseServer(Lease(Arc::clone(context)))),
            lock: service!(context, LockServer(Lock(Arc::clone(context)))),
            maintenance: service!(context, MaintenanceServer(Maintenance(Arc::clone(context)))),
            reflection: Reflection::new(),
        }
    }
}

impl Services {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self::with(context, Arc::new(Others::new(context)))
    }

    fn with(context: &Arc<Context>, others: Arc<Others>) -> Self {
        let kv = service!(context, KvServer(Kv(Arc::clone(context))));
        Self { context: Arc::clone(context), kv, others }
    }

    async fn call(&self, method: &Method, request: Request<Unread>) -> Response<Body> {
        match method.service {
            "etcdserverpb.KV" if method.name == "Range" => {
                range::answer(&self.context, request).await
            }
            "etcdserverpb.KV" => call(&self.kv, request).await,
            "etcdserverpb.Watch" => watch::answer(&self.context, request).await,
            "etcdserverpb.Lease" => call(&self.others.lease, request).await,
            "etcdserverpb.Cluster" => call(&self.others.cluster, request).await,
            "etcdserverpb.Maintenance" => call(&self.others.maintenance, request).await,
            "etcdserverpb.Auth" => call(&self.others.auth, request).await,
            "v3lockpb.Lock" => call(&self.others.lock, request).await,
            "v3electionpb.Election" => call(&self.others.election, request).await,
            "grpc.health.v1.Health" => call(&self.others.health, request).await,
            service if service.starts_with("grpc.reflection.") => {
                self.others.reflection.answer(service, request).await.map(Body::grpc)
            }
            service => refuse(&Status::unimplemented(format!("unknown service {service}"))),
        }
    }
}

/// Who answers calls on a port.
pub(crate) trait Calls: Send + Sync + 'static {
    /// Where the bytes of connections are counted.
    fn traffic(&self) -> Arc<Traffic>;

    fn limits(&self) -> &Grpc;

    /// Whether clients are known by the names in their certificates.
    fn knows_by_name(&self) -> bool;

    /// Lets a request that has come from there know that, where it matters.
    fn mark(&self, from: Option<SocketAddr>, request: &mut Request<Incoming>);

    /// The same for a connection with this share of the room for answers.
    fn on(self: &Arc<Self>, share: &Arc<Share>, from: Option<SocketAddr>) -> Arc<Self>;

    /// Whether so many write that nobody else should begin to.
    fn is_crowded(&self) -> bool;

    /// Begins a call of the method at this place in the table, if it may be called with this metadata.
    fn begin(&self, at: (usize, &'static Method), metadata: &HeaderMap) -> Result<Call, Status>;

    /// Carries it out.
    fn carry_out(
        &self,
        method: &'static Method,
        request: Request<Unread>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Answers one request, which may be a stream of them.
pub(crate) async fn answer(calls: &impl Calls, request: Request<Incoming>) -> Response<Body> {
    let found = Method::find(request.uri().path());
    let is_stream = found.as_ref().is_ok_and(|(_, method)| method.kind == Kind::BidiStream);
    let bytes_max = calls.limits().request_bytes_max + OVERHEAD_BYTES;
    let request = request.map(|body| Unread::new(body, bytes_max, is_stream));
    let (at, method) = match found {
        Ok(found) => found,
        Err(text) => return refuse(&Status::unimplemented(text)),
    };
    let headers = request.headers();
    let call = match calls.begin((at, method), headers) {
        Ok(call) => call.recorded_by(Trail::of(request.extensions()), false),
        Err(status) => {
            if let Some(trail) = Trail::of(request.extensions()) {
                trail.ends_at_once(method, false, status.code());
            }
            return refuse(&status);
        }
    };
    if let Err(status) = check_encoding(headers) {
        return Body::counted(call, refuse(&status));
    }
    if method.writes() && calls.is_crowded() {
        return Body::counted(call, refuse(&status(Refused::TooManyRequests)));
    }
    if !method.is("etcdserverpb.KV", "Range") {
        eager::step_back().await;
    }
    let patience = guard::patience_of(headers).filter(|_| method.is_unary());
    let response = match patience {
        None => calls.carry_out(method, request).await,
        // Whoever has gone away waits for nothing, and holds nothing up.
        Some(patience) => time::timeout(patience, calls.carry_out(method, request))
            .await
            .unwrap_or_else(|_| refuse(&deadline_exceeded())),
    };
    Body::counted(call, response)
}

/// How connections are served.
pub(crate) fn http2(limits: &Grpc) -> http2::Builder<Eager> {
    let mut builder = http2::Builder::new(Eager);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(Some(limits.keepalive_interval).filter(|_| limits.asks_for_life()))
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}

impl Calls for Services {
    fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.context.counters.grpc.traffic)
    }

    fn limits(&self) -> &Grpc {
        &self.context.config.grpc
    }

    fn knows_by_name(&self) -> bool {
        self.context.config.auth.names_in_certificates
    }

    fn mark(&self, from: Option<SocketAddr>, request: &mut Request<Incoming>) {
        self.context.mark(from, None, request);
    }

    fn on(self: &Arc<Self>, share: &Arc<Share>, from: Option<SocketAddr>) -> Arc<Self> {
        Arc::new(Self::with(&self.context.with(share, from), Arc::clone(&self.others)))
    }

    fn is_crowded(&self) -> bool {
        self.context.handle.is_crowded()
    }

    fn begin(&self, at: (usize, &'static Method), metadata: &HeaderMap) -> Result<Call, Status> {
        guard::begin(&self.context, at, metadata)
    }

    async fn carry_out(&self, method: &'static Method, request: Request<Unread>) -> Response<Body> {
        self.call(method, request).await
    }
}

async fn call<S>(service: &S, request: Request<Unread>) -> Response<Body>
where
    S: Service<Request<Unread>, Response = Response<tonic::body::Body>, Error = Infallible> + Clone,
{
    match service.clone().call(request).await {
        Ok(response) => in_words_of_go(response).map(Body::grpc),
        Err(never) => match never {},
    }
}

/// What our library says of a message that is too large clients expect with another code.
pub(crate) fn in_words_of_go(response: Response<tonic::body::Body>) -> Response<tonic::body::Body> {
    if !response.headers().contains_key("grpc-status") {
        return response;
    }
    let status = Status::from_header_map(response.headers());
    match status.as_ref().and_then(|status| message_too_large(status.message())) {
        Some(text) => Status::resource_exhausted(text).into_http(),
        None => response,
    }
}

pub(crate) fn refuse(status: &Status) -> Response<Body> {
    status.clone().into_http().map(Body::grpc)
}

/// How the messages of a request are compressed.
pub(super) fn encoding(headers: &HeaderMap) -> Option<&[u8]> {
    let encoding = headers.get("grpc-encoding").map(http::HeaderValue::as_bytes);
    encoding.filter(|encoding| *encoding != b"identity")
}

/// etcd takes gzip.
fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    match encoding(headers) {
        None | Some(b"gzip") => Ok(()),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            let text = format!("grpc: Decompressor is not installed for grpc-encoding {other:?}");
            Err(Status::unimplemented(text))
        }
    }
}
