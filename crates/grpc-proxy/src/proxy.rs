//! A proxy: what it is made of, and what it does beside answering.

use std::{sync::Arc, time::Duration};

use api::{Figure, Later, Passes};
use client::v3::Client;
use http::{Request, Response};
use proto::etcdserverpb::{MemberListRequest, RangeRequest};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tonic::body::Body;

use crate::{
    cache::Cache,
    calls::Services,
    cluster::Cluster,
    figures::Figures,
    kv::Kv,
    lease::{Lease, RENEWAL, Renewals},
    namespace::Namespace,
    order::Order,
    pages,
    registry::Registry,
    watch::{Hub, Watch},
};

/// What gRPC servers take at most unless told otherwise (grpc-go).
const MESSAGE_BYTES: usize = 4 << 20;
/// What gRPC's messages may be larger than the request that they carry.
const OVERHEAD_BYTES: usize = 512 * 1024;
/// What members send ahead on a stream that a client does not read: many may share a connection.
const STREAM_AHEAD_BYTES: u32 = 256 << 10;
/// How long a call looks for a member that can be reached, unless its client has less patience.
const REACH: Duration = Duration::from_secs(5);
/// Before the members are asked again for a first read.
const PAUSE: Duration = Duration::from_secs(1);

/// How a proxy behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--endpoints`: the members. URLs, or `host:port`.
    pub endpoints: Vec<String>,
    /// How they are asked.
    pub client: client::v3::Config,
    /// `--endpoints-auto-sync-interval`: so often they are asked who the members are.
    pub sync_interval: Option<Duration>,
    /// `--namespace`.
    pub namespace: String,
    /// `--advertise-client-url`; may be empty.
    pub address: String,
    /// `--resolver-prefix` and `--resolver-ttl`.
    pub registration: Option<Registration>,
    /// `--experimental-serializable-ordering`.
    pub is_ordered: bool,
    /// `--experimental-enable-grpc-logging`.
    pub logs_calls: bool,
    /// How this proxy asks itself: with TLS, if it serves with TLS.
    pub own_tls: Option<tls::Settings>,
}

/// Where a proxy says that it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub prefix: String,
    /// Seconds.
    pub ttl: i64,
}

/// A proxy. It answers whoever comes to the ports that [`api::Through`] serves.
pub struct Proxy {
    services: Arc<Services>,
    client: Client,
    /// Has connections of its own: watches wait for members as long as it takes, and take no other
    /// call's place.
    watching: Client,
    /// Asks members without gRPC.
    plain: client::Client,
    /// Asks this proxy.
    own: Option<Client>,
    namespace: Namespace,
    cache: Arc<Cache>,
    order: Arc<Order>,
    figures: Arc<Figures>,
    registry: Option<Arc<Registry>>,
    config: Config,
    stop: watch::Receiver<bool>,
}

impl Proxy {
    /// Connects to nobody yet. All ends once `stop` turns true. The error is one line.
    pub fn new(config: Config, stop: watch::Receiver<bool>) -> Result<Self, String> {
        let mut config = config;
        config.client.stream_ahead_bytes = STREAM_AHEAD_BYTES;
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let calls = client::v3::Config { reach_timeout: Some(REACH), ..config.client.clone() };
        let client = Client::new(&config.endpoints, calls).map_err(|error| told(&error))?;
        let watching = Client::new(&config.endpoints, config.client.clone());
        let watching = watching.map_err(|error| told(&error))?;
        let plain = plain(&client, &config)?;
        let own = own(&config)?;
        let namespace = Namespace::new(config.namespace.clone());
        let (cache, figures) = (Arc::<Cache>::default(), Arc::<Figures>::default());
        let registry = config.registration.clone().map(|Registration { prefix, ttl }| {
            let (client, namespace) = (watching.clone(), namespace.clone());
            Arc::new(Registry::new(client, namespace, (prefix, ttl), config.address.clone()))
        });
        let order = Arc::new(Order::new(config.is_ordered));
        let hub = Arc::new(Hub::new(watching.clone(), namespace.clone(), Arc::clone(&figures)));
        let parts = (
            Cluster {
                client: client.clone(),
                address: config.address.clone(),
                registry: registry.clone(),
            },
            Kv {
                client: client.clone(),
                namespace: namespace.clone(),
                cache: Arc::clone(&cache),
                order: Arc::clone(&order),
                figures: Arc::clone(&figures),
                stop: stop.clone(),
            },
            Lease {
                client: client.clone(),
                namespace: namespace.clone(),
                renewals: Arc::new(Renewals::new(Arc::clone(&figures), RENEWAL)),
                stop: stop.clone(),
            },
            Watch { hub, stop: stop.clone() },
        );
        let message_bytes_max =
            MESSAGE_BYTES.max(config.client.request_bytes_max.saturating_add(OVERHEAD_BYTES));
        let how = (message_bytes_max, stop.clone());
        let services = Services::new((client.clone(), Arc::clone(&cache)), how, parts);
        let services = Arc::new(services);
        Ok(Self {
            services,
            client,
            watching,
            plain,
            own,
            namespace,
            cache,
            order,
            figures,
            registry,
            config,
            stop,
        })
    }

