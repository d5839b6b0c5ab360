//! Connections to peers: the one place where they are made.

use std::{io, sync::Arc, time::Duration};

use http::Uri;
use socket2::{SockRef, TcpKeepalive};
use tls::{ClientStream, Connector, Wire};
use tokio::{net::TcpStream, time};

/// What a dead machine is noticed by where nothing is sent.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// A peer that does not answer to a connection: the next URL is tried.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How connections to peers are made: plain ones, and with these settings TLS.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    tls: Option<Arc<Connector>>,
}

impl Dialer {
    /// Speaks TLS where a URL begins with https.
    pub fn with_tls(connector: Arc<Connector>) -> Self {
        Self { tls: Some(connector) }
    }

    pub(crate) async fn dial(&self, url: &Uri) -> io::Result<Wire<ClientStream>> {
        if url.scheme_str() != Some("https") {
            return Ok(Wire::Plain(tcp(url, 80).await?));
        }
        let tls = self.tls.as_ref().ok_or_else(|| {
            io::Error::other(
                "this member has no TLS for peers: give --peer-cert-file, --peer-key-file and \
                 --peer-trusted-ca-file",
            )
        })?;
        let stream = tcp(url, 443).await?;
        let stream = tls.connect(url.host().unwrap_or_default(), stream).await?;
        Ok(Wire::Tls(Box::new(stream)))
    }
}

async fn tcp(url: &Uri, port: u16) -> io::Result<TcpStream> {
    let host = url.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = url.port_u16().unwrap_or(port);
    let stream = time::timeout(TIMEOUT, TcpStream::connect((host, port))).await??;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}
