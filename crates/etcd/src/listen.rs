//! Opening the ports, before anything else is touched.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::Path,
};

use api::{Listener, SocketFile};
use base::url::Bind;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

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
    pub(crate) listener: Listener,
    /// It is to speak TLS.
    pub(crate) is_secure: bool,
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
        let is_secure = listen.url.is_secure();
        let address = match listen.url.bind() {
            Some(Bind::Tcp(address)) => address,
            Some(Bind::Unix(path)) => {
                let file = bind_file(path).map_err(|why| {
                    format!("cannot listen on {}: {why} (--{})", listen.url, listen.flag)
                })?;
                listeners.push(Bound { listener: Listener::Unix(file), is_secure });
                continue;
            }
            None => return Err(format!("--{} {} names no IP", listen.flag, listen.url)),
        };
        match bind(address, config.reuse_port) {
            Ok(listener) => {
                listeners.push(Bound { listener: listener.into(), is_secure });
            }
            Err(error) if listen.is_legacy_default && error.kind() == io::ErrorKind::AddrInUse => {
                config.warnings.push(format!(
                    "port {} is in use: going on without it, since only clients of etcd 0.4 ask \
                     there; give --{} to choose the ports",
                    address.port(),
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

/// A socket that a former process has left is taken away; one at which somebody listens is not (etcd
/// removes whatever is there), and nothing else either.
fn bind_file(path: &Path) -> Result<SocketFile, String> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err("there is something that is no socket: remove it".to_owned());
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|error| {
                    format!("the socket of a former process cannot be removed: {error}")
                })?;
            }
            // It went while we looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(format!("whether somebody listens there cannot be seen: {error}"));
            }
            Ok(_) => {
                return Err(
                    "another process listens there: stop it, or give another path".to_owned()
                );
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.to_string()),
    }
    match UnixListener::bind(path) {
        Ok(listener) => Ok(SocketFile::new(listener, path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("its directory does not exist".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
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
    async fn a_socket_is_taken_over_from_the_dead_alone_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.sock");
        let held = bind_file(&path).unwrap();
        let refused = bind_file(&path).unwrap_err();
        assert!(refused.contains("another process listens there"), "{refused}");
        drop(held);
        assert!(!path.exists());
        // A process that is killed takes nothing away.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let held = bind_file(&path).unwrap();
        // Somebody else is there by now.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        drop(held);
        let refused = bind_file(&path).unwrap_err();
        assert!(refused.contains("no socket"), "{refused}");
        assert!(path.is_symlink());
        let refused = bind_file(&dir.path().join("absent/etcd.sock")).unwrap_err();
        assert!(refused.contains("directory does not exist"), "{refused}");
    }

    #[tokio::test]
    async fn a_port_can_be_shared_on_request() {
        let mut first = configured(&on(0));
        first.reuse_port = true;
        let held = open(&mut first).unwrap();
        let port = held.clients[0].listener.local_address().unwrap();
        let port = port.rsplit_once(':').unwrap().1.parse().unwrap();
        assert!(open(&mut configured(&on(port))).is_err());
        let mut second = configured(&[on(port), vec!["--socket-reuse-port".to_owned()]].concat());
        assert!(open(&mut second).is_ok());
    }
}