    /// Waits until a member has said what "now" is, if reads are to be in order: nobody is told of
    /// before that.
    pub async fn ready(&self) {
        if !self.config.is_ordered {
            return;
        }
        tracing::info!("waiting for linearized read from cluster to recover ordering");
        let key = self.namespace.key(&bytes::Bytes::from_static(b"_"));
        let request = RangeRequest { key, keys_only: true, ..RangeRequest::default() };
        loop {
            match self.client.range(request.clone()).await {
                Ok(answer) => return self.order.told(answer.header.as_ref()),
                Err(error) => tracing::warn!(%error, "ordering recovery failed, retrying in 1s"),
            }
            sleep(PAUSE).await;
        }
    }

    /// What goes on beside answering. Ends once the proxy stops, and has said good-bye.
    pub async fn run(self: Arc<Self>) {
        let mut beside = JoinSet::new();
        if let Some(registry) = &self.registry {
            beside.spawn(Arc::clone(registry).follow());
        }
        if let Some(interval) = self.config.sync_interval {
            beside.spawn(Arc::clone(&self).sync(interval));
        }
        let mut stop = self.stop.clone();
        match &self.registry {
            Some(registry) => Arc::clone(registry).register(stop).await,
            None => stopped(&mut stop).await,
        }
    }

    /// Looks so often who the members are.
    async fn sync(self: Arc<Self>, interval: Duration) {
        loop {
            sleep(interval).await;
            let listed = self.client.member_list(MemberListRequest { linearizable: true }).await;
            let urls: Vec<String> = match listed {
                Ok(list) => {
                    list.members.into_iter().flat_map(|member| member.client_ur_ls).collect()
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look who the members are");
                    continue;
                }
            };
            if urls.is_empty() {
                continue;
            }
            let both = [&self.client, &self.watching];
            if let Err(error) = both.into_iter().try_for_each(|one| one.set_endpoints(&urls)) {
                tracing::warn!(?urls, %error, "cannot ask at what the members advertise");
            }
        }
    }
}

/// Waits until the proxy stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

fn plain(client: &Client, config: &Config) -> Result<client::Client, String> {
    let endpoints: Vec<String> = client.endpoints().iter().map(ToString::to_string).collect();
    let tls = config.client.tls.clone().unwrap_or_default();
    let plain = client::Config { tls, ..client::Config::default() };
    client::Client::new(&endpoints, plain).map_err(|error| error.to_string())
}

fn own(config: &Config) -> Result<Option<Client>, String> {
    if config.address.is_empty() {
        return Ok(None);
    }
    let own = client::v3::Config { tls: config.own_tls.clone(), ..Default::default() };
    let own = Client::new(&[&config.address], own);
    own.map(Some).map_err(|error| format!("--advertise-client-url: {error}"))
}

impl Passes for Proxy {
    fn call(&self, request: Request<Body>) -> Later<Response<Body>> {
        let services = Arc::clone(&self.services);
        let logs = self.config.logs_calls;
        Box::pin(async move {
            let path = logs.then(|| request.uri().path().to_owned());
            let response = services.answer(request).await;
            if let Some(path) = path {
                let code = response.headers().get("grpc-status");
                let code = code.and_then(|code| code.to_str().ok()).unwrap_or("0");
                tracing::info!(path, code, "answered a call");
            }
            response
        })
    }

    fn metrics(&self) -> Later<Result<String, String>> {
        let (plain, endpoints) = (self.plain.clone(), self.client.endpoints());
        Box::pin(async move { pages::metrics(&plain, endpoints).await })
    }

    fn health(&self) -> Later<Result<(), String>> {
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        Box::pin(async move { pages::reads(&client, &namespace).await })
    }

    fn own_health(&self) -> Later<Result<(), String>> {
        let own = self.own.clone();
        Box::pin(async move { pages::serves(own.as_ref()).await })
    }

    fn figures(&self) -> Vec<Figure> {
        self.figures.all(self.cache.len())
    }
}

#[cfg(test)]
mod tests;
