//! What clients speak: the v2 API, and what operators ask (health, metrics, version).
//!
//! CONTRACT (author: fill in; keep the signatures unless there is a strong reason).

use server::Handle;

/// How the API behaves.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `--cors`: allowed origins; `*` for all.
    pub cors: Vec<String>,
    /// `--enable-pprof` is not offered; `--debug` is the log's.
    pub max_connections: usize,
}

/// Changes the log level at run time (`PUT /config/local/log`): takes `DEBUG`, `INFO`, …; false if
/// unknown.
pub type SetLogLevel = std::sync::Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Serves the client API on a bound listener until `stop` resolves; then accepts no more, lets
/// running requests finish for a bounded time, ends watches, and returns.
pub async fn serve_clients(
    listener: tokio::net::TcpListener,
    handle: Handle,
    config: Config,
    set_log_level: SetLogLevel,
    stop: tokio::sync::watch::Receiver<bool>,
) {
    let _ = (listener, handle, config, set_log_level, stop);
    unimplemented!()
}

/// Serves the peer port: for one member `/members`, `/version`, `/raft/probing`.
pub async fn serve_peers(
    listener: tokio::net::TcpListener,
    handle: Handle,
    stop: tokio::sync::watch::Receiver<bool>,
) {
    let _ = (listener, handle, stop);
    unimplemented!()
}
