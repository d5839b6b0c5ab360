//! Whether someone whose certificate is good may come in: one place for both directions.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tokio::time;

use crate::{Error, Settings, files, names::Names};

/// How long names may be looked up.
const LOOKUP: Duration = Duration::from_secs(5);
/// Names of one certificate that are looked up, at most.
const LOOKUPS_MAX: usize = 32;

/// What is asked of the other's certificate beyond its chain.
#[derive(Debug)]
pub(crate) struct Rules {
    revoked: Vec<Vec<u8>>,
    allowed_cns: Vec<String>,
    allowed_hostnames: Vec<String>,
    check_client_san: bool,
}

impl Rules {
    /// Reads the CRL.
    pub(crate) fn load(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            revoked: settings
                .crl_file
                .as_deref()
                .map(files::revoked)
                .transpose()?
                .unwrap_or_default(),
            allowed_cns: settings.allowed_cns.clone(),
            allowed_hostnames: settings.allowed_hostnames.clone(),
            check_client_san: settings.check_client_san,
        })
    }

    /// Judges a client that came from this address, or from this machine through a file: what its
    /// certificate says of addresses cannot be asked then. The error says why it may not come in.
    pub(crate) async fn admit_client(
        &self,
        chain: &[CertificateDer<'_>],
        from: Option<SocketAddr>,
    ) -> Result<(), String> {
        self.admit(chain)?;
        match chain.first().zip(from) {
            Some((certificate, from)) if self.check_client_san => {
                comes_from(&Names::of(certificate)?, from.ip().to_canonical()).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Judges whoever shows these certificates, its own first.
    pub(crate) fn admit(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        if !self.revoked.is_empty() {
            for certificate in chain {
                let Names { serial, common_name, .. } = Names::of(certificate)?;
                if self.revoked.binary_search(&serial).is_ok() {
                    let serial = serial
                        .iter()
                        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
                    return Err(format!(
                        "transport: certificate serial {serial} revoked (CN={common_name})"
                    ));
                }
            }
        }
        if self.allowed_cns.is_empty() && self.allowed_hostnames.is_empty() {
            return Ok(());
        }
        let names = chain.first().map(Names::of).transpose()?.unwrap_or_default();
        let has_cn = self.allowed_cns.contains(&names.common_name);
        if has_cn || self.allowed_hostnames.iter().any(|host| names.are_good_for(host)) {
            return Ok(());
        }
        Err(format!(
            "client certificate authentication failed: its CN {:?} and names {:?} are not allowed",
            names.common_name, names.dns
        ))
    }
}

/// Whether the names in the certificate lead to the address, as etcd asks of peers.
async fn comes_from(names: &Names, from: IpAddr) -> Result<(), String> {
    if (names.ips.is_empty() && names.dns.is_empty()) || names.ips.contains(&from) {
        return Ok(());
    }
    if names.dns.is_empty() {
        return Err(format!("tls: certificate is valid for {:?}, not {from}", names.ips));
    }
    match time::timeout(LOOKUP, leads_to(&names.dns, from)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("tls: {from} does not match any of DNSNames {:?}", names.dns)),
        Err(_) => Err(format!("tls: looking up {:?} took too long", names.dns)),
    }
}

async fn leads_to(names: &[String], ip: IpAddr) -> bool {
    let (wildcards, plain): (Vec<&String>, Vec<&String>) =
        names.iter().take(LOOKUPS_MAX).partition(|name| name.starts_with("*."));
    for name in &plain {
        if let Ok(mut found) = tokio::net::lookup_host((name.as_str(), 0)).await
            && found.any(|one| one.ip().to_canonical() == ip)
        {
            return true;
        }
    }
    let looked_up = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&ip)).await;
    let Ok(Ok(reverse)) = looked_up else { return false };
    let reverse = reverse.strip_suffix('.').unwrap_or(&reverse);
    wildcards.iter().any(|name| name.get(1..).is_some_and(|end| reverse.ends_with(end)))
        || plain.iter().any(|name| **name == reverse)
}
