//! Connections to endpoints, with TLS where the URL says https; through a proxy if there is one.

use std::{
    error::Error as StdError,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tls::{ClientStream, Connector, Settings, Socket, Wire};
use tokio::net::UnixStream;
use tower_service::Service;

use crate::proxy::Proxy;

type Failure = Box<dyn StdError + Send + Sync>;

/// Makes connections for the pool.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    http: HttpConnector,
    tls: Arc<Tls>,
    proxy: Option<Proxy>,
}

/// Makes connections to a socket in the file system.
#[derive(Clone, Debug)]
pub(crate) struct FileDialer {
    path: PathBuf,
    /// `None`: without TLS.
    tls: Option<Arc<Tls>>,
}

#[derive(Debug)]
struct Tls {
    settings: Settings,
    /// The protocols spoken, best first.
    alpn: &'static [&'static str],
    /// Made for the first https endpoint: reading the system's authorities takes its time.
    connector: OnceLock<Result<Connector, String>>,
}

impl Dialer {
    /// Files that are named are read at once, so that what is wrong with them is told.
    pub(crate) fn new(
        mut http: HttpConnector,
        settings: Settings,
        alpn: &'static [&'static str],
        proxy: Option<Proxy>,
    ) -> Result<Self, tls::Error> {
        http.enforce_http(false);
        Ok(Self { http, tls: Arc::new(Tls::new(settings, alpn)?), proxy })
    }
}

impl FileDialer {
    /// As [`Dialer::new`]; `secure`: whether to speak TLS there.
    pub(crate) fn new(
        path: &Path,
        settings: Settings,
        alpn: &'static [&'static str],
        secure: bool,
    ) -> Result<Self, tls::Error> {
        let tls = Tls::new(settings, alpn)?;
        Ok(Self { path: path.to_owned(), tls: secure.then(|| Arc::new(tls)) })
    }

    pub(crate) async fn dial(&self) -> io::Result<Dialed> {
        let socket = Socket::from(UnixStream::connect(&self.path).await?);
        let wire = match &self.tls {
            None => Wire::Plain(socket),
            Some(tls) => {
                let name = base::url::server_name(&self.path);
                Wire::Tls(Box::new(tls.connector()?.connect(name, socket).await?))
            }
        };
        Ok(Dialed { wire: TokioIo::new(wire), by_proxy: false })
    }
}

impl Tls {
    fn new(settings: Settings, alpn: &'static [&'static str]) -> Result<Self, tls::Error> {
        let is_plain = settings == Settings::default();
        let made = || Connector::new(settings.clone(), alpn);
        let connector = if is_plain { OnceLock::new() } else { Ok(made()?).into() };
        Ok(Self { settings, alpn, connector })
    }

    fn connector(&self) -> Result<&Connector, io::Error> {
        let make = || Connector::new(self.settings.clone(), self.alpn);
        let made = self.connector.get_or_init(|| make().map_err(|error| error.to_string()));
        made.as_ref().map_err(|why| io::Error::other(why.clone()))
    }
}

impl Service<Uri> for Dialer {
    type Response = Dialed;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Dialed, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(ready!(self.http.poll_ready(cx))?))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let (tls, proxy) = (Arc::clone(&self.tls), self.proxy.clone());
        let tcp = self.http.call(proxy.as_ref().map_or_else(|| url.clone(), Proxy::url));
        Box::pin(async move {
            let tcp = match (tcp.await, &proxy) {
                (Ok(tcp), _) => tcp.into_inner(),
                (Err(error), Some(proxy)) => return Err(unreachable(proxy, &error).into()),
                (Err(error), None) => return Err(error.into()),
            };
            if url.scheme_str() != Some("https") {
                let wire = TokioIo::new(Wire::Plain(tcp.into()));
                return Ok(Dialed { wire, by_proxy: proxy.is_some() });
            }
            let tcp = match &proxy {
                Some(proxy) => proxy.tunnel(tcp, &url).await?,
                None => tcp,
            };
            let host = url.host().unwrap_or_default();
            let stream = tls.connector()?.connect(host, tcp.into()).await?;
            let wire = TokioIo::new(Wire::Tls(Box::new(stream)));
            Ok(Dialed { wire, by_proxy: false })
        })
    }
}

fn unreachable(proxy: &Proxy, error: &(dyn StdError + 'static)) -> io::Error {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    proxy.failed(io::ErrorKind::Other, &innermost)
}

/// A connection of the pool.
pub(crate) struct Dialed {
    wire: TokioIo<Wire<ClientStream>>,
    /// Whoever reads the requests is the proxy: they name their host.
    by_proxy: bool,
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.by_proxy)
    }
}

impl Read for Dialed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_read(cx, buffer)
    }
}

impl Write for Dialed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
