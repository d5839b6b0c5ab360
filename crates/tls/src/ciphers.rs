//! `--cipher-suites`, by Go's names.

use rustls::{CipherSuite, SupportedCipherSuite, crypto::ring};

use crate::Error;

/// Go's suites that are weak or rest on RSA key exchange: known, and not offered here.
const WEAK: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// Whether this is a suite of Go's that is not offered here, since it is weak or has no forward secrecy.
pub fn is_weak(name: &str) -> bool {
    WEAK.contains(&name)
}

/// The suites of these names, in this order, behind those of TLS 1.3, which Go always offers. No
/// name at all stands for every suite. Weak ones are left out, as long as there are others: lists of any
/// age name them beside good ones.
pub(crate) fn suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, Error> {
    if names.is_empty() {
        return Ok(ring::ALL_CIPHER_SUITES.to_vec());
    }
    let (mut suites, rest): (Vec<_>, Vec<_>) = ring::ALL_CIPHER_SUITES
        .iter()
        .copied()
        .partition(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
    for name in names {
        let one = rest
            .iter()
            .find(|suite| go_name(suite.suite()).is_some_and(|go| go.contains(&name.as_str())));
        match one {
            Some(suite) => suites.push(*suite),
            None if suites
                .iter()
                .any(|suite| format!("{:?}", suite.suite()).replace("TLS13", "TLS") == **name) => {}
            None if is_weak(name) => {}
            None => {
                return Err(Error::Settings(format!("unexpected TLS cipher suite {name:?}")));
            }
        }
    }
    if names.iter().all(|name| is_weak(name)) {
        return Err(Error::Settings(format!(
            "none of the TLS cipher suites {names:?} is offered, since they are weak or have no \
             forward secrecy: leave them out, or name others beside them"
        )));
    }
    Ok(suites)
}

/// Go has two names for those of `ChaCha20`.
fn go_name(suite: CipherSuite) -> Option<&'static [&'static str]> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are not offered")]
    Some(match suite {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            &["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
            &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => {
            &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            &["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => &[
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ],
        _ => return None,
    })
}
