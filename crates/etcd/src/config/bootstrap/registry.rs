//! `--discovery-token` and `--discovery-endpoints`: a token at a cluster that is asked by API 3.

use std::time::Duration;

use client::{Credentials, v3};
use tls::Settings;

use super::{Given, Refusal};

/// Flags that count only where there are endpoints.
const DETAILS: [&str; 11] = [
    "discovery-dial-timeout",
    "discovery-request-timeout",
    "discovery-keepalive-time",
    "discovery-keepalive-timeout",
    "discovery-insecure-transport",
    "discovery-insecure-skip-tls-verify",
    "discovery-cert",
    "discovery-key",
    "discovery-cacert",
    "discovery-user",
    "discovery-password",
];

/// A token at a cluster that is asked by API 3, and how to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registry {
    pub(crate) token: String,
    /// URLs, or `host:port`.
    pub(crate) endpoints: Vec<String>,
    pub(crate) request_timeout: Duration,
    dial_timeout: Duration,
    keepalive_time: Duration,
    keepalive_timeout: Duration,
    tls: Option<Settings>,
    credentials: Option<Credentials>,
}

impl Registry {
    pub(crate) fn client(&self) -> Result<v3::Client, v3::Error> {
        let config = v3::Config {
            dial_timeout: self.dial_timeout,
            keepalive_time: self.keepalive_time,
            keepalive_timeout: self.keepalive_timeout,
            tls: self.tls.clone(),
            credentials: self.credentials.clone(),
            ..v3::Config::default()
        };
        v3::Client::new(&self.endpoints, config)
    }
}

/// What was given, if anything.
pub(super) fn read(given: &mut Given) -> Result<Option<Registry>, Refusal> {
    let (token, endpoints) = (given.text("discovery-token"), given.text("discovery-endpoints"));
    if token.is_empty() != endpoints.is_empty() {
        return refuse("both --discovery-token and --discovery-endpoints must be set");
    }
    if token.is_empty() {
        for flag in DETAILS {
            if given.is_set(flag) {
                let shown = given.show(flag);
                given.warn(format!("{shown} has no effect without --discovery-endpoints"));
            }
        }
        return Ok(None);
    }
    let endpoints: Vec<_> = endpoints.split(',').map(|one| one.trim().to_owned()).collect();
    if endpoints.iter().any(String::is_empty) {
        return refuse("--discovery-endpoints must not contain empty endpoints");
    }
    Ok(Some(Registry {
        token: token.to_owned(),
        endpoints,
        request_timeout: given.duration("discovery-request-timeout"),
        dial_timeout: given.duration("discovery-dial-timeout"),
        keepalive_time: given.duration("discovery-keepalive-time"),
        keepalive_timeout: given.duration("discovery-keepalive-timeout"),
        tls: tls(given)?,
        credentials: credentials(given),
    }))
}

/// As etcdctl reads these: nothing that asks for TLS means none.
fn tls(given: &Given) -> Result<Option<Settings>, Refusal> {
    let file = |flag: &str| Some(given.text(flag)).filter(|path| !path.is_empty()).map(Into::into);
    let settings = Settings {
        cert_file: file("discovery-cert"),
        key_file: file("discovery-key"),
        trusted_ca_file: file("discovery-cacert"),
        insecure_skip_verify: given.switch("discovery-insecure-skip-tls-verify"),
        ..Settings::default()
    };
    if settings == Settings::default() && given.switch("discovery-insecure-transport") {
        return Ok(None);
    }
    settings.check().map_err(|error| Refusal::Conflict(format!("--discovery-cert: {error}")))?;
    Ok(Some(settings))
}

fn credentials(given: &Given) -> Option<Credentials> {
    let (user, password) = (given.text("discovery-user"), given.text("discovery-password"));
    let (user, password) = match user.split_once(':') {
        Some((user, inside)) if password.is_empty() => (user, inside),
        Some(_) | None => (user, password),
    };
    let is_whole = !user.is_empty() && !password.is_empty();
    is_whole.then(|| Credentials { username: user.to_owned(), password: password.to_owned() })
}

fn refuse<T>(text: &str) -> Result<T, Refusal> {
    Err(Refusal::Conflict(text.to_owned()))
}
