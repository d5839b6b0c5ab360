//! `--cipher-suites`, by Go's names.

use rustls::{CipherSuite, SupportedCipherSuite, crypto::ring};

use crate::Error;

/// Go's suites that are weak or rest on RSA key exchange: known, and not offered here.
const LEFT_OUT: [&str; 14] = [
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
];
const ALSO_LEFT_OUT: [&str; 2] =
    ["TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"];

/// The suites of these names, in this order, behind those of TLS 1.3, which Go always offers. No
/// name at all stands for every suite.
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
            None if LEFT_OUT.iter().chain(&ALSO_LEFT_OUT).any(|known| known == name) => {
                return Err(Error::Settings(format!(
                    "TLS cipher suite {name:?} is not offered, since it is weak or has no forward \
                     secrecy: leave it out of --cipher-suites"
                )));
            }
            None => {
                return Err(Error::Settings(format!("unexpected TLS cipher suite {name:?}")));
            }
        }
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
