//! A bound listener, and what protects its connections.

use std::{
    fs, future, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll, ready},
};

use tls::{Acceptor, ServerStream, Socket};
use tokio::net::{TcpListener, UnixListener};

/// A client's connection.
pub(crate) type Wire = tls::Wire<ServerStream>;

/// A bound listener, and what protects its connections.
#[derive(Debug)]
pub struct Port {
    pub(crate) listener: Listener,
    pub(crate) tls: Option<Arc<Acceptor>>,
}

impl Port {
    /// Connections without TLS.
    pub fn plain(listener: impl Into<Listener>) -> Self {
        Self { listener: listener.into(), tls: None }
    }

    /// TLS connections alone.
    pub fn with_tls(listener: impl Into<Listener>, acceptor: Arc<Acceptor>) -> Self {
        Self { listener: listener.into(), tls: Some(acceptor) }
    }
}

/// A place that connections come to.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(SocketFile),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Listener {
    /// Where connections come to, as the system writes it: `IP:port`, or a path.
    pub fn local_address(&self) -> Option<String> {
        match self {
            Self::Tcp(listener) => Some(listener.local_addr().ok()?.to_string()),
            Self::Unix(file) => Some(file.path.display().to_string()),
        }
    }

    /// The next connection, and from where: `None`, if it comes by a file.
    pub fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).map(|(stream, from)| (stream.into(), Some(from)))
            }
            Self::Unix(file) => {
                ready!(file.listener.poll_accept(cx)).map(|(stream, _)| (stream.into(), None))
            }
        })
    }

    /// As [`Listener::poll_accept`].
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        future::poll_fn(|cx| self.poll_accept(cx)).await
    }
}

/// A socket in the file system, which goes with its listener.
#[derive(Debug)]
pub struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// A listener that is bound to this path.
    pub fn new(listener: UnixListener, path: PathBuf) -> Self {
        let identity = identity(&path);
        Self { listener, path, identity }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever has taken its place meanwhile keeps it.
        if self.identity.is_some()
            && identity(&self.path) == self.identity
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a socket");
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// The handshake, if this port has TLS. The error is for the log.
pub(crate) async fn begin(socket: Socket, tls: Option<&Acceptor>) -> Result<Wire, String> {
    match tls {
        None => Ok(Wire::Plain(socket)),
        Some(acceptor) => Ok(Wire::Tls(Box::new(acceptor.accept(socket).await?))),
    }
}
