//! A certificate authority of a test's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

/// An authority that writes PEM files into a directory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("the system has randomness");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes `<name>.pem` and `<name>.key`, good for loopback on both sides.
    pub fn issue(&self, dir: &Path, name: &str, serial: u64) -> (PathBuf, PathBuf) {
        self.issue_for(&["127.0.0.1", "localhost"], dir, name, serial)
    }

    /// The same, good for these hosts.
    pub fn issue_for(
        &self,
        hosts: &[&str],
        dir: &Path,
        name: &str,
        serial: u64,
    ) -> (PathBuf, PathBuf) {
        let mut params = params_for(hosts);
        params.distinguished_name.push(DnType::CommonName, name);
        self.write(params, dir, name, serial)
    }

    /// The same without a common name, good for loopback on both sides.
    pub fn issue_nameless(&self, dir: &Path, name: &str, serial: u64) -> (PathBuf, PathBuf) {
        let mut params = params_for(&["127.0.0.1", "localhost"]);
        // There is one by default.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, name);
        self.write(params, dir, name, serial)
    }

    fn write(
        &self,
        mut params: CertificateParams,
        dir: &Path,
        name: &str,
        serial: u64,
    ) -> (PathBuf, PathBuf) {
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("the system has randomness");
        let signed = params.signed_by(&key, &self.issuer).expect("it signs");
        (
            put(dir, &format!("{name}.pem"), signed.pem()),
            put(dir, &format!("{name}.key"), key.serialize_pem()),
        )
    }

    /// A list of certificates that are no longer good, in DER.
    pub fn revoke(&self, serials: &[u64]) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2040, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("it signs").der().to_vec()
    }
}

fn params_for(hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    CertificateParams::new(hosts).expect("these are names")
}

/// Puts a file in its place at once, as those do who exchange it in a running system.
pub fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let (new, path) = (dir.join(format!("{name}.new")), dir.join(name));
    fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path)).expect("/tmp can be written");
    path
}
