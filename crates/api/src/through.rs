//! The ports of a proxy that speaks gRPC: connections and their limits as at a member, and what is
//! answered by somebody else.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use base::{Room, UnixNanos, room::Share};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;
use tonic::Status;

use crate::{
    Grpc as Limits, Offer, Port,
    answering::Answering,
    ops::metrics::{
        self,
        grpc::{Call, GrpcCounters, Traffic},
    },
    reply::{self, Reply},
    serve::{Grpc, Rules, accept},
    v3::{Body, Calls, Unread, in_words_of_go, methods::Method},
};

/// What is there later.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Who answers, in the end.
pub trait Passes: Send + Sync + 'static {
    /// Answers a call of a method that the v3 API has; it may be a stream.
    fn call(&self, request: Request<tonic::body::Body>) -> Later<Response<tonic::body::Body>>;

    /// The members' `/metrics`; the error is for the log.
    fn metrics(&self) -> Later<Result<String, String>>;

    /// Whether the members serve: why not, if not.
    fn health(&self) -> Later<Result<(), String>>;

    /// Whether this proxy serves, asked through its own port.
    fn own_health(&self) -> Later<Result<(), String>>;

    /// What it has counted, for `/proxy/metrics`.
    fn figures(&self) -> Vec<Figure>;
}

/// A number that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    pub name: &'static str,
    pub help: &'static str,
    /// It only grows.
    pub is_counter: bool,
    pub value: u64,
}

/// A proxy's APIs, on as many ports as there are. Clones share counters and limits.
#[derive(Clone)]
pub struct Through(Arc<Shared>);

struct Shared {
    passes: Arc<dyn Passes>,
    limits: Limits,
    connections_max: usize,
    counters: Arc<GrpcCounters>,
    room: Arc<Room>,
    started_at: UnixNanos,
    stop: watch::Receiver<bool>,
}

impl Through {
    /// Serves nobody yet. All ends once `stop` turns true. `connections_max`: on each port.
    pub fn new(
        passes: Arc<dyn Passes>,
        limits: Limits,
        connections_max: usize,
        (started_at, stop): (UnixNanos, watch::Receiver<bool>),
    ) -> Self {
        let counters = Arc::new(GrpcCounters::new(false, limits.request_expected));
        let room = Arc::default();
        let shared = Shared { passes, limits, connections_max, counters, room, started_at, stop };
        Self(Arc::new(shared))
    }

    /// Serves on a port until the proxy stops. Ends as [`crate::Clients::serve`] does.
    pub async fn serve(self, port: Port, offer: Offer) {
        let shared = self.0;
        let connections_max = shared.connections_max;
        let rules = Rules {
            connections_max,
            half_close: true,
            room: Arc::clone(&shared.room),
            idle_make_way: false,
        };
        let services = Arc::clone(&shared);
        let grpc = Grpc { services, is_offered: offer.has_grpc() };
        accept(port, rules, (shared.stop.clone(), Some(grpc)), move |_| {
            let shared = Arc::clone(&shared);
            move |request| {
                let shared = Arc::clone(&shared);
                Answering::Later(Box::pin(async move { shared.page(&request).await }))
            }
        })
        .await;
    }
}

impl Shared {
    /// What is asked without gRPC.
    async fn page(&self, request: &Request<Incoming>) -> Reply {
        let method = request.method();
        let path = request.uri().path();
        if !matches!(path, "/metrics" | "/health" | "/proxy/metrics" | "/proxy/health") {
            return reply::not_found();
        }
        if !matches!(*method, HttpMethod::GET | HttpMethod::HEAD) {
            return reply::method_not_allowed("GET");
        }
        match path {
            "/health" => health(self.passes.health().await),
            "/proxy/health" => health(self.passes.own_health().await),
            "/proxy/metrics" => self.own_metrics(method),
            _ => self.metrics().await,
        }
    }

    async fn metrics(&self) -> Reply {
        match self.passes.metrics().await {
            Ok(text) => {
                let kind = HeaderValue::from_static("text/plain; version=0.0.4");
                reply::whole(StatusCode::OK, kind, text)
            }
            Err(error) => {
                tracing::warn!(%error, "no member tells its metrics");
                reply::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n")
            }
        }
    }

    fn own_metrics(&self, method: &HttpMethod) -> Reply {
        metrics::answer_with(method, |page| {
            for Figure { name, help, is_counter, value } in self.passes.figures() {
                page.begin(name, help, if is_counter { "counter" } else { "gauge" });
                page.sample(name, &[], value);
            }
            metrics::of_grpc(page, &self.counters);
            metrics::of_process(page, self.started_at);
        })
    }
}

/// As etcd writes it from 3.5 on.
fn health(outcome: Result<(), String>) -> Reply {
    let (status, health, reason) = match outcome {
        Ok(()) => (StatusCode::OK, "true", String::new()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, "false", reason),
    };
    let page = serde_json::json!({ "health": health, "reason": reason });
    reply::json(status, page.to_string())
}

impl Calls for Shared {
    fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.counters.traffic)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Members are told nothing of it.
    fn knows_by_name(&self) -> bool {
        false
    }

    /// Members do that.
    fn mark(&self, _: Option<SocketAddr>, _: &mut Request<Incoming>) {}

    fn on(self: &Arc<Self>, _: &Arc<Share>, _: Option<SocketAddr>) -> Arc<Self> {
        Arc::clone(self)
    }

    /// Members are.
    fn is_crowded(&self) -> bool {
        false
    }

    fn begin(&self, (at, _): (usize, &'static Method), _: &HeaderMap) -> Result<Call, Status> {
        Ok(Call::begin(&self.counters, at))
    }

    async fn carry_out(&self, _: &'static Method, request: Request<Unread>) -> Response<Body> {
        let response = self.passes.call(request.map(tonic::body::Body::new)).await;
        in_words_of_go(response).map(Body::grpc)
    }
}
