//! Connections to members: the one place where they are made.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Uri;
use socket2::{SockRef, TcpKeepalive};
use tls::{ClientStream, Connector, Settings, Wire};
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time,
};

/// What a dead machine is noticed by where nothing is sent.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// A peer that does not answer to a connection: the next URL is tried.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often a connection is begun within that time: what was lost is sent again after a second only, and
/// whoever is far away answers the first one late.
const ATTEMPTS_MAX: u32 = 4;
/// What a member may take beyond that to say something.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// The protocols that are spoken over TLS.
const ALPN: [&str; 1] = ["http/1.1"];

/// How connections to members are made: plain ones, and with these settings TLS.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: Tls,
    timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// Whether a connection is begun again while nobody answers.
    is_restless: bool,
}

#[derive(Clone, Debug)]
enum Tls {
    None,
    Made(Arc<Connector>),
    /// Made once somebody speaks TLS: reading the system's authorities takes its time.
    WhenNeeded(Arc<(Settings, OnceLock<Result<Connector, String>>)>),
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new(Tls::None)
    }
}

impl Dialer {
    fn new(tls: Tls) -> Self {
        Self { tls, timeout: Some(TIMEOUT), write_timeout: None, is_restless: false }
    }

    /// Speaks TLS where a URL begins with https.
    pub fn with_tls(connector: Arc<Connector>) -> Self {
        Self::new(Tls::Made(connector))
    }

    /// The same, with settings that name no file: what is wrong with one should be told at once.
    pub fn with_tls_when_needed(settings: Settings) -> Self {
        Self::new(Tls::WhenNeeded(Arc::new((settings, OnceLock::new()))))
    }

    /// How long a member may take to accept a connection, and to acknowledge what was sent to it;
    /// `None`: as long as the system lets it.
    #[must_use]
    pub fn with_timeouts(self, accept: Option<Duration>, write: Option<Duration>) -> Self {
        Self { timeout: accept, write_timeout: write, ..self }
    }

    /// The same among members with this election timeout, by which it is known how far away they are.
    /// They are to be in touch again as soon as a line between them is whole.
    #[must_use]
    pub fn with_election_timeout(self, election: Duration) -> Self {
        let dialer = self.with_timeouts(Some(election.max(TIMEOUT)), None);
        Self { is_restless: true, ..dialer }
    }

    /// How long it may take until a member has answered to a connection.
    pub(crate) fn reach(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// How long a member may take in all until it has accepted a connection and said something (etcd: a
    /// second and an election timeout until it has accepted it).
    pub fn patience(&self) -> Duration {
        self.reach() + ANSWER_PATIENCE
    }

    /// A connection to the host and port of this URL, with TLS where it says https.
    pub async fn dial(&self, url: &Uri) -> io::Result<Wire<ClientStream>> {
        if url.scheme_str() != Some("https") {
            return Ok(Wire::Plain(self.tcp(url, 80).await?.into()));
        }
        let connector = self.connector()?;
        let stream = self.tcp(url, 443).await?;
        let stream = connector.connect(url.host().unwrap_or_default(), stream.into()).await?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    fn connector(&self) -> io::Result<&Connector> {
        match &self.tls {
            Tls::None => Err(io::Error::other(
                "this member has no TLS for peers: give --peer-cert-file, --peer-key-file and \
                 --peer-trusted-ca-file",
            )),
            Tls::Made(connector) => Ok(connector),
            Tls::WhenNeeded(needed) => {
                let (settings, made) = &**needed;
                let make =
                    || Connector::new(settings.clone(), &ALPN).map_err(|error| error.to_string());
                made.get_or_init(make).as_ref().map_err(|why| io::Error::other(why.clone()))
            }
        }
    }

    /// The first of several attempts that ends, well or not, is the one that counts.
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        if !self.is_restless {
            return TcpStream::connect((host, port)).await;
        }
        let addresses: Arc<[SocketAddr]> = lookup_host((host, port)).await?.collect();
        let mut attempts = JoinSet::new();
        loop {
            if attempts.len() < ATTEMPTS_MAX as usize {
                let addresses = Arc::clone(&addresses);
                attempts.spawn(async move { TcpStream::connect(&*addresses).await });
            }
            tokio::select! {
                Some(ended) = attempts.join_next() => return ended.map_err(io::Error::other)?,
                () = time::sleep(self.reach() / ATTEMPTS_MAX) => {}
            }
        }
    }

    async fn tcp(&self, url: &Uri, port: u16) -> io::Result<TcpStream> {
        let host = url.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let connect = self.connect(host, url.port_u16().unwrap_or(port));
        let stream = match self.timeout {
            Some(timeout) => time::timeout(timeout, connect).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {timeout:?}"))
            })??,
            None => connect.await?,
        };
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        socket.set_tcp_keepalive(&keepalive)?;
        // A machine that vanishes while it is written to would be waited for a quarter of an hour.
        socket.set_tcp_user_timeout(self.write_timeout)?;
        Ok(stream)
    }
}
