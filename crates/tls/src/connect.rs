//! TLS on connections that we made.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption, danger::ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use tokio::time;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Error, Settings, Socket, admit::Rules, files, live::Live, standing::Standing, trust,
    trust::Trusted, versions,
};

/// A server that takes longer to answer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection to a server, with TLS on it.
pub type ClientStream = Standing<TlsStream<Socket>>;

/// Makes TLS connections of plain ones.
#[derive(Debug)]
pub struct Connector {
    live: Arc<Live<Side>>,
    server_name: Option<String>,
}

#[derive(Debug)]
struct Side {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    rules: Rules,
}

impl Connector {
    /// Reads all files. `alpn`: the protocols spoken, best first.
    pub fn new(settings: Settings, alpn: &[&str]) -> Result<Self, Error> {
        settings.check()?;
        let alpn: Vec<_> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let own = identity_files(&settings).map(|(cert, key)| [cert.clone(), key.clone()]);
        let named = [&settings.trusted_ca_file, &settings.crl_file].into_iter().flatten().cloned();
        let files = own.into_iter().flatten().chain(named).collect();
        let server_name = settings.server_name.clone();
        let make = move || Side::load(&settings, &alpn);
        Ok(Self { live: Arc::new(Live::new(files, Box::new(make))?), server_name })
    }

    /// The handshake with the server of that name or IP, as in its URL.
    pub async fn connect(&self, host: &str, socket: Socket) -> io::Result<ClientStream> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::other(format!("{host:?} is no name that a certificate can have"))
        })?;
        let side = self.live.get();
        let connector = TlsConnector::from(Arc::clone(&side.config));
        let stream = time::timeout(HANDSHAKE, connector.connect(name.clone(), socket))
            .await
            .map_err(|_| {
                let limit = HANDSHAKE.as_secs();
                io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no TLS handshake within {limit} s"),
                )
            })??;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        side.rules.admit(chain).map_err(io::Error::other)?;
        let shown = UnixTime::now();
        Ok(Standing::new(stream, &self.live, side, move |stream, side: &Side| {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            side.believes(chain, &name, shown)
        }))
    }
}

/// Certificate and key to show as client.
fn identity_files(settings: &Settings) -> Option<(&PathBuf, &PathBuf)> {
    let own = settings.client_cert_file.as_ref().zip(settings.client_key_file.as_ref());
    own.or_else(|| settings.cert_file.as_ref().zip(settings.key_file.as_ref()))
}

impl Side {
    fn load(settings: &Settings, alpn: &[Vec<u8>]) -> Result<Self, Error> {
        let provider = Arc::new(settings.provider()?);
        let verifier = if settings.insecure_skip_verify {
            trust::of_any_server(&provider)
        } else {
            Trusted::load(settings.trusted_ca_file.as_deref())?.of_servers(&provider)?
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions::between(
                &settings.min_version,
                &settings.max_version,
            )?)
            .map_err(|error| Error::Settings(format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match identity_files(settings) {
            Some((cert, key)) => {
                let identity = files::identity(cert, key, &provider)?;
                builder.with_client_cert_resolver(Arc::new(Always(identity)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.to_vec();
        // Certificates are shown at each connection: see the other side.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), verifier, rules: Rules::load(settings)? })
    }

    /// Whether a server that showed these certificates then would be taken for this one by these files.
    fn believes(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        shown: UnixTime,
    ) -> Result<(), String> {
        if let Some((end, between)) = chain.split_first() {
            let judged = self.verifier.verify_server_cert(end, between, name, &[], shown);
            judged.map_err(|error| error.to_string())?;
        }
        self.rules.admit(chain)
    }
}

/// One certificate, whatever CAs the server names, as in etcd.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
