//! From what the flags say about TLS to what makes and takes connections.

use std::{path::Path, sync::Arc};

use api::{Listener, Offer, Port};
use base::{Clock as _, OsClock};
use server::Dialer;
use tls::{Acceptor, Connector, Settings};

use crate::{
    config::{Bootstrap, Config, Listen, Security, Side},
    listen::{Bound, Listeners},
};

/// The protocols that are spoken over TLS.
const ALPN: [&str; 1] = ["http/1.1"];
/// What clients may speak.
pub(crate) const CLIENTS_ALPN: [&str; 2] = ["h2", "http/1.1"];

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
    pub(crate) clients: Vec<(Port, Offer)>,
    pub(crate) metrics: Vec<Port>,
    pub(crate) peers: Vec<Port>,
}

impl Secured {
    pub(crate) fn ports(&self, listeners: Listeners) -> Ports {
        let clients = self.clients.as_ref();
        // Where HTTP has ports of its own, it has no other, as in etcd.
        let offer = if listeners.http.is_empty() { Offer::All } else { Offer::Grpc };
        let http = ports(listeners.http, clients).into_iter().map(|port| (port, Offer::Http));
        let grpc = ports(listeners.clients, clients).into_iter().map(|port| (port, offer));
        Ports {
            clients: grpc.chain(http).collect(),
            metrics: ports(listeners.metrics, clients),
            peers: ports(listeners.peers, self.peers.as_ref()),
        }
    }

    /// Ports for peers that are not served yet, and what protects their connections.
    pub(crate) fn of_peers<'a>(
        &self,
        listeners: &'a Listeners,
    ) -> Vec<(&'a Listener, Option<Arc<Acceptor>>)> {
        let port =
            |bound: &'a Bound| (&bound.listener, self.peers.clone().filter(|_| bound.is_secure));
        listeners.peers.iter().map(port).collect()
    }
}

fn ports(bound: Vec<Bound>, acceptor: Option<&Arc<Acceptor>>) -> Vec<Port> {
    let port = |Bound { listener, is_secure }| match acceptor {
        Some(acceptor) if is_secure => Port::with_tls(listener, Arc::clone(acceptor)),
        Some(_) | None => Port::plain(listener),
    };
    bound.into_iter().map(port).collect()
}

/// What a proxy needs.
#[derive(Debug)]
pub(crate) struct SecuredProxy {
    pub(crate) ports: Vec<Port>,
    /// To members' peer URLs.
    pub(crate) peers: Dialer,
    /// To their client URLs.
    pub(crate) clients: Dialer,
}

/// The same as [`secure`] for a proxy that serves on these ports.
pub(crate) fn secure_proxy(config: &Config, bound: Vec<Bound>) -> Result<SecuredProxy, String> {
    let dir = &config.member.data_dir.join("fixtures/client");
    let Security { clients, peers, .. } = &config.security;
    let served = settings(config, clients, &config.listen_clients, dir)?;
    let acceptor = acceptor(&served, &config.listen_clients, &ALPN)
        .map_err(|why| format!("TLS for clients: {why}"))?;
    // As in etcd, where no flag says otherwise, members look the same on either of their ports.
    let of_clients = clients.settings.trusted_ca_file.is_some() || !peers.is_set();
    let to_clients = Settings {
        insecure_skip_verify: clients.auto,
        // Rules for those who come to us, and not for those to whom we go.
        allowed_hostnames: Vec::new(),
        ..if of_clients { &clients.settings } else { &peers.settings }.clone()
    };
    let to_peers = Settings {
        insecure_skip_verify: peers.auto,
        server_name: name_of_peers(config),
        ..peers.settings.clone()
    };
    Ok(SecuredProxy {
        ports: ports(bound, acceptor.as_ref()),
        peers: proxy_dialer(config, peers, to_peers)?,
        clients: proxy_dialer(config, if of_clients { clients } else { peers }, to_clients)?,
    })
}

/// As etcd: where any authority of the system would do, a name from a forged record must not.
fn name_of_peers(config: &Config) -> Option<String> {
    match (&config.bootstrap, &config.security.peers.settings.trusted_ca_file) {
        (Some(Bootstrap::Records(domain)), None) => Some(domain.bare().to_owned()),
        _ => None,
    }
}

fn proxy_dialer(config: &Config, side: &Side, settings: Settings) -> Result<Dialer, String> {
    let dialer = if side.is_set() {
        let connector = Connector::new(settings, &ALPN);
        Dialer::with_tls(Arc::new(connector.map_err(|why| format!("TLS to members: {why}"))?))
    } else {
        Dialer::with_tls_when_needed(settings)
    };
    Ok(dialer.with_timeouts(config.proxy.dial_timeout, config.proxy.write_timeout))
}

/// Reads the certificates, and makes those that are to be made. The error is one line.
pub(crate) fn secure(config: &Config) -> Result<Secured, String> {
    let dir = &config.member.data_dir.join("fixtures");
    let of_clients =
        [&*config.listen_clients, &*config.listen_http, &*config.listen_metrics].concat();
    let clients = settings(config, &config.security.clients, &of_clients, &dir.join("client"))?;
    let mut peers =
        settings(config, &config.security.peers, &config.listen_peers, &dir.join("peer"))?;
    let side = &config.security.peers;
    // Nobody can check certificates that each member makes for itself (etcd does not either).
    peers.insecure_skip_verify = side.auto;
    peers.server_name = name_of_peers(config);
    Ok(Secured {
        clients: acceptor(&clients, &of_clients, &CLIENTS_ALPN)
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
    if !side.auto || listens.iter().all(|listen| !listen.url.is_secure()) {
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
    if listens.iter().all(|listen| !listen.url.is_secure()) {
        return Ok(None);
    }
    Acceptor::new(settings.clone(), alpn).map(|acceptor| Some(Arc::new(acceptor)))
}

/// Reading the system's authorities takes longer than all else that a start does: not where nobody
/// speaks TLS.
fn dialer(config: &Config, settings: Settings) -> Result<Dialer, tls::Error> {
    let urls = config.member.initial_cluster.iter().flat_map(|(_, urls)| urls);
    let is_https = urls.chain(&config.member.peer_urls).any(|url| url.starts_with("https:"));
    let dialer = if !is_https && !config.security.peers.is_set() {
        Dialer::default()
    } else {
        Dialer::with_tls(Arc::new(Connector::new(settings, &ALPN)?))
    };
    Ok(dialer.with_election_timeout(config.member.election))
}
