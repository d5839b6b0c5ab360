//! What can go wrong between a client and a cluster.

use std::{
    fmt::{self, Write as _},
    io,
    time::Duration,
};

use crate::endpoint::{BadEndpoint, Endpoint};

/// A request that did not come to a good end. The texts are those of etcd's Go client 2.3.8,
/// which scripts look for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that cannot be used.
    #[error(transparent)]
    Endpoint(#[from] BadEndpoint),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A client without any endpoint, or a cluster that publishes none that can be used.
    #[error("client: no endpoints available")]
    NoEndpoints,
    /// No endpoint served the request.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The total timeout passed. A write may have been carried out.
    #[error("context deadline exceeded")]
    DeadlineExceeded {
        /// The limit that passed.
        after: Duration,
    },
    /// etcd understood the request and refused it.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The members or statistics API refused the request.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's words, or the status in ours.
        message: String,
    },
    /// The answer is not etcd's.
    #[error(
        "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint."
    )]
    Malformed {
        /// What was wrong with it, for a log.
        reason: String,
    },
}

impl Error {
    /// The refusal, if etcd itself refused.
    pub fn etcd(&self) -> Option<&EtcdError> {
        if let Self::Etcd(refusal) = self { Some(refusal) } else { None }
    }

    /// Whether the cluster could not be reached at all: nobody listens, the network is cut, or
    /// nobody answered in time.
    pub fn is_connection(&self) -> bool {
        match self {
            Self::Unavailable(unavailable) => {
                unavailable.attempts.iter().all(Attempt::is_connection)
            }
            Self::DeadlineExceeded { .. } => true,
            Self::Endpoint(_)
            | Self::Tls(_)
            | Self::NoEndpoints
            | Self::Etcd(_)
            | Self::Refused { .. }
            | Self::Malformed { .. } => false,
        }
    }
}

/// The v2 API's own error body, e.g. `100: Key not found (/x) [5]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Deserialize)]
#[error("{code}: {message} ({cause}) [{index}]")]
pub struct EtcdError {
    /// The number of `base::Code`; others come from servers that know more.
    #[serde(rename = "errorCode")]
    pub code: u16,
    /// The text that belongs to the number.
    pub message: String,
    /// What it is about: mostly a key.
    #[serde(default)]
    pub cause: String,
    /// The store's index when it was refused.
    #[serde(default)]
    pub index: u64,
}

/// Every endpoint that was asked, and how each failed.
#[derive(Debug, thiserror::Error)]
#[error("client: etcd cluster is unavailable or misconfigured")]
pub struct Unavailable {
    /// In the order in which they were asked; never empty.
    pub attempts: Vec<Attempt>,
}

impl Unavailable {
    /// One line for each attempt: `error #0: dial tcp 127.0.0.1:2379: …`.
    pub fn detail(&self) -> String {
        let mut lines = String::new();
        for (number, attempt) in self.attempts.iter().enumerate() {
            // Writing to a String does not fail.
            writeln!(lines, "error #{number}: {attempt}").ok();
        }
        lines
    }
}

/// One endpoint's failure to serve a request.
#[derive(Debug)]
pub struct Attempt {
    /// Who was asked.
    pub endpoint: Endpoint,
    /// What happened.
    pub kind: AttemptKind,
}

/// The ways in which an endpoint fails to serve.
#[derive(Debug)]
pub enum AttemptKind {
    /// No connection came about: nothing was sent.
    Connect(io::Error),
    /// The connection came to nothing after the request was on its way.
    Broken(String),
    /// The head of the answer did not come in time.
    HeaderTimeout,
    /// A 5xx answer.
    Server {
        /// The HTTP status.
        status: u16,
        /// The body's message, if there was one.
        message: Option<String>,
    },
    /// The answer's body is larger than this client takes.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl Attempt {
    fn is_connection(&self) -> bool {
        match self.kind {
            AttemptKind::Connect(_) | AttemptKind::HeaderTimeout | AttemptKind::Broken(_) => true,
            AttemptKind::Server { .. } | AttemptKind::TooLarge { .. } => false,
        }
    }

