//! Where a cluster is, by the SRV records of a domain: `_etcd-client-ssl._tcp`, `_etcd-client._tcp`,
//! and for members `_etcd-server-ssl._tcp`, `_etcd-server._tcp`.
//!
//! ```no_run
//! # async fn demo() -> Result<(), client::srv::SrvError> {
//! let found = client::srv::endpoints("example.com", "").await?;
//! let urls: Vec<String> = found.iter().map(|target| target.url()).collect();
//! # Ok(())
//! # }
//! ```

mod dns;
mod order;

use std::fmt;

/// A record: where somebody serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// It came from the service with `-ssl`: https.
    pub secure: bool,
    /// A host name in lower case, without a dot at its end.
    pub host: String,
    pub port: u16,
    /// Lower ones are to be asked first.
    pub priority: u16,
    /// Among those of one priority, how many of the requests are to go here.
    pub weight: u16,
}

impl Target {
    /// `http://host:port` or `https://host:port`.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

/// One of the two look-ups failed: `lookup _etcd-client._tcp.example.com on 10.0.0.2:53: no such
/// host`, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupError {
    /// The name that was asked for.
    pub name: String,
    /// Those who were asked, with commas between; empty if it did not come to that.
    pub servers: String,
    pub reason: Reason,
}

/// Why a look-up failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such record, as far as the name servers know.
    Absent,
    /// Nobody could be asked; another time it may work.
    Unanswered(String),
    /// What was asked for, or what came back, cannot be right.
    Bad(String),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lookup {}", self.name)?;
        if !self.servers.is_empty() {
            write!(f, " on {}", self.servers)?;
        }
        match &self.reason {
            Reason::Absent => f.write_str(": no such host"),
            Reason::Unanswered(why) | Reason::Bad(why) => write!(f, ": {why}"),
        }
    }
}

/// Why a domain does not tell where its cluster is. One line, in the words of etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrvError {
    /// Neither service is there, or neither look-up was answered.
    #[error("dns lookup errors: {0} and {1}")]
    Both(LookupError, LookupError),
    /// One look-up failed, and what the other says may be but half of the truth.
    #[error("dns lookup error: {0}")]
    One(LookupError),
}

impl SrvError {
    /// Whether to ask again later makes sense.
    pub fn is_temporary(&self) -> bool {
        let temporary = |error: &LookupError| matches!(error.reason, Reason::Unanswered(_));
        match self {
            Self::Both(one, other) => temporary(one) || temporary(other),
            Self::One(error) => temporary(error),
        }
    }
}

/// Where clients reach the cluster of this domain, in the order in which to ask (RFC 2782: by
/// priority, and at random by weight). `name` is that of `--discovery-srv-name`, mostly empty.
///
/// A client is content with what one of the two services has.
pub async fn endpoints(domain: &str, name: &str) -> Result<Vec<Target>, SrvError> {
    match both("etcd-client", domain, name).await {
        (Ok(secure), Ok(plain)) => Ok(joined(secure, plain)),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(one), Err(other)) => Err(SrvError::Both(one, other)),
    }
}

/// Where the members of the cluster of this domain reach each other.
///
/// All members of a new cluster must find the same: a look-up that failed for any other reason than
/// that there is no such record is an error, though the other may have found somebody.
pub async fn peers(domain: &str, name: &str) -> Result<Vec<Target>, SrvError> {
    let absent = |error: &LookupError| error.reason == Reason::Absent;
    match both("etcd-server", domain, name).await {
        (Ok(secure), Ok(plain)) => Ok(joined(secure, plain)),
        (Ok(found), Err(error)) | (Err(error), Ok(found)) if absent(&error) => Ok(found),
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => Err(SrvError::One(error)),
        (Err(one), Err(other)) => Err(SrvError::Both(one, other)),
    }
}

type Found = Result<Vec<Target>, LookupError>;

async fn both(service: &str, domain: &str, name: &str) -> (Found, Found) {
    let label = |ssl: &str| {
        let suffix = if name.is_empty() { String::new() } else { format!("-{name}") };
        format!("_{service}{ssl}{suffix}._tcp.{domain}")
    };
    let (secure, plain) = (label("-ssl"), label(""));
    tokio::join!(one(&secure, true), one(&plain, false))
}

async fn one(name: &str, secure: bool) -> Found {
    let mut found = dns::targets(name, secure).await?;
    order::arrange(&mut found, |below| fastrand::u32(0..below));
    Ok(found)
}

fn joined(mut secure: Vec<Target>, plain: Vec<Target>) -> Vec<Target> {
    secure.extend(plain);
    secure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_in_gos_words() {
        let error = |servers: &str, reason| LookupError {
            name: "_etcd-client._tcp.a.test".to_owned(),
            servers: servers.to_owned(),
            reason,
        };
        let absent = error("10.0.0.2:53", Reason::Absent);
        let text = "lookup _etcd-client._tcp.a.test on 10.0.0.2:53: no such host";
        assert_eq!(absent.to_string(), text);
        let late = error("", Reason::Unanswered("i/o timeout".to_owned()));
        assert_eq!(late.to_string(), "lookup _etcd-client._tcp.a.test: i/o timeout");
        let both = SrvError::Both(absent.clone(), late.clone());
        assert_eq!(both.to_string(), format!("dns lookup errors: {absent} and {late}"));
        assert!(both.is_temporary() && !SrvError::Both(absent.clone(), absent).is_temporary());
        let bad = error("", Reason::Bad("too long".to_owned()));
        assert!(!SrvError::One(bad).is_temporary() && SrvError::One(late).is_temporary());
    }
}
