//! `--auto-tls` and `--peer-auto-tls`: certificates that we make ourselves.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use base::UnixNanos;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use crate::{Error, Settings};

const DAYS_OF_A_YEAR: i64 = 365;

/// The certificate in `<dir>/cert.pem` with its key in `<dir>/key.pem`, for these hosts; made if
/// they are not both there (etcd).
pub fn self_signed(
    dir: &Path,
    hosts: &[String],
    years: u64,
    now: UnixNanos,
) -> Result<Settings, Error> {
    if years == 0 {
        return Err(Error::Settings(
            "selfSignedCertValidity is invalid,it should be greater than 0: give \
             --self-signed-cert-validity a number of years"
                .to_owned(),
        ));
    }
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    if !(cert.exists() && key.exists()) {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| Error::Write { path: dir.to_owned(), error })?;
        let (cert_text, key_text) = make(hosts, years, now)
            .map_err(|error| Error::Settings(format!("cannot make a certificate: {error}")))?;
        write(&key, &key_text)?;
        write(&cert, &cert_text)?;
        tracing::info!(path = %cert.display(), years, "created a certificate of our own");
    }
    Ok(Settings { cert_file: Some(cert), key_file: Some(key), ..Settings::default() })
}

fn make(hosts: &[String], years: u64, now: UnixNanos) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.0))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let days = i64::try_from(years).unwrap_or(i64::MAX).saturating_mul(DAYS_OF_A_YEAR);
    params.not_before = now;
    params.not_after = now.checked_add(Duration::days(days.min(365_000))).unwrap_or(now);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| Error::Write { path: path.to_owned(), error })
}