    /// Whether the request may have been carried out all the same. 503 is what a member says
    /// that took nothing: it has no leader, or more to do than it can.
    pub(crate) fn may_be_applied(&self) -> bool {
        match self.kind {
            AttemptKind::Connect(_) | AttemptKind::Server { status: 503, .. } => false,
            AttemptKind::Broken(_)
            | AttemptKind::HeaderTimeout
            | AttemptKind::Server { .. }
            | AttemptKind::TooLarge { .. } => true,
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.endpoint;
        match &self.kind {
            AttemptKind::Connect(source) => {
                write!(f, "dial {}: {}", endpoint.address(), cause(source))
            }
            AttemptKind::Broken(reason) => f.write_str(reason),
            AttemptKind::HeaderTimeout => {
                write!(f, "client: endpoint {endpoint} exceeded header timeout")
            }
            AttemptKind::Server { message: Some(message), .. } => {
                write!(f, "client: etcd member {endpoint} returns server error [{message}]")
            }
            AttemptKind::Server { status: 500 | 503, message: None } => {
                write!(f, "client: etcd member {endpoint} has no leader")
            }
            AttemptKind::Server { status, message: None } => {
                let reason = http::StatusCode::from_u16(*status).ok();
                let reason = reason.and_then(|status| status.canonical_reason()).unwrap_or("");
                write!(f, "client: etcd member {endpoint} returns server error [{reason}]")
            }
            AttemptKind::TooLarge { limit } => {
                write!(f, "client: endpoint {endpoint} sent an answer of more than {limit} bytes")
            }
        }
    }
}

/// An error of the system in Go's words, which scripts grep for: `connect: connection refused`.
fn cause(source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::TimedOut {
        return "i/o timeout".to_owned();
    }
    let text = source.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    let lower = letters.next().map(|first| first.to_lowercase().chain(letters).collect::<String>());
    match (source.raw_os_error(), lower) {
        (Some(_), Some(text)) => format!("connect: {text}"),
        (_, text) => text.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(kind: AttemptKind) -> Attempt {
        Attempt { endpoint: "http://127.0.0.1:1".parse().expect("endpoint"), kind }
    }

    #[test]
    fn the_texts_are_those_that_scripts_look_for() {
        let refused = io::Error::from_raw_os_error(111);
        let server = |status, message: Option<&str>| AttemptKind::Server {
            status,
            message: message.map(str::to_owned),
        };
        for (kind, text) in [
            (AttemptKind::Connect(refused), "dial tcp 127.0.0.1:1: connect: connection refused"),
            (
                AttemptKind::Connect(io::ErrorKind::TimedOut.into()),
                "dial tcp 127.0.0.1:1: i/o timeout",
            ),
            (
                AttemptKind::HeaderTimeout,
                "client: endpoint http://127.0.0.1:1 exceeded header timeout",
            ),
            (server(503, None), "client: etcd member http://127.0.0.1:1 has no leader"),
            (
                server(502, None),
                "client: etcd member http://127.0.0.1:1 returns server error [Bad Gateway]",
            ),
            (
                server(503, Some("too many requests")),
                "client: etcd member http://127.0.0.1:1 returns server error [too many requests]",
            ),
        ] {
            assert_eq!(attempt(kind).to_string(), text);
        }
    }

    #[test]
    fn details_number_the_attempts() {
        let attempts = vec![
            attempt(AttemptKind::Connect(io::Error::from_raw_os_error(111))),
            attempt(AttemptKind::Broken("EOF".to_owned())),
        ];
        let all = Unavailable { attempts };
        assert_eq!(all.to_string(), "client: etcd cluster is unavailable or misconfigured");
        assert_eq!(
            all.detail(),
            "error #0: dial tcp 127.0.0.1:1: connect: connection refused\nerror #1: EOF\n"
        );
    }
}
