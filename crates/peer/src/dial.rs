//! Connections to peers: the one place where they are made.

use std::{future::Future, io, pin::Pin, time::Duration};

use http::Uri;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time,
};

/// What a dead machine is noticed by where nothing is sent.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// A peer that does not answer to a connection: the next URL is tried.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A connection, whatever protects it.
pub trait Dialed: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Dialed for T {}

type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Dialed>>> + Send + 'a>>;

/// How a connection to a peer URL is made.
pub trait Dial: Send + Sync + 'static {
    fn dial<'a>(&'a self, url: &'a Uri) -> Dialing<'a>;
}

/// TCP without protection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Dial for Plain {
    fn dial<'a>(&'a self, url: &'a Uri) -> Dialing<'a> {
        Box::pin(async move {
            if url.scheme_str() == Some("https") {
                return Err(io::Error::other("TLS is not supported yet: give http peer URLs"));
            }
            Ok(Box::new(tcp(url).await?) as Box<dyn Dialed>)
        })
    }
}

async fn tcp(url: &Uri) -> io::Result<TcpStream> {
    let host = url.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = url.port_u16().unwrap_or(80);
    let stream = time::timeout(TIMEOUT, TcpStream::connect((host, port))).await??;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}
