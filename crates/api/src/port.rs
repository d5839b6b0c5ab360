//! A bound listener, and what protects its connections.

use std::sync::Arc;

use tls::{Acceptor, ServerStream};
use tokio::net::{TcpListener, TcpStream};

/// A client's connection.
pub(crate) type Wire = tls::Wire<ServerStream>;

/// A bound listener, and what protects its connections.
#[derive(Debug)]
pub struct Port {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Arc<Acceptor>>,
}

impl Port {
    /// Connections without TLS.
    pub fn plain(listener: TcpListener) -> Self {
        Self { listener, tls: None }
    }

    /// TLS connections alone.
    pub fn with_tls(listener: TcpListener, acceptor: Arc<Acceptor>) -> Self {
        Self { listener, tls: Some(acceptor) }
    }
}

/// The handshake, if this port has TLS. The error is for the log.
pub(crate) async fn begin(tcp: TcpStream, tls: Option<&Acceptor>) -> Result<Wire, String> {
    match tls {
        None => Ok(Wire::Plain(tcp)),
        Some(acceptor) => Ok(Wire::Tls(Box::new(acceptor.accept(tcp).await?))),
    }
}
