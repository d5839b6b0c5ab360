//! What a certificate says about whom it was given to.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) common_name: String,
    pub(crate) dns: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
    /// Without leading zeros.
    pub(crate) serial: Vec<u8>,
}

impl Names {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("cannot read the certificate: {error}"))?;
        let common_name = parsed.subject().iter_common_name().next();
        let common_name = common_name.and_then(|name| name.as_str().ok()).unwrap_or_default();
        let mut names = Self {
            common_name: common_name.to_owned(),
            serial: parsed.serial.to_bytes_be(),
            ..Self::default()
        };
        let alternatives = parsed.subject_alternative_name();
        let alternatives =
            alternatives.map_err(|error| format!("cannot read its names: {error}"))?;
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            #[expect(clippy::wildcard_enum_match_arm, reason = "hosts have names and addresses")]
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.ips.extend(ip(bytes)),
                _ => {}
            }
        }
        Ok(names)
    }

    /// Whether it is good for that host, as Go sees it: an IP by itself, a name by its labels, the
    /// first of which may be a star. Common names do not count.
    pub(crate) fn are_good_for(&self, host: &str) -> bool {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.ips.contains(&ip.to_canonical());
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        self.dns.iter().any(|pattern| matches(pattern, host))
    }
}

fn matches(pattern: &str, host: &str) -> bool {
    let pattern = pattern.strip_suffix('.').unwrap_or(pattern);
    if host.is_empty() {
        return false;
    }
    match pattern.strip_prefix("*.") {
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => pattern.eq_ignore_ascii_case(host),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|ip| ip.to_canonical())
}
