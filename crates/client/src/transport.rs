//! One request to one endpoint: connections, deadlines, and the bounds of an answer.

use std::{error::Error as StdError, io, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use crate::{
    cluster::{Config, Credentials},
    dial::Dialer,
    endpoint::Endpoint,
    error::{Attempt, AttemptKind},
    proxy::Proxy,
    request::Request,
};

/// An idle connection is closed after this long.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// A watch may be silent for days: TCP notices a peer that is gone.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// How much of a failed answer's body is read for its message.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// The head of an answer, whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) endpoint: Endpoint,
    pub(crate) status: u16,
    /// `X-Etcd-Index`.
    pub(crate) etcd_index: Option<u64>,
    body: Incoming,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etcd_index: Option<u64>,
    pub(crate) body: Bytes,
}

/// Connections to all endpoints, kept alive between requests.
#[derive(Debug)]
pub(crate) struct Transport {
    pool: Pool<Dialer, Full<Bytes>>,
    header_timeout: Option<Duration>,
    response_bytes_max: usize,
    authorization: Option<HeaderValue>,
    proxy: Option<Proxy>,
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, tls::Error> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(config.request_timeout);
        connector.set_keepalive(Some(TCP_KEEPALIVE));
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(Dialer::new(
                connector,
                config.tls.clone(),
                &["http/1.1"],
                config.proxy.clone(),
            )?);
        Ok(Self {
            pool,
            header_timeout: config.request_timeout,
            response_bytes_max: config.response_bytes_max,
            authorization: config.credentials.as_ref().map(basic),
            proxy: config.proxy.clone(),
        })
    }

    /// Sends the request and waits for the answer's head. A 5xx is a failure, with its message.
    pub(crate) async fn open(&self, to: &Endpoint, request: &Request) -> Result<Head, Attempt> {
        let head = self.ask(to, request).await?;
        if head.status < 500 {
            return Ok(head);
        }
        let status = head.status;
        let body = self.read(head, ERROR_BODY_BYTES_MAX).await.ok();
        let message = body.and_then(|answer| server_message(&answer.body));
        Err(Attempt { endpoint: to.clone(), kind: AttemptKind::Server { status, message } })
    }

    /// Sends the request and reads the whole answer, whatever its status.
    pub(crate) async fn fetch(&self, to: &Endpoint, request: &Request) -> Result<Answer, Attempt> {
        let head = self.ask(to, request).await?;
        self.read_body(head).await
    }

    /// Reads what follows a head.
    pub(crate) async fn read_body(&self, head: Head) -> Result<Answer, Attempt> {
        self.read(head, self.response_bytes_max).await
    }

    async fn ask(&self, to: &Endpoint, request: &Request) -> Result<Head, Attempt> {
        let fail = |kind| Attempt { endpoint: to.clone(), kind };
        let message =
            self.message(to, request).map_err(|e| fail(AttemptKind::Broken(e.to_string())))?;
        let pending = self.pool.request(message);
        let outcome = match self.header_timeout {
            Some(limit) if !request.waits => {
                timeout(limit, pending).await.map_err(|_| fail(AttemptKind::HeaderTimeout))?
            }
            Some(_) | None => pending.await,
        };
        let response = outcome.map_err(|problem| fail(sending_failed(&problem)))?;
        let (parts, body) = response.into_parts();
        let etcd_index = parts.headers.get("x-etcd-index").and_then(|value| value.to_str().ok());
        let etcd_index = etcd_index.and_then(|text| text.parse().ok());
        Ok(Head { endpoint: to.clone(), status: parts.status.as_u16(), etcd_index, body })
    }

    fn message(
        &self,
        to: &Endpoint,
        request: &Request,
    ) -> http::Result<http::Request<Full<Bytes>>> {
        let mut builder =
            http::Request::builder().method(&request.method).uri(to.join(&request.target));
        if let Some(authorization) = &self.authorization {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        // Within a tunnel the proxy hears nothing.
        let through = self.proxy.as_ref().filter(|_| !to.is_https());
        if let Some(authorization) = through.and_then(|proxy| proxy.authorization.as_ref()) {
            builder = builder.header(header::PROXY_AUTHORIZATION, authorization);
        }
        let Some(body) = &request.body else {
            return builder.body(Full::default());
        };
        builder.header(header::CONTENT_TYPE, body.content_type).body(Full::new(body.bytes.clone()))
    }

    async fn read(&self, head: Head, limit: usize) -> Result<Answer, Attempt> {
        let Head { endpoint, status, etcd_index, body } = head;
        match Limited::new(body, limit).collect().await {
            Ok(body) => Ok(Answer { status, etcd_index, body: body.to_bytes() }),
            Err(problem) if problem.is::<LengthLimitError>() => {
                Err(Attempt { endpoint, kind: AttemptKind::TooLarge { limit } })
            }
            Err(problem) => {
                Err(Attempt { endpoint, kind: AttemptKind::Broken(innermost(problem.as_ref())) })
            }
        }
    }
}

/// A server's own words for its failure: the text of a v2 error, or a `message`.
fn server_message(body: &[u8]) -> Option<String> {
    if let Ok(refusal) = serde_json::from_slice::<crate::EtcdError>(body) {
        return Some(refusal.to_string());
    }
    message_of(body)
}

/// The `message` of the APIs beside the keys.
pub(crate) fn message_of(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    value.get("message")?.as_str().map(str::to_owned)
}

fn basic(credentials: &Credentials) -> HeaderValue {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

fn sending_failed(problem: &hyper_util::client::legacy::Error) -> AttemptKind {
    if !problem.is_connect() {
        return AttemptKind::Broken(innermost(problem));
    }
    let mut source: Option<&(dyn StdError + 'static)> = problem.source();
    while let Some(this) = source {
        if let Some(io) = this.downcast_ref::<io::Error>() {
            // io::Error is not Clone: keep the system's number, which is what its text comes from.
            return AttemptKind::Connect(match io.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(io.kind(), io.to_string()),
            });
        }
        source = this.source();
    }
    AttemptKind::Connect(io::Error::other(innermost(problem)))
}

fn innermost(problem: &(dyn StdError + 'static)) -> String {
    let mut last = problem;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
