//! What every handler may use.

use std::sync::Arc;

use http::HeaderValue;
use server::Handle;
use tokio::sync::watch;

use crate::ops::metrics::Counters;

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--cors`: allowed origins; `*` for all.
    pub cors: Vec<String>,
    /// Connections at once on one listener. Those beyond wait to be accepted.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { cors: Vec::new(), max_connections: 10_000 }
    }
}

/// Changes the log level at run time (`PUT /config/local/log`): takes `DEBUG`, `INFO`, …; false if
/// unknown.
pub type SetLogLevel = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What every handler may use.
pub(crate) struct Context {
    pub(crate) handle: Handle,
    pub(crate) config: Config,
    pub(crate) set_log_level: SetLogLevel,
    /// `X-Etcd-Cluster-Id`.
    pub(crate) cluster_id: HeaderValue,
    pub(crate) counters: Counters,
    /// True once the server stops: what waits for news ends then.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Context {
    pub(crate) fn new(
        handle: Handle,
        config: Config,
        set_log_level: SetLogLevel,
        stop: watch::Receiver<bool>,
    ) -> Self {
        // Never freed: what lives as long as the process is cloned for nothing, with every answer.
        let cluster_id: &'static str = handle.cluster_id().to_string().leak();
        let cluster_id = HeaderValue::from_static(cluster_id);
        let counters = Counters::default();
        Self { handle, config, set_log_level, cluster_id, counters, stop }
    }
}
