//! `--tls-min-version` and `--tls-max-version`.

use rustls::{SupportedProtocolVersion, version};

use crate::Error;

pub(crate) const TLS_1_3: &str = "TLS1.3";
const TLS_1_2: &str = "TLS1.2";

static ONLY_1_2: [&SupportedProtocolVersion; 1] = [&version::TLS12];
static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];
static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// The versions from `min` to `max`; an empty one is no bound.
pub(crate) fn between(
    min: &str,
    max: &str,
) -> Result<&'static [&'static SupportedProtocolVersion], Error> {
    match (parse(min)?.unwrap_or(2), parse(max)?.unwrap_or(3)) {
        (2, 2) => Ok(&ONLY_1_2),
        (3, 3) => Ok(&ONLY_1_3),
        (2, 3) => Ok(&BOTH),
        _ => {
            Err(Error::Settings(format!("min version ({min}) is greater than max version ({max})")))
        }
    }
}

fn parse(text: &str) -> Result<Option<u8>, Error> {
    match text {
        "" => Ok(None),
        TLS_1_2 => Ok(Some(2)),
        TLS_1_3 => Ok(Some(3)),
        _ => Err(Error::Settings(format!(
            "unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)"
        ))),
    }
}
