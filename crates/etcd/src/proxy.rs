//! Proxy mode: finds the members, keeps looking who they are, and serves clients in their place.

mod cluster_file;
mod refresh;

use std::sync::Arc;

use api::{Port, Proxy, ProxyConfig};
use base::{Clock as _, OsClock, OsDisk};
use tokio::{sync::watch, task::JoinSet, time};

use crate::{
    announce,
    config::{Bootstrap, Config, Listen, Members, Mode},
    discovery,
    listen::Bound,
    records,
    secure::{self, SecuredProxy},
    serve::{Ended, STOP_TIMEOUT},
    signals::Signals,
};
use cluster_file::ClusterFile;
use refresh::Refresh;

/// Serves on these ports until a signal. The error is one line.
pub(crate) async fn serve(
    config: Config,
    clients: Vec<Bound>,
    mut signals: Signals,
    connections_max: usize,
) -> Result<Ended, String> {
    let (stop, stopping) = watch::channel(false);
    let mut serving = JoinSet::new();
    let refreshing = tokio::select! {
        started = start(&config, clients) => {
            let Started { ports, proxy, refresh } = started?;
            // A request takes two connections, and those to members that were asked before are kept
            // for a while; and the limit is for each port.
            let connections_max = (connections_max / 4 / ports.len().max(1)).max(1);
            for port in ports {
                let (proxy, stopping) = (Arc::clone(&proxy), stopping.clone());
                serving.spawn(api::serve_proxy(port, proxy, connections_max, stopping));
            }
            tokio::spawn(refresh.go_on())
        }
        signal = signals.first() => {
            announce::stopping(signal);
            return Ok(Ended::Signal(signal));
        }
    };
    announce::proxy_ready(config.listen_clients.iter().map(|Listen { url, .. }| url.as_str()));
    let signal = signals.first().await;
    announce::stopping(signal);
    refreshing.abort();
    stop.send_replace(true);
    if time::timeout(STOP_TIMEOUT, serving.join_all()).await.is_err() {
        let seconds = STOP_TIMEOUT.as_secs();
        tracing::warn!(target: "etcdmain", "not all requests ended within {seconds} s");
    }
    Ok(Ended::Signal(signal))
}

/// A proxy that is ready to serve.
struct Started {
    ports: Vec<Port>,
    proxy: Arc<Proxy>,
    refresh: Refresh,
}

/// Looks for the members, and asks them once: whoever answers later is found later.
async fn start(config: &Config, clients: Vec<Bound>) -> Result<Started, String> {
    tracing::info!(target: "etcdmain", "proxy: this proxy supports v2 API only!");
    let SecuredProxy { ports, peers, clients } = secure::secure_proxy(config, clients)?;
    let file = ClusterFile::new(&config.member.data_dir);
    let found = peer_urls(config, &file).await?;
    file.prepare(&OsDisk)?;
    let proxy = Arc::new(Proxy::new(ProxyConfig {
        readonly: config.proxy.mode == Mode::Readonly,
        cors: config.cors.clone(),
        failure_wait: config.proxy.failure_wait,
        read_timeout: config.proxy.read_timeout,
        dialer: clients,
        started_at: OsClock::new().wall(),
    }));
    let interval = config.proxy.refresh_interval;
    let mut refresh = Refresh::new(found, peers, file, Arc::clone(&proxy), interval);
    refresh.once().await;
    Ok(Started { ports, proxy, refresh })
}

/// Where members are to be asked who the members are: what a former run has found out goes before
/// the flags.
async fn peer_urls(config: &Config, file: &ClusterFile) -> Result<Vec<String>, String> {
    if let Some(urls) = file.read(&OsDisk)? {
        let path = file.path().display();
        if let Some(bootstrap) = &config.bootstrap {
            let what = match bootstrap {
                Bootstrap::Token(..) | Bootstrap::Registry(_) => "discovery token",
                Bootstrap::Records(_) => "DNS SRV discovery",
            };
            tracing::warn!(
                target: "etcdmain",
                "{what} ignored since the proxy has already been initialized. Valid cluster file \
                 found at \"{path}\""
            );
        }
        let shown = urls.join(" ");
        tracing::info!(
            target: "etcdmain",
            "proxy: using peer urls [{shown}] from cluster file \"{path}\""
        );
        return Ok(urls);
    }
    let of = |members: Members| members.into_iter().flat_map(|(_, urls)| urls).collect();
    let mut urls: Vec<String> = match &config.bootstrap {
        Some(Bootstrap::Token(url, proxy)) => of(discovery::look((url, proxy.as_ref())).await?),
        Some(Bootstrap::Registry(registry)) => of(discovery::registry::look(registry).await?),
        Some(Bootstrap::Records(domain)) => records::peer_urls(domain).await?,
        None => of(config.member.initial_cluster.clone()),
    };
    urls.sort_unstable();
    urls.dedup();
    tracing::info!(target: "etcdmain", "proxy: using peer urls [{}]", urls.join(" "));
    Ok(urls)
}
