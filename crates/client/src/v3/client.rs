//! The client: its endpoints, and what it sends with every call.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use http::HeaderMap;
use hyper::client::conn::http2::SendRequest;
use parking_lot::RwLock;
use tokio::time::Instant;
use tonic::body::Body;

use super::{
    channel::{Channel, set},
    config::Config,
    error::Error,
    line::Line,
    token::Token,
};
use crate::endpoint::Endpoint;

/// The version of the API that we speak, which servers count.
const API_VERSION: &str = "3.6";
/// The largest number that the header of a deadline can have.
const TIMEOUT_MILLIS_MAX: u128 = 99_999_999;

/// A cluster's client. Clones share connections, and what is known about the endpoints.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) deadline: Option<Instant>,
    needs_leader: bool,
    /// Sent with every call instead of what this client has to say of itself.
    behalf: Option<Arc<HeaderMap>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    /// Never empty.
    lines: RwLock<Arc<[Arc<Line>]>>,
    /// Who is asked next: calls go round.
    pub(super) next: AtomicUsize,
    pub(super) config: Config,
    pub(super) token: Token,
}

impl Client {
    /// A client of the cluster at `endpoints`: URLs, or `host:port`. Connects to nothing yet.
    ///
    /// Files of TLS are read at once, so that what is wrong with them is told.
    pub fn new(endpoints: &[impl AsRef<str>], config: Config) -> Result<Self, Error> {
        let lines = RwLock::new(lines(endpoints, &config, &[])?);
        let token = Token::new(&config);
        let shared = Shared { lines, next: AtomicUsize::new(0), config, token };
        let shared = Arc::new(shared);
        Ok(Self { shared, deadline: None, needs_leader: false, behalf: None })
    }

    /// Asks at `endpoints` from now on; connections to those that were there before are kept. After
    /// an error all is as it was.
    pub fn set_endpoints(&self, endpoints: &[impl AsRef<str>]) -> Result<(), Error> {
        let lines = lines(endpoints, &self.shared.config, &self.lines())?;
        *self.shared.lines.write() = lines;
        Ok(())
    }

    /// The same client, whose calls end at `deadline` with [`Error::Deadline`].
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// As [`Client::until`], from now.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        // Some years are as good as no limit.
        match Instant::now().checked_add(limit) {
            Some(deadline) => self.until(deadline),
            None => self.clone(),
        }
    }

    /// The same client, which wants no answer of a member that has no leader: watches end with
    /// "no leader" instead of being silent.
    #[must_use]
    pub fn with_leader(&self) -> Self {
        Self { needs_leader: true, ..self.clone() }
    }

    /// The same client, whose calls carry these headers of gRPC and none of its own: what somebody
    /// said for whom it asks. Without a token there it has none.
    #[must_use]
    pub fn on_behalf(&self, headers: HeaderMap) -> Self {
        Self { behalf: Some(Arc::new(headers)), ..self.clone() }
    }

    /// Whether it asks for somebody else.
    pub(super) fn is_on_behalf(&self) -> bool {
        self.behalf.is_some()
    }

    /// Where it asks.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.lines().iter().map(|line| line.endpoint.clone()).collect()
    }

    pub(super) fn lines(&self) -> Arc<[Arc<Line>]> {
        Arc::clone(&self.shared.lines.read())
    }

    /// One line for each endpoint that did not serve when it was asked last.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.lines().iter().filter_map(|line| line.trouble()).collect()
    }

    pub(super) fn out_of_time(&self) -> Error {
        Error::Deadline { troubles: self.troubles() }
    }

    /// Refuses a request that is larger than this client sends.
    pub(super) fn check_size(&self, size: usize) -> Result<(), Error> {
        let limit = self.shared.config.request_bytes_max;
        if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// What a call is made on.
    pub(super) fn channel(
        &self,
        line: &Line,
        sender: SendRequest<Body>,
        token: Option<&str>,
    ) -> Channel {
        let mut headers = match &self.behalf {
            Some(headers) => headers.as_ref().clone(),
            None => self.own_headers(token),
        };
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let left = left.clamp(1, TIMEOUT_MILLIS_MAX);
            set(&mut headers, "grpc-timeout", &format!("{left}m"));
        }
        let answer_bytes_max = self.shared.config.answer_bytes_max;
        Channel { sender, origin: line.origin.clone(), headers, answer_bytes_max }
    }

    fn own_headers(&self, token: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, "client-api-version", API_VERSION);
        if self.needs_leader {
            set(&mut headers, "hasleader", "true");
        }
        if let Some(token) = token {
            set(&mut headers, "token", token);
        }
        headers
    }
}

/// A line to each endpoint: of those that are `known`, the same.
fn lines(
    endpoints: &[impl AsRef<str>],
    config: &Config,
    known: &[Arc<Line>],
) -> Result<Arc<[Arc<Line>]>, Error> {
    let line = |text: &str| -> Result<Arc<Line>, Error> {
        let endpoint = endpoint(text, config.tls.is_some())?;
        match known.iter().find(|line| line.endpoint == endpoint) {
            Some(line) => Ok(Arc::clone(line)),
            None => Ok(Arc::new(Line::new(endpoint, config)?)),
        }
    };
    let lines: Result<Arc<[_]>, _> = endpoints.iter().map(|text| line(text.as_ref())).collect();
    lines.and_then(|lines| if lines.is_empty() { Err(Error::NoEndpoints) } else { Ok(lines) })
}

/// What has no scheme is https exactly if there is something for TLS.
fn endpoint(text: &str, with_tls: bool) -> Result<Endpoint, Error> {
    let text = text.trim();
    if let Some(endpoint) = Endpoint::of_socket(text) {
        return Ok(endpoint);
    }
    if with_tls && !text.contains("://") {
        return Ok(format!("https://{text}").parse()?);
    }
    Ok(text.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_scheme_is_as_secure_as_the_client() {
        let url = |text: &str, tls| endpoint(text, tls).map(|url| url.to_string()).ok();
        assert_eq!(url("a:1", false).as_deref(), Some("http://a:1"));
        assert_eq!(url("a:1", true).as_deref(), Some("https://a:1"));
        assert_eq!(url("http://a:1", true).as_deref(), Some("http://a:1"));
        assert_eq!(url("unix:///a", true).as_deref(), Some("unix:///a"));
        assert_eq!(url("unix://", false), None);
        assert_eq!(url("ftp://a:1", false), None);
    }

    #[test]
    fn a_client_needs_an_endpoint() {
        let none: &[&str] = &[];
        assert!(matches!(Client::new(none, Config::default()), Err(Error::NoEndpoints)));
    }
}
