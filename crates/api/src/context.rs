//! What every handler may use.

use std::{net::SocketAddr, ops::Deref, pin::Pin, sync::Arc, time::Duration};

use base::{Refused, Room, limits, room::Share};
use http::{HeaderValue, Request};
use server::{Applicant, Handle, Presence};
use tokio::sync::{Semaphore, watch};

use crate::{
    audit::{Audit, Trail},
    auth::{AuthConfig, Authentication},
    ops::metrics::Counters,
    slow::Paces,
    traces::Tracer,
    under_way::LongReads,
};

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--cors`: allowed origins; `*` for all.
    pub cors: Vec<String>,
    /// `--host-whitelist`: names by which clients may call us without TLS; empty, or `*`: any.
    pub hosts: Vec<String>,
    /// Connections at once on one listener. Those beyond wait to be accepted.
    pub max_connections: usize,
    /// `--enable-grpc-gateway`: the v3 API is there as JSON too.
    pub gateway: bool,
    pub grpc: Grpc,
    pub auth: AuthConfig,
    /// `--metrics extensive`: how long each method takes is told as well.
    pub extensive_metrics: bool,
    /// `--enable-distributed-tracing`: follows calls.
    pub tracer: Option<Tracer>,
    /// `--audit-log`: who keeps records of requests.
    pub audit: Option<Audit>,
    /// `--enable-pprof`: anybody may ask where the processor's time goes.
    pub profiling: bool,
    /// The features by which etcd's users know a version, for metrics.
    pub features: Vec<Feature>,
}

/// A feature that etcd has, or has not, by a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    /// `ALPHA` or `BETA`.
    pub stage: &'static str,
    pub is_on: bool,
}

/// Limits of the v3 API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grpc {
    /// `--max-request-bytes`.
    pub request_bytes_max: usize,
    /// `--max-txn-ops`: in each list of a transaction.
    pub txn_ops_max: usize,
    /// `--max-concurrent-streams`: requests and streams at once on one connection.
    pub streams_max: u32,
    /// `--grpc-keepalive-min-time`: who asks for a sign of life more often is sent away; nobody if
    /// zero.
    pub keepalive_min_time: Duration,
    /// `--grpc-keepalive-interval`: a connection is asked for a sign of life so often; never if
    /// zero.
    pub keepalive_interval: Duration,
    /// `--grpc-keepalive-timeout`: and ended if none comes for so long.
    pub keepalive_timeout: Duration,
    /// `--watch-progress-notify-interval`.
    pub progress_interval: Duration,
    /// `--warning-unary-request-duration`: what takes longer is told in the log.
    pub request_expected: Duration,
}

impl Grpc {
    /// Both times say so, as in etcd.
    pub(crate) fn asks_for_life(&self) -> bool {
        !self.keepalive_interval.is_zero() && !self.keepalive_timeout.is_zero()
    }
}

impl Default for Grpc {
    /// etcd's, but for the number of streams, which it leaves without a bound.
    fn default() -> Self {
        Self {
            request_bytes_max: limits::REQUEST_BYTES_MAX,
            txn_ops_max: 128,
            streams_max: 10_000,
            keepalive_min_time: Duration::from_secs(5),
            keepalive_interval: Duration::from_hours(2),
            keepalive_timeout: Duration::from_secs(20),
            progress_interval: Duration::from_mins(10),
            request_expected: Duration::from_millis(300),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cors: Vec::new(),
            hosts: Vec::new(),
            max_connections: 10_000,
            gateway: true,
            grpc: Grpc::default(),
            auth: AuthConfig::default(),
            extensive_metrics: false,
            tracer: None,
            audit: None,
            profiling: false,
            features: Vec::new(),
        }
    }
}

/// Changes the log level at run time (`PUT /config/local/log`): takes `DEBUG`, `INFO`, …; false if
/// unknown.
pub type SetLogLevel = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What every handler may use, on behalf of one connection.
pub(crate) struct Context {
    common: Arc<Common>,
    /// Of the room for answers.
    pub(crate) share: Arc<Share>,
    /// Who has connected.
    pub(crate) remote: Option<SocketAddr>,
}

impl Context {
    /// For a connection with this share, from there.
    pub(crate) fn new(
        common: &Arc<Common>,
        share: &Arc<Share>,
        remote: Option<SocketAddr>,
    ) -> Arc<Self> {
        Arc::new(Self { common: Arc::clone(common), share: Arc::clone(share), remote })
    }

    /// The same for another connection.
    pub(crate) fn with(&self, share: &Arc<Share>, remote: Option<SocketAddr>) -> Arc<Self> {
        Self::new(&self.common, share, remote)
    }
}

impl Deref for Context {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

/// See [`Common::over`].
pub(crate) type Over = Pin<Box<dyn Future<Output = Refused> + Send>>;

/// What all connections have in common.
pub(crate) struct Common {
    pub(crate) handle: Handle,
    pub(crate) config: Config,
    pub(crate) set_log_level: SetLogLevel,
    /// `X-Etcd-Cluster-Id`.
    pub(crate) cluster_id: HeaderValue,
    pub(crate) counters: Counters,
    pub(crate) auth: Authentication,
    /// One profile at a time.
    pub(crate) profiling: Arc<Semaphore>,
    /// Of all answers under way.
    pub(crate) room: Arc<Room>,
    pub(crate) long_reads: LongReads,
    /// What is said of them in the log.
    pub(crate) slow_reads: Paces,
    /// Places for them; their connections are no longer those of a listener.
    pub(crate) websockets: Arc<Semaphore>,
    /// True once the server stops: what waits for news ends then.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Common {
    /// Whether this member does not vote.
    pub(crate) fn is_learner(&self) -> bool {
        let members = self.handle.reader().members();
        members.members.get(&self.handle.member_id()).is_some_and(|member| member.learner)
    }

    /// Says in the log if users are enabled and it is all one: when a member begins to serve, and after
    /// changes through v2, which alone lets guests in.
    pub(crate) fn warn_of_guests(&self) {
        if self.handle.reader().auth().lets_guests_do_everything() {
            tracing::warn!(
                target: "etcdserver/auth",
                "authentication is enabled, and guests may read and write every key through v2; to shut them \
                 out: ETCDCTL_API=2 etcdctl --username root role revoke guest --path '/*' --readwrite"
            );
        }
    }

    /// Lets a request that has come from there know that, and what it is recorded by, where it matters.
    pub(crate) fn mark<B>(
        &self,
        from: Option<SocketAddr>,
        presence: Option<&Arc<Presence>>,
        request: &mut Request<B>,
    ) {
        if let Some(audit) = &self.config.audit {
            let trail = Trail::begin(audit, from, self.handle.clock().wall());
            request.extensions_mut().insert(trail);
        }
        if self.handle.reader().auth_is_enabled() {
            let host = from.map(|from| from.ip());
            request.extensions_mut().insert(Applicant { host, presence: presence.cloned() });
        }
    }

    pub(crate) fn new(
        handle: Handle,
        config: Config,
        set_log_level: SetLogLevel,
        stop: watch::Receiver<bool>,
    ) -> Self {
        // Never freed: what lives as long as the process is cloned for nothing, with every answer.
        let cluster_id: &'static str = handle.cluster_id().to_string().leak();
        let cluster_id = HeaderValue::from_static(cluster_id);
        let counters = Counters::new(config.extensive_metrics, config.grpc.request_expected);
        let most = config.max_connections.min(Semaphore::MAX_PERMITS);
        let websockets = Arc::new(Semaphore::new(most));
        let auth = Authentication::new(&config.auth);
        Self {
            handle,
            config,
            set_log_level,
            cluster_id,
            counters,
            auth,
            profiling: Arc::new(Semaphore::new(1)),
            room: Arc::default(),
            long_reads: LongReads::default(),
            slow_reads: Paces::default(),
            websockets,
            stop,
        }
    }

    /// Resolves when what waits for news is to end, with the reason: the server stops, or this member
    /// was found to differ from the others.
    pub(crate) fn over(&self) -> Over {
        let (mut stop, handle) = (self.stop.clone(), self.handle.clone());
        Box::pin(async move {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => Refused::Stopped,
                () = handle.fenced() => Refused::Corrupt,
            }
        })
    }
}
