//! The client: some endpoints, the good one among them, and the way from one to the next.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::{
    endpoint::Endpoint,
    error::{Attempt, AttemptKind, Error, Unavailable},
    proxy::Proxy,
    request::Request,
    transport::{Answer, Head, Transport},
};

/// The largest answer taken unless the configuration says otherwise: a listing of some million
/// keys.
const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// How a client asks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Until the head of an answer, connecting included, for one endpoint. Watches are exempt,
    /// save while they connect. `None` waits for ever.
    pub request_timeout: Option<Duration>,
    /// Until a call returns, all endpoints included. Watches are exempt.
    pub total_timeout: Option<Duration>,
    /// The largest body of an answer.
    pub response_bytes_max: usize,
    /// Sent with every request as basic authentication.
    pub credentials: Option<Credentials>,
    /// Where the keys are: `/v2/keys`, but for a discovery service that hides it.
    pub keys_prefix: String,
    /// For endpoints that begin with https.
    pub tls: tls::Settings,
    /// Stands between the client and all endpoints.
    pub proxy: Option<Proxy>,
    /// Told every request before it is sent.
    pub trace: Option<Trace>,
}

impl Default for Config {
    /// etcdctl 2.3.8's: a second per endpoint, five in all.
    fn default() -> Self {
        Self {
            request_timeout: Some(Duration::from_secs(1)),
            total_timeout: Some(Duration::from_secs(5)),
            response_bytes_max: RESPONSE_BYTES_MAX,
            credentials: None,
            keys_prefix: "/v2/keys".to_owned(),
            tls: tls::Settings::default(),
            proxy: None,
            trace: None,
        }
    }
}

/// A user of the cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Without a colon.
    pub username: String,
    /// Never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Is given each request as the curl command that repeats it.
#[derive(Clone)]
pub struct Trace(Arc<dyn Fn(&str) + Send + Sync>);

impl Trace {
    /// Calls `tell` with each request, on the task that sends it.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

/// A cluster's client. Clones share connections and what is known about the endpoints.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    transport: Transport,
    total_timeout: Option<Duration>,
    trace: Option<Trace>,
    keys_prefix: String,
    endpoints: Mutex<Endpoints>,
}

/// Invariant: `listed` is never empty.
#[derive(Clone, Debug)]
struct Endpoints {
    listed: Vec<Endpoint>,
    /// Answered last time: asked first.
    good: Option<Endpoint>,
    /// Answered a sync although the members do not publish it (a proxy, a forwarded port): asked
    /// last, since published addresses need not be reachable from here.
    spare: Option<Endpoint>,
}

impl Endpoints {
    /// In the order in which to ask: round from the good one.
    fn in_order(&self) -> Vec<Endpoint> {
        let all: Vec<&Endpoint> = self.listed.iter().chain(&self.spare).collect();
        let first = all.iter().position(|endpoint| self.good.as_ref() == Some(*endpoint));
        let first = first.unwrap_or(0);
        all.iter().cycle().skip(first).take(all.len()).map(|&endpoint| endpoint.clone()).collect()
    }
}

