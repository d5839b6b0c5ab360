//! From what the flags say about TLS to what makes and takes connections.

use std::{path::Path, sync::Arc};

use api::Port;
use base::{Clock as _, OsClock};
use server::Dialer;
use tls::{Acceptor, Connector, Settings};

use crate::{
    config::{Bootstrap, Config, Listen, Side},
    listen::{Bound, Listeners},
};

/// The protocols that are spoken over TLS.
const ALPN: [&str; 1] = ["http/1.1"];
/// What clients may speak.
const CLIENTS_ALPN: [&str; 2] = ["h2", "http/1.1"];

/// What the ports and the members need.
#[derive(Debug, Default)]
pub(crate) struct Secured {
    pub(crate) clients: Option<Arc<Acceptor>>,
    pub(crate) peers: Option<Arc<Acceptor>>,
    pub(crate) dialer: Dialer,
}

/// Ports that are ready to be served.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) clients: Vec<Port>,
    pub(crate) peers: Vec<Port>,
}

impl Secured {
    pub(crate) fn ports(&self, listeners: Listeners) -> Ports {
        let of = |bound: Vec<Bound>, acceptor: &Option<Arc<Acceptor>>| {
            let port = |Bound { listener, is_https }| match acceptor {
                Some(acceptor) if is_https => Port::with_tls(listener, Arc::clone(acceptor)),
                Some(_) | None => Port::plain(listener),
            };
            bound.into_iter().map(port).collect()
        };
        Ports {
            clients: of(listeners.clients, &self.clients),
            peers: of(listeners.peers, &self.peers),
        }
    }
}

/// Reads the certificates, and makes those that are to be made. The error is one line.
pub(crate) fn secure(config: &Config) -> Result<Secured, String> {
    let dir = &config.member.data_dir.join("fixtures");
    let clients =
        settings(config, &config.security.clients, &config.listen_clients, &dir.join("client"))?;
    let mut peers =
        settings(config, &config.security.peers, &config.listen_peers, &dir.join("peer"))?;
    let side = &config.security.peers;
    // Nobody can check certificates that each member makes for itself (etcd does not either).
    peers.insecure_skip_verify = side.auto;
    // As etcd: where any authority of the system would do, a name from a forged record must not.
    if let (Some(Bootstrap::Records(domain)), None) = (&config.bootstrap, &peers.trusted_ca_file) {
        peers.server_name = Some(domain.name.trim_end_matches('.').to_owned());
    }
    Ok(Secured {
        clients: acceptor(&clients, &config.listen_clients, &CLIENTS_ALPN)
            .map_err(|why| format!("TLS for clients: {why}"))?,
        peers: acceptor(&peers, &config.listen_peers, &ALPN)
            .map_err(|why| format!("TLS for peers: {why}"))?,
        dialer: dialer(config, peers).map_err(|why| format!("TLS for peers: {why}"))?,
    })
}

fn settings(
    config: &Config,
    side: &Side,
    listens: &[Listen],
    dir: &Path,
) -> Result<Settings, String> {
    if !side.auto || listens.iter().all(|listen| !listen.url.is_https()) {
        return Ok(side.settings.clone());
    }
    let mut hosts: Vec<String> =
        listens.iter().map(|listen| listen.url.host().to_owned()).collect();
    hosts.retain(|host| !host.is_empty());
    hosts.sort_unstable();
    hosts.dedup();
    let now = OsClock::new().wall();
    let made = tls::self_signed(dir, &hosts, config.security.validity_years, now)
        .map_err(|error| error.to_string())?;
    let Settings { cert_file, key_file, .. } = made;
    Ok(Settings { cert_file, key_file, ..side.settings.clone() })
}

fn acceptor(
    settings: &Settings,
    listens: &[Listen],
    alpn: &[&str],
) -> Result<Option<Arc<Acceptor>>, tls::Error> {
    if listens.iter().all(|listen| !listen.url.is_https()) {
        return Ok(None);
    }
    Acceptor::new(settings.clone(), alpn).map(|acceptor| Some(Arc::new(acceptor)))
}

/// Reading the system's authorities takes longer than all else that a start does: not where nobody
/// speaks TLS.
fn dialer(config: &Config, settings: Settings) -> Result<Dialer, tls::Error> {
    let urls = config.member.initial_cluster.iter().flat_map(|(_, urls)| urls);
    let is_https = urls.chain(&config.member.peer_urls).any(|url| url.starts_with("https:"));
    if !is_https && !config.security.peers.is_set() {
        return Ok(Dialer::default());
    }
    Connector::new(settings, &ALPN).map(|connector| Dialer::with_tls(Arc::new(connector)))
}
