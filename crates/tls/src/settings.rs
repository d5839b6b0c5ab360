//! What etcd's flags say about TLS, for one side: clients or peers.

use std::path::PathBuf;

use rustls::crypto::CryptoProvider;

use crate::{Error, ciphers, versions};

/// Files and rules; empty is etcd's default. Of the flags' two sets one is for clients
/// (`--cert-file` and so on), one for peers (`--peer-cert-file` and so on).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Our identity, as server and, where no other is given, as client.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Our identity as client.
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    /// Who is trusted; the system's roots if none.
    pub trusted_ca_file: Option<PathBuf>,
    /// Clients must show a certificate. A trusted CA alone asks for it too, as in etcd.
    pub client_cert_auth: bool,
    /// Serial numbers that are refused, of clients and servers alike (etcd: of clients).
    pub crl_file: Option<PathBuf>,
    /// The other's certificate must have one of these common names.
    pub allowed_cns: Vec<String>,
    /// The other's certificate must be good for one of these host names.
    pub allowed_hostnames: Vec<String>,
    /// The names in a client's certificate must lead to its address (etcd: of peers).
    pub check_client_san: bool,
    /// Go's names; empty: all.
    pub cipher_suites: Vec<String>,
    /// `""`, `TLS1.2` or `TLS1.3`.
    pub min_version: String,
    pub max_version: String,
    /// Take every server for the one it says it is: for `--peer-auto-tls`.
    pub insecure_skip_verify: bool,
    /// What a server's certificate must be good for instead of the name in its URL: the domain whose
    /// records led to it, since whoever forges the records chooses the names in them.
    pub server_name: Option<String>,
}

impl Settings {
    /// Whether there is a certificate to serve with.
    pub fn has_identity(&self) -> bool {
        self.cert_file.is_some() || self.key_file.is_some()
    }

    /// Certificates of clients are asked for.
    pub fn asks_clients(&self) -> bool {
        self.client_cert_auth || self.trusted_ca_file.is_some()
    }

    /// Refuses what does not go together. No file is read.
    pub fn check(&self) -> Result<(), Error> {
        let pair = |cert: &Option<PathBuf>, key: &Option<PathBuf>| cert.is_some() == key.is_some();
        if !pair(&self.cert_file, &self.key_file) {
            return Err(Error::Settings(format!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                shown(self.key_file.as_ref()),
                shown(self.cert_file.as_ref())
            )));
        }
        if !pair(&self.client_cert_file, &self.client_key_file) {
            return Err(Error::Settings(format!(
                "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, \
                 cert: {}]",
                shown(self.client_key_file.as_ref()),
                shown(self.client_cert_file.as_ref())
            )));
        }
        if !self.allowed_cns.is_empty() && !self.allowed_hostnames.is_empty() {
            return Err(Error::Settings(format!(
                "AllowedCNs and AllowedHostnames are mutually exclusive (cns={:?}, hostnames={:?})",
                self.allowed_cns, self.allowed_hostnames
            )));
        }
        versions::between(&self.min_version, &self.max_version)?;
        if self.min_version == versions::TLS_1_3 && !self.cipher_suites.is_empty() {
            return Err(Error::Settings(
                "cipher suites cannot be configured when only TLS1.3 is enabled".to_owned(),
            ));
        }
        ciphers::suites(&self.cipher_suites).map(drop)
    }

    pub(crate) fn provider(&self) -> Result<CryptoProvider, Error> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites = ciphers::suites(&self.cipher_suites)?;
        Ok(provider)
    }
}

fn shown(file: Option<&PathBuf>) -> String {
    file.map_or_else(String::new, |path| path.display().to_string())
}