impl Client {
    /// A client of the cluster at `endpoints`, which are asked in this order. Connects to nothing
    /// yet.
    pub fn new(endpoints: &[impl AsRef<str>], config: Config) -> Result<Self, Error> {
        let listed = endpoints
            .iter()
            .map(|text| text.as_ref().parse())
            .collect::<Result<Vec<Endpoint>, _>>()?;
        if listed.is_empty() {
            return Err(Error::NoEndpoints);
        }
        let shared = Shared {
            transport: Transport::new(&config)?,
            total_timeout: config.total_timeout,
            trace: config.trace,
            keys_prefix: config.keys_prefix,
            endpoints: Mutex::new(Endpoints { listed, good: None, spare: None }),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The endpoints that were given, or those of the last sync.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.shared.endpoints.lock().listed.clone()
    }

    pub(crate) fn keys(&self) -> &str {
        &self.shared.keys_prefix
    }

    /// Takes the client URLs that the members publish as the endpoints from now on.
    ///
    /// A failure leaves the endpoints as they were, and so does a cluster that publishes nothing
    /// that can be used ([`Error::NoEndpoints`]).
    pub async fn sync(&self) -> Result<(), Error> {
        let members = self.members().await?;
        let urls = members.iter().flat_map(|member| &member.client_urls);
        let mut listed: Vec<Endpoint> = Vec::new();
        for endpoint in urls.filter_map(|url| url.parse().ok()) {
            if !listed.contains(&endpoint) {
                listed.push(endpoint);
            }
        }
        if listed.is_empty() {
            return Err(Error::NoEndpoints);
        }
        let mut endpoints = self.shared.endpoints.lock();
        let spare = endpoints.good.clone().filter(|good| !listed.contains(good));
        // With a spare, the published ones come first: see `Endpoints::spare`.
        let good = endpoints.good.take().filter(|_| spare.is_none());
        *endpoints = Endpoints { listed, good, spare };
        Ok(())
    }

    /// Asks the endpoints in turn for a whole answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Error> {
        self.within_total(async {
            let mut round = Round::new(self, request);
            while let Some(endpoint) = round.next() {
                match self.fetch_one(&endpoint, request).await {
                    Ok(answer) => return Ok(round.served_by(endpoint, answer)),
                    Err(attempt) => round.failed(attempt),
                }
            }
            Err(round.into_error())
        })
        .await
    }

    /// Asks the endpoints in turn for the head of an answer, without a limit on the time.
    pub(crate) async fn open(&self, request: &Request) -> Result<Head, Error> {
        let mut round = Round::new(self, request);
        while let Some(endpoint) = round.next() {
            self.tell(&endpoint, request);
            match self.shared.transport.open(&endpoint, request).await {
                Ok(head) => return Ok(round.served_by(endpoint, head)),
                Err(attempt) => round.failed(attempt),
            }
        }
        Err(round.into_error())
    }

    /// Reads what follows a head.
    pub(crate) async fn read_body(&self, head: Head) -> Result<Answer, Attempt> {
        self.shared.transport.read_body(head).await
    }

    /// Asks this endpoint and no other; any status is an answer.
    pub(crate) async fn ask_only(&self, to: &Endpoint, request: &Request) -> Result<Answer, Error> {
        self.tell(to, request);
        self.within_total(async {
            let answer = self.shared.transport.fetch(to, request).await;
            answer.map_err(|attempt| Unavailable { attempts: vec![attempt] }.into())
        })
        .await
    }

    async fn fetch_one(&self, to: &Endpoint, request: &Request) -> Result<Answer, Attempt> {
        self.tell(to, request);
        let head = self.shared.transport.open(to, request).await?;
        self.read_body(head).await
    }

    async fn within_total<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(after) = self.shared.total_timeout else { return call.await };
        timeout(after, call).await.map_err(|_| Error::DeadlineExceeded { after })?
    }

    fn tell(&self, to: &Endpoint, request: &Request) {
        if let Some(Trace(tell)) = &self.shared.trace {
            tell(&request.curl(&to.join(&request.target)));
        }
    }
}

/// One request's way along the endpoints.
struct Round<'a> {
    client: &'a Client,
    to_ask: std::vec::IntoIter<Endpoint>,
    repeatable: bool,
    attempts: Vec<Attempt>,
}

impl<'a> Round<'a> {
    fn new(client: &'a Client, request: &Request) -> Self {
        let to_ask = client.shared.endpoints.lock().in_order().into_iter();
        Self { client, to_ask, repeatable: request.repeatable, attempts: Vec::new() }
    }

    /// Who is to be asked now.
    fn next(&mut self) -> Option<Endpoint> {
        let stop = self.attempts.last().is_some_and(|last| {
            // The next endpoint would send just as much.
            matches!(last.kind, AttemptKind::TooLarge { .. })
                || (!self.repeatable && last.may_be_applied())
        });
        if stop { None } else { self.to_ask.next() }
    }

    fn failed(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    fn served_by<T>(&self, endpoint: Endpoint, answer: T) -> T {
        self.client.shared.endpoints.lock().good = Some(endpoint);
        answer
    }

    fn into_error(self) -> Error {
        Unavailable { attempts: self.attempts }.into()
    }
}
