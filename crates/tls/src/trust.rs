//! Whose certificates are believed.
//!
//! Beside what webpki decides, a certificate that itself stands in the trusted file is believed, as
//! Go does: many clusters hand out one self-signed certificate as its own CA.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    time::ASN1Time,
};

use crate::{Error, files};

/// What a file of CAs, or the system, says.
pub(crate) struct Trusted {
    roots: Arc<RootCertStore>,
    listed: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// The certificates in this file; without one the system's.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Error> {
        let (roots, listed) = match file {
            Some(path) => files::bundle(path)?,
            None => (files::system_roots(), Vec::new()),
        };
        Ok(Self { roots: Arc::new(roots), listed })
    }

    /// Judges the certificates of clients.
    pub(crate) fn of_clients(
        self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let chains = WebPkiClientVerifier::builder_with_provider(self.roots, Arc::clone(provider))
            .build()
            .map_err(|error| {
                Error::Settings(format!(
                    "clients are asked for certificates, and there is no CA to check them by \
                     ({error}): give --trusted-ca-file (for peers --peer-trusted-ca-file)"
                ))
            })?;
        Ok(Arc::new(OfClients { chains, listed: self.listed }))
    }

    /// Judges the certificates of servers.
    pub(crate) fn of_servers(
        self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        if self.roots.is_empty() {
            // Plain connections need none: only who meets a TLS server is told.
            return Ok(Arc::new(OfServers { chains: None, listed: self.listed }));
        }
        let chains = WebPkiServerVerifier::builder_with_provider(self.roots, Arc::clone(provider))
            .build()
            .map_err(|error| Error::Settings(format!("the trusted CAs cannot be used: {error}")))?;
        Ok(Arc::new(OfServers { chains: Some(chains), listed: self.listed }))
    }
}

/// Takes each server for the one it says it is. The handshake's signature is checked all the same.
pub(crate) fn of_any_server(provider: &Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(OfAnyServer { provider: Arc::clone(provider) })
}

fn is_listed(
    listed: &[CertificateDer<'static>],
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<bool, TlsError> {
    if !listed.contains(certificate) {
        return Ok(false);
    }
    let bad = || TlsError::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let now = ASN1Time::from_timestamp(now).map_err(|_| bad())?;
    let valid = parsed.validity();
    if now < valid.not_before {
        return Err(TlsError::InvalidCertificate(CertificateError::NotValidYet));
    }
    if valid.not_after < now {
        return Err(TlsError::InvalidCertificate(CertificateError::Expired));
    }
    Ok(true)
}

#[derive(Debug)]
struct OfClients {
    chains: Arc<dyn ClientCertVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ClientCertVerifier for OfClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        match self.chains.verify_client_cert(end, between, now) {
            Err(_) if is_listed(&self.listed, end, now)? => Ok(ClientCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct OfServers {
    /// `None`: nobody is trusted.
    chains: Option<Arc<WebPkiServerVerifier>>,
    listed: Vec<CertificateDer<'static>>,
}

impl OfServers {
    fn chains(&self) -> Result<&WebPkiServerVerifier, TlsError> {
        self.chains.as_deref().ok_or_else(|| {
            TlsError::General(
                "no CA is trusted, and the system has none: name a CA file".to_owned(),
            )
        })
    }
}

impl ServerCertVerifier for OfServers {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.chains()?.verify_server_cert(end, between, name, ocsp, now) {
            Err(_) if is_listed(&self.listed, end, now)? => {
                verify_server_name(&ParsedCertificate::try_from(end)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chains()?.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chains()?.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.chains {
            Some(chains) => chains.supported_verify_schemes(),
            None => rustls::crypto::ring::default_provider()
                .signature_verification_algorithms
                .supported_schemes(),
        }
    }
}

#[derive(Debug)]
struct OfAnyServer {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OfAnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
