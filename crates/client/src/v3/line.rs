//! The connection to one endpoint: made when it is needed, and again when it is gone.

use std::{io, sync::Arc, time::Duration};

use http::Uri;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::{
    client::legacy::connect::HttpConnector,
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tower_service::Service as _;

use super::{
    config::{Config, Notice},
    error::{Error, innermost},
};
use crate::{
    dial::{Dialed, Dialer, FileDialer},
    endpoint::Endpoint,
    error::{Attempt, AttemptKind},
};

/// The least time between two pings (grpc-go).
const PINGS_APART: Duration = Duration::from_secs(10);
/// What a server may send ahead on all streams of a connection. Nobody who leaves his stream unread is to use it
/// up for the others.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// The protocols spoken over TLS.
const ALPN: [&str; 1] = ["h2"];
/// What servers are called that are reached by a file, as grpc-go does.
const AT_A_FILE: &str = "http://localhost/";
/// A machine that vanished without a word is noticed by this, also where there are no pings.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;
/// An endpoint that failed is asked after the others for so long.
const AVOIDED: Duration = Duration::from_secs(5);

/// One endpoint.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) endpoint: Endpoint,
    pub(super) origin: Uri,
    dialer: AnyDialer,
    dial_timeout: Duration,
    keepalive_time: Duration,
    keepalive_timeout: Duration,
    keepalive_while_idle: bool,
    stream_ahead_bytes: u32,
    notice: Option<Notice>,
    open: tokio::sync::Mutex<Option<SendRequest<Body>>>,
    trouble: Mutex<Option<Trouble>>,
}

/// How the endpoint is reached.
#[derive(Debug)]
enum AnyDialer {
    Network(Dialer),
    File(FileDialer),
}

/// Why an endpoint does not serve, and since when.
#[derive(Debug)]
struct Trouble {
    line: String,
    at: Instant,
}

impl Line {
    pub(super) fn new(endpoint: Endpoint, config: &Config) -> Result<Self, Error> {
        let bad = |_| crate::BadEndpoint::Address(endpoint.to_string());
        let origin = match endpoint.socket() {
            Some(_) => Uri::from_static(AT_A_FILE),
            None => endpoint.join("/").parse().map_err(bad)?,
        };
        Ok(Self {
            origin,
            dialer: dialer(&endpoint, config).map_err(|problem| Error::Tls(problem.to_string()))?,
            endpoint,
            dial_timeout: config.dial_timeout,
            keepalive_time: config.keepalive_time,
            keepalive_timeout: config.keepalive_timeout,
            keepalive_while_idle: config.keepalive_while_idle,
            stream_ahead_bytes: config.stream_ahead_bytes,
            notice: config.notice.clone(),
            open: tokio::sync::Mutex::new(None),
            trouble: Mutex::new(None),
        })
    }

    /// The connection, made now if there is none. `None`: [`Line::trouble`] says why.
    pub(super) async fn ready(&self) -> Option<SendRequest<Body>> {
        let mut open = self.open.lock().await;
        if let Some(sender) = open.as_ref().filter(|sender| !sender.is_closed()) {
            return Some(sender.clone());
        }
        *open = None;
        match timeout(self.dial_timeout, self.dial()).await {
            Ok(Ok(sender)) => {
                *open = Some(sender.clone());
                Some(sender)
            }
            Ok(Err(problem)) => {
                self.failed(&Attempt {
                    endpoint: self.endpoint.clone(),
                    kind: AttemptKind::Connect(problem),
                });
                None
            }
            Err(_) => {
                let kind = AttemptKind::Connect(io::ErrorKind::TimedOut.into());
                self.failed(&Attempt { endpoint: self.endpoint.clone(), kind });
                None
            }
        }
    }

    /// The connection, if there is one right now.
    pub(super) fn at_hand(&self) -> Option<SendRequest<Body>> {
        let open = self.open.try_lock().ok()?;
        open.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    async fn dial(&self) -> io::Result<SendRequest<Body>> {
        let wire = self.connect().await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.stream_ahead_bytes)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(pings(self.keepalive_time))
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(self.keepalive_while_idle);
        let (sender, connection) = builder.handshake(wire).await.map_err(io::Error::other)?;
        // It ends with its last sender. How is told to each call that was on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn connect(&self) -> io::Result<Dialed> {
        let mut dialer = match &self.dialer {
            AnyDialer::Network(dialer) => dialer.clone(),
            AnyDialer::File(dialer) => return dialer.dial().await,
        };
        dialer.call(self.origin.clone()).await.map_err(|problem| {
            let problem: &(dyn std::error::Error + 'static) = &*problem;
            system_error(problem).unwrap_or_else(|| io::Error::other(innermost(problem)))
        })
    }

    /// Notes that the endpoint does not serve, and tells of it if that is new.
    pub(super) fn failed(&self, why: &impl ToString) {
        let line = why.to_string();
        let trouble = Trouble { line: line.clone(), at: Instant::now() };
        let before = self.trouble.lock().replace(trouble);
        if let Some(notice) = self.notice.as_ref().filter(|_| before.is_none()) {
            notice.tell(&line);
        }
    }

    /// Notes that the endpoint serves.
    pub(super) fn served(&self) {
        *self.trouble.lock() = None;
    }

    /// Why it does not serve.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().as_ref().map(|trouble| trouble.line.clone())
    }

    /// Whether to ask others first.
    pub(super) fn is_avoided(&self) -> bool {
        self.trouble.lock().as_ref().is_some_and(|trouble| trouble.at.elapsed() < AVOIDED)
    }
}

fn dialer(endpoint: &Endpoint, config: &Config) -> Result<AnyDialer, tls::Error> {
    let settings = config.tls.clone().unwrap_or_default();
    if let Some(path) = endpoint.socket() {
        // As in etcd, what there is for TLS is for `unix` as well.
        let secure = endpoint.is_https() || config.tls.is_some();
        let dialer = FileDialer::new(path, settings, &ALPN, secure);
        return dialer.map(AnyDialer::File);
    }
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(config.dial_timeout));
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE));
    connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    Dialer::new(connector, settings, &ALPN, None).map(AnyDialer::Network)
}

/// How often to ask; never for zero. Servers send away who asks more often than once in five seconds,
/// so that clientv3 never does either, whatever it is told.
fn pings(keepalive_time: Duration) -> Option<Duration> {
    (!keepalive_time.is_zero()).then(|| keepalive_time.max(PINGS_APART))
}

/// The error of the system in a chain, whose text comes from its number.
fn system_error(problem: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut source = Some(problem);
    while let Some(this) = source {
        if let Some(io) = this.downcast_ref::<io::Error>() {
            return Some(match io.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(io.kind(), innermost(io)),
            });
        }
        source = this.source();
    }
    None
}

/// Lines in the order in which to ask: those that serve first.
pub(super) fn in_order(lines: &[Arc<Line>], first: usize) -> Vec<Arc<Line>> {
    let first = first.checked_rem(lines.len()).unwrap_or(0);
    let mut order: Vec<_> = lines.iter().cycle().skip(first).take(lines.len()).cloned().collect();
    order.sort_by_key(|line| line.is_avoided());
    order
}
