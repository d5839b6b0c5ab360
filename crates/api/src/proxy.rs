//! Proxy mode: the client API, answered by the members of a cluster that is elsewhere.
//!
//! A proxy holds nothing but the list of the members' client URLs, which somebody else keeps up to
//! date. What clients ask is passed on, whatever its path; an answer is passed back as it comes, no
//! faster than the client reads it.
//!
//! - `endpoints`: who is asked, and who is left alone for a while
//! - `forward`: one request there and back; `headers`: what of it goes on; `passing`: the answer's
//!   body
//! - `link`: connections to members
//! - `figures`: `/metrics`

mod endpoints;
mod figures;
mod forward;
mod headers;
mod link;
mod passing;

use std::{net::SocketAddr, time::Duration};

use base::UnixNanos;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use peer::Dialer;
use tokio::sync::watch;

use crate::{
    cors,
    reply::{self, Reply},
    v2::members::write_strings,
};
use endpoints::Endpoints;
use figures::Figures;
use link::Link;

pub(crate) use passing::Passing;

/// How a proxy behaves.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Refuse all but GET.
    pub readonly: bool,
    /// `--cors`: allowed origins; `*` for all.
    pub cors: Vec<String>,
    /// How long a member is left alone that did not answer.
    pub failure_wait: Duration,
    /// How long a member may say nothing while it is asked; watches end by it too.
    pub read_timeout: Option<Duration>,
    /// Makes connections to members.
    pub dialer: Dialer,
    /// For `/metrics`.
    pub started_at: UnixNanos,
}

/// What all ports of a proxy share.
#[derive(Debug)]
pub struct Proxy {
    readonly: bool,
    cors: Vec<String>,
    started_at: UnixNanos,
    endpoints: Endpoints,
    link: Link,
    figures: Figures,
}

impl Proxy {
    /// Knows no member yet.
    pub fn new(config: ProxyConfig) -> Self {
        Self {
            readonly: config.readonly,
            cors: config.cors,
            started_at: config.started_at,
            endpoints: Endpoints::new(config.failure_wait),
            link: Link::new(config.dialer, config.read_timeout),
            figures: Figures::default(),
        }
    }

    /// Asks at these client URLs from now on. What is none is told in the log and left out.
    pub fn set_endpoints(&self, urls: &[String]) {
        self.endpoints.replace(urls);
    }

    /// The client URLs that would be asked now.
    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints.available().iter().map(ToString::to_string).collect()
    }

    /// Answers a request of the client at this address; one that came by a file has none. Once `stop` is true, watches end.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        from: Option<SocketAddr>,
        stop: watch::Receiver<bool>,
    ) -> Reply {
        let path = request.uri().path();
        if path == "/metrics" {
            return figures::answer(self, request.method());
        }
        if self.readonly && *request.method() != Method::GET {
            return reply::empty(StatusCode::NOT_IMPLEMENTED);
        }
        let origin = cors::allowed_origin(&self.cors, request.headers());
        let reply = match path {
            _ if *request.method() == Method::OPTIONS => reply::empty(StatusCode::OK),
            "/v2/config/local/proxy" => self.tell_endpoints(request.method()),
            path if !path.starts_with('/') => {
                reply::text(StatusCode::BAD_REQUEST, "400 Bad Request: no path\n")
            }
            _ => self.forward(request, from, stop).await,
        };
        cors::allow(reply, origin)
    }

    fn tell_endpoints(&self, method: &Method) -> Reply {
        if *method != Method::GET {
            return reply::method_not_allowed("GET");
        }
        let mut body = Vec::from(*b"{\"endpoints\":");
        write_strings(&mut body, &self.endpoints());
        body.extend_from_slice(b"}\n");
        reply::text(StatusCode::OK, String::from_utf8_lossy(&body))
    }
}
