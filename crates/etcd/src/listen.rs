//! Opening the ports, before anything else is touched.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use crate::config::{Config, Listen};

/// Connections that the kernel completes before we accept them; it lowers this to its own bound.
const BACKLOG: u32 = 4096;

/// Open ports.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) clients: Vec<Bound>,
    /// For clients without gRPC.
    pub(crate) http: Vec<Bound>,
    /// For those who look after the member.
    pub(crate) metrics: Vec<Bound>,
    pub(crate) peers: Vec<Bound>,
}

impl Listeners {
    /// How many there are that clients come to.
    pub(crate) fn of_clients(&self) -> usize {
        self.clients.len() + self.http.len() + self.metrics.len()
    }
}

/// An open port.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: TcpListener,
    /// It is to speak TLS.
    pub(crate) is_https: bool,
}

/// Opens all ports of the configuration, or none. A legacy default port that is taken is left out
/// of the configuration, with a line in the log. Call inside the runtime.
pub(crate) fn open(config: &mut Config) -> Result<Listeners, String> {
    let clients = open_clients(config)?;
    let http = open_all(config, &config.listen_http.clone())?;
    let metrics = open_all(config, &config.listen_metrics.clone())?;
    let peers = open_all(config, &config.listen_peers.clone())?;
    Ok(Listeners { clients, http, metrics, peers })
}

/// The same with the ports for clients alone.
pub(crate) fn open_clients(config: &mut Config) -> Result<Vec<Bound>, String> {
    open_all(config, &config.listen_clients.clone())
}

fn open_all(config: &mut Config, listens: &[Listen]) -> Result<Vec<Bound>, String> {
    let mut listeners = Vec::new();
    for listen in listens {
        let Some(address) = listen.url.bind_address() else {
            return Err(format!("--{} {} names no IP", listen.flag, listen.url));
        };
        match bind(address, config.reuse_port) {
            Ok(listener) => {
                listeners.push(Bound { listener, is_https: listen.url.is_https() });
            }
            Err(error) if listen.is_legacy_default && error.kind() == io::ErrorKind::AddrInUse => {
                config.warnings.push(format!(
                    "port {} is in use: going on without it, since only clients of etcd 0.4 ask \
                     there; give --{} to choose the ports",
                    listen.url.port(),
                    listen.flag
                ));
                config.leave_out(&listen.url);
            }
            Err(error) => return Err(explain(listen, address, &error)),
        }
    }
    Ok(listeners)
}

pub(crate) fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Go sets it too: a port whose last connections still linger can be had again.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn explain(listen: &Listen, address: SocketAddr, error: &io::Error) -> String {
    let Listen { url, flag, .. } = listen;
    format!("cannot listen on {url}: {}", advise(address, flag, error))
}

/// What to do when a port cannot be opened.
pub(crate) fn advise(address: SocketAddr, flag: &str, error: &io::Error) -> String {
    let (ip, port, kind) = (address.ip(), address.port(), error.kind());
    if kind == io::ErrorKind::AddrInUse {
        format!(
            "port {port} is in use: stop the process that has it, or give another one with --{flag}"
        )
    } else if kind == io::ErrorKind::AddrNotAvailable {
        format!("{ip} is no address of this machine: give one that is, or 0.0.0.0, with --{flag}")
    } else if kind == io::ErrorKind::PermissionDenied {
        format!(
            "no permission for port {port}: give one above 1023 with --{flag}, or grant \
             CAP_NET_BIND_SERVICE"
        )
    } else {
        format!("{error}: check --{flag}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{self, Command};

    fn configured(arguments: &[String]) -> Config {
        let arguments: Vec<_> = arguments.iter().map(std::ffi::OsString::from).collect();
        match config::gather(&arguments, &BTreeMap::new()) {
            Ok(Command::Start(config)) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn on(port: u16) -> Vec<String> {
        let url = format!("http://127.0.0.1:{port}");
        let flags = ["listen-client-urls", "advertise-client-urls"].map(|flag| (flag, url.clone()));
        let any = ("listen-peer-urls", "http://127.0.0.1:0".to_owned());
        flags.into_iter().chain([any]).map(|(flag, url)| format!("--{flag}={url}")).collect()
    }

    #[tokio::test]
    async fn a_taken_port_that_nobody_asked_for_is_left_out_with_a_warning() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut config = configured(&on(port));
        let error = open(&mut config).unwrap_err();
        assert!(error.contains(&format!("port {port} is in use")), "{error}");
        // The same port as a default of ours.
        for listen in &mut config.listen_clients {
            listen.is_legacy_default = true;
        }
        config.warnings.clear();
        let listeners = open(&mut config).unwrap();
        assert_eq!((listeners.clients.len(), listeners.peers.len()), (0, 1));
        assert_eq!(config.warnings.len(), 1);
        assert!(config.warnings[0].contains(&format!("port {port} is in use: going on without")));
    }

    #[tokio::test]
    async fn a_port_can_be_shared_on_request() {
        let mut first = configured(&on(0));
        first.reuse_port = true;
        let held = open(&mut first).unwrap();
        let port = held.clients[0].listener.local_addr().unwrap().port();
        assert!(open(&mut configured(&on(port))).is_err());
        let mut second = configured(&[on(port), vec!["--socket-reuse-port".to_owned()]].concat());
        assert!(open(&mut second).is_ok());
    }
}
