//! TLS on connections that were accepted.

use std::{sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, UnixTime},
    server::{ClientHello, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    Error, Settings, Socket, admit::Rules, files, live::Live, names::Names, standing::Standing,
    trust::Trusted, versions,
};

/// A handshake that takes longer is cut off.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Go's answer, word for word.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// What is read of a request that is refused so.
const NOT_TLS_BYTES: usize = 4096;
/// The first byte of a TLS handshake.
const HANDSHAKE_RECORD: u8 = 22;

/// A connection that a client has made, with TLS on it.
pub type ServerStream = Standing<TlsStream<Socket>>;

impl ServerStream {
    /// The protocol that was agreed on.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.stream().get_ref().1.alpn_protocol()
    }

    /// The name in the certificate that the client has shown, if it has shown one.
    pub fn common_name(&self) -> Option<String> {
        let certificate = self.stream().get_ref().1.peer_certificates()?.first()?;
        Some(Names::of(certificate).ok()?.common_name)
    }

    /// What lies below.
    pub fn socket(&self) -> &Socket {
        self.stream().get_ref().0
    }
}

/// Makes TLS connections of accepted ones.
#[derive(Debug)]
pub struct Acceptor {
    live: Arc<Live<Side>>,
}

#[derive(Debug)]
struct Side {
    config: Arc<ServerConfig>,
    /// `None`: clients are not asked for certificates.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    rules: Rules,
}

impl Acceptor {
    /// Reads all files. `alpn`: the protocols spoken, best first.
    pub fn new(settings: Settings, alpn: &[&str]) -> Result<Self, Error> {
        settings.check()?;
        if !settings.has_identity() {
            return Err(Error::Settings(
                "cannot listen on TLS: KeyFile and CertFile are not presented".to_owned(),
            ));
        }
        let alpn: Vec<_> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let named = [&settings.cert_file, &settings.key_file, &settings.trusted_ca_file];
        let files = named.into_iter().chain([&settings.crl_file]).flatten().cloned().collect();
        let make = move || Side::load(&settings, &alpn);
        Ok(Self { live: Arc::new(Live::new(files, Box::new(make))?) })
    }

    /// The handshake, and whether the client may come in. The error is one line for the log.
    pub async fn accept(&self, socket: Socket) -> Result<ServerStream, String> {
        let handshake = time::timeout(HANDSHAKE, self.handshake(socket)).await;
        let (stream, side) = handshake.map_err(|_| {
            format!("the TLS handshake took longer than {} s", HANDSHAKE.as_secs())
        })??;
        let from = stream.get_ref().0.peer_addr().map_err(|error| error.to_string())?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        side.rules.admit_client(chain, from).await?;
        let shown = UnixTime::now();
        Ok(Standing::new(stream, &self.live, side, move |stream, side: &Side| {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            side.believes(chain, shown).inspect_err(|why| {
                let from = from.map_or_else(|| "a socket file".to_owned(), |from| from.to_string());
                tracing::warn!("closed the connection from \"{from}\": {why}");
            })
        }))
    }

    async fn handshake(
        &self,
        mut socket: Socket,
    ) -> Result<(TlsStream<Socket>, Arc<Side>), String> {
        let mut first = [0];
        let peeked = socket.peek(&mut first).await.map_err(|error| error.to_string())?;
        if peeked == 0 {
            return Err("the client went away before the TLS handshake".to_owned());
        }
        if first.first().is_some_and(u8::is_ascii_uppercase) {
            // It is refused anyhow: whether it reads why is its own affair.
            // What is not read when a socket is closed would take the answer away.
            drop(socket.read(&mut [0; NOT_TLS_BYTES]).await);
            drop(socket.write_all(NOT_TLS).await);
            return Err("client sent an HTTP request to an HTTPS server".to_owned());
        }
        if first != [HANDSHAKE_RECORD] {
            return Err("first record does not look like a TLS handshake".to_owned());
        }
        let side = self.live.get();
        let acceptor = TlsAcceptor::from(Arc::clone(&side.config));
        let stream = acceptor.accept(socket).await;
        Ok((stream.map_err(|error| format!("TLS handshake failed: {error}"))?, side))
    }
}

impl Side {
    fn load(settings: &Settings, alpn: &[Vec<u8>]) -> Result<Self, Error> {
        let provider = Arc::new(settings.provider()?);
        let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) else {
            return Err(Error::Settings("there is no certificate to serve with".to_owned()));
        };
        let identity = files::identity(cert, key, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions::between(
                &settings.min_version,
                &settings.max_version,
            )?)
            .map_err(|error| Error::Settings(format!("TLS cannot be set up: {error}")))?;
        let verifier = if settings.asks_clients() {
            let trusted = Trusted::load(settings.trusted_ca_file.as_deref())?;
            Some(trusted.of_clients(&provider)?)
        } else {
            None
        };
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Always(identity)));
        config.alpn_protocols = alpn.to_vec();
        // A session that is resumed skips the client's certificate, whose CA or CRL may have
        // changed: each connection shows it anew.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), verifier, rules: Rules::load(settings)? })
    }

    /// Whether a client that showed these certificates then, and was let in, would be by these files.
    fn believes(&self, chain: &[CertificateDer<'_>], shown: UnixTime) -> Result<(), String> {
        if let (Some(verifier), Some((end, between))) = (&self.verifier, chain.split_first()) {
            let judged = verifier.verify_client_cert(end, between, shown);
            judged.map_err(|error| error.to_string())?;
        }
        self.rules.admit(chain)
    }
}

/// One certificate, whatever name is asked for, as in etcd.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
