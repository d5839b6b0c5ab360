//! Opening the ports, before anything else is touched.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use crate::config::{Config, Listen};

/// Connections that the kernel completes before we accept them; it lowers this to its own bound.
const BACKLOG: u32 = 4096;

/// Open ports.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) clients: Vec<TcpListener>,
    pub(crate) peers: Vec<TcpListener>,
}

/// Opens all ports of the configuration, or none. A legacy default port that is taken is left out
/// of the configuration, with a line in the log. Call inside the runtime.
pub(crate) fn open(config: &mut Config) -> Result<Listeners, String> {
    let clients = open_all(config, &config.listen_clients.clone())?;
    let peers = open_all(config, &config.listen_peers.clone())?;
    Ok(Listeners { clients, peers })
}

fn open_all(config: &mut Config, listens: &[Listen]) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    for listen in listens {
        let Some(address) = listen.url.bind_address() else {
            return Err(format!("--{} {} names no IP", listen.flag, listen.url));
        };
        match bind(address, config.reuse_port) {
            Ok(listener) => listeners.push(listener),
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

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
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
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} is in use: stop the process that has it, or give another one with --{flag}",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is no address of this machine: give one that is, or 0.0.0.0, with --{flag}",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission for port {}: give one above 1023 with --{flag}, or grant \
             CAP_NET_BIND_SERVICE",
            address.port()
        ),
        _ => format!("{error}: check --{flag}"),
    };
    format!("cannot listen on {url}: {advice}")
}
