//! PEM files, and how one sees that a file was exchanged.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::{Error, names::Names};

/// Certificates and CRLs are small; whatever is larger is not one.
const BYTES_MAX: u64 = 16 << 20;

/// What tells one state of a file from another: time, length, inode. Links are followed.
pub(crate) type Stamp = Option<(i64, i64, u64, u64)>;

pub(crate) fn stamp(path: &Path) -> Stamp {
    let stat = rustix::fs::stat(path).ok()?;
    #[expect(clippy::cast_sign_loss, reason = "lengths are positive; it is only compared")]
    Some((stat.st_mtime, stat.st_mtime_nsec.cast_signed(), stat.st_size as u64, stat.st_ino))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let fail = |error| Error::Read { path: path.to_owned(), error };
    let bytes = fs::metadata(path).map_err(fail)?.len();
    if bytes > BYTES_MAX {
        return Err(bad(path, "is too large to be a certificate, key or CRL"));
    }
    fs::read(path).map_err(fail)
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let found = found.map_err(|error| bad(path, &format!("is no PEM file: {error}")))?;
    if found.is_empty() {
        return Err(bad(
            path,
            "has no certificate in it: expected PEM (-----BEGIN CERTIFICATE-----)",
        ));
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if has(&text, b"ENCRYPTED PRIVATE KEY") => Err(bad(
            path,
            "is an encrypted key: decrypt it first (openssl pkey -in FILE -out PLAIN)",
        )),
        Err(pem::Error::NoItemsFound) => Err(bad(path, "has no private key in it: expected PEM")),
        Err(error) => Err(bad(path, &format!("is no PEM file: {error}"))),
    }
}

fn has(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

/// A certificate with its chain and its key, which must fit.
pub(crate) fn identity(
    cert: &Path,
    key_path: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Error> {
    let (chain, key) = (certificates(cert)?, key(key_path)?);
    let unfit = |error| bad(cert, &format!("cannot be used: {error}"));
    let signer = provider.key_provider.load_private_key(key).map_err(unfit)?;
    let identity = CertifiedKey::new(chain, signer);
    if is_of(&identity).map_err(unfit)? {
        return Ok(Arc::new(identity));
    }
    Err(bad(key_path, &format!("is not the key of the certificate in {}", cert.display())))
}

/// Whether the key is that of the certificate, as far as one can see.
///
/// A certificate of X.509 version 1, or with too long a serial number, is nothing that we believe of
/// others; but whom it is shown to judges it, and etcd starts with such ones.
fn is_of(identity: &CertifiedKey) -> Result<bool, rustls::Error> {
    match identity.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(true),
        Err(rustls::Error::InconsistentKeys(_)) => Ok(false),
        Err(error) => {
            let parsed = X509Certificate::from_der(identity.end_entity_cert()?);
            let (_, parsed) = parsed.map_err(|_| error)?;
            let of_key = identity.key.public_key();
            Ok(of_key.is_none_or(|key| key.as_ref() == parsed.subject_pki.raw))
        }
    }
}

/// The common name in the first certificate of a file; empty if it has none.
pub fn common_name(path: &Path) -> Result<String, Error> {
    let found = certificates(path)?;
    let names = found.first().map(Names::of).transpose().map_err(|why| bad(path, &why))?;
    Ok(names.unwrap_or_default().common_name)
}

/// Whom a bundle of CAs trusts, and its certificates.
pub(crate) fn bundle(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Error> {
    let certificates = certificates(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| {
            bad(path, &format!("has a certificate that cannot be used: {error}"))
        })?;
    }
    Ok((roots, certificates))
}

/// The roots that the system trusts. None at all is no error before somebody needs one.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, "took the system's certificates");
    roots
}

/// The serial numbers of a CRL: DER, as etcd wants it, or PEM.
pub(crate) fn revoked(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let bytes = read(path)?;
    let ders: Vec<Vec<u8>> = if has(&bytes, b"-----BEGIN") {
        let found: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
        let found = found.map_err(|error| bad(path, &format!("is no PEM file: {error}")))?;
        found.into_iter().map(|der| der.to_vec()).collect()
    } else {
        vec![bytes]
    };
    if ders.is_empty() {
        return Err(bad(path, "has no CRL in it: expected DER or PEM (-----BEGIN X509 CRL-----)"));
    }
    let mut serials = Vec::new();
    for der in ders {
        let (_, list) = CertificateRevocationList::from_der(&der)
            .map_err(|error| bad(path, &format!("is no CRL: {error}")))?;
        let revoked = list.iter_revoked_certificates();
        serials.extend(revoked.map(|one| one.serial().to_bytes_be()));
    }
    serials.sort_unstable();
    Ok(serials)
}

pub(crate) fn bad(path: &Path, why: &str) -> Error {
    Error::File { path: PathBuf::from(path), why: why.to_owned() }
}
