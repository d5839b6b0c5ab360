//! What can go wrong between a client and a cluster, in the words of etcd's Go client.

use std::fmt;

use base::{Refused, code::message_too_large};
use tonic::{Code, Status};

use super::channel::Lost;
use crate::endpoint::BadEndpoint;

/// A call that did not come to a good end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An address that cannot be used.
    #[error(transparent)]
    Endpoint(#[from] BadEndpoint),
    /// The files of TLS cannot be used.
    #[error("{0}")]
    Tls(String),
    /// A client without any endpoint.
    #[error("at least one Endpoint is required in client config")]
    NoEndpoints,
    /// The server understood the call and refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Time ran out. A write may have been carried out, unless `troubles` say that no endpoint was
    /// reached.
    #[error("context deadline exceeded")]
    Deadline {
        /// One line for each endpoint that could not be asked.
        troubles: Vec<String>,
    },
    /// The connection broke once the call was on its way. A write may have been carried out.
    #[error("rpc error: code = Unavailable desc = {why}")]
    Lost {
        /// With the endpoint.
        why: String,
    },
    /// A request above [`Config::request_bytes_max`](super::Config).
    #[error(
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max \
         ({size} vs. {limit})"
    )]
    TooLarge {
        /// Bytes of the request.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// A watch has asked for a time that is compacted.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// Where history begins.
        revision: i64,
    },
    /// The lease of a session is gone, and what hung on it.
    #[error("{what}: session is expired")]
    SessionExpired {
        /// `mutex` or `election`.
        what: &'static str,
    },
}

impl Error {
    /// Whether the same call may fare better later, or elsewhere.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Deadline { .. } | Self::Lost { .. } => true,
            Self::Refused(refusal) => {
                matches!(refusal.code, Code::Unavailable | Code::ResourceExhausted)
            }
            Self::Endpoint(_)
            | Self::Tls(_)
            | Self::NoEndpoints
            | Self::TooLarge { .. }
            | Self::Compacted { .. }
            | Self::SessionExpired { .. } => false,
        }
    }

    /// Whether it is this refusal of the table.
    pub fn is(&self, refused: Refused) -> bool {
        match self {
            Self::Refused(refusal) => refusal.message == refused.text(),
            Self::Compacted { .. } => refused == Refused::Compacted,
            Self::Endpoint(_)
            | Self::Tls(_)
            | Self::NoEndpoints
            | Self::Deadline { .. }
            | Self::Lost { .. }
            | Self::TooLarge { .. }
            | Self::SessionExpired { .. } => false,
        }
    }
}

/// A server's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// gRPC's.
    pub code: Code,
    /// The server's words.
    pub message: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    /// What etcd says is shown as it is; what others say, as Go's gRPC shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_known = || Refused::ALL.iter().any(|refused| refused.text() == self.message);
        if self.message.starts_with("etcdserver: ") || is_known() {
            return f.write_str(&self.message);
        }
        write!(f, "rpc error: code = {} desc = {}", go_name(self.code), self.message)
    }
}

fn go_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// How one endpoint failed to answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing was sent.
    Unsent(String),
    /// The connection broke.
    Lost(String),
    /// The server said no.
    Refused(Refusal),
}

impl Failed {
    /// What gRPC reports: a server's no has no source, all that goes wrong on the way has one.
    pub(super) fn of(status: &Status) -> Self {
        if let Some(message) = message_too_large(status.message()) {
            return Self::Refused(Refusal { code: Code::ResourceExhausted, message });
        }
        let mut source = std::error::Error::source(status);
        if source.is_none() {
            let message = status.message().to_owned();
            return Self::Refused(Refusal { code: status.code(), message });
        }
        while let Some(this) = source {
            if let Some(lost) = this.downcast_ref::<Lost>().filter(|lost| !lost.was_sent) {
                return Self::Unsent(lost.to_string());
            }
            source = this.source();
        }
        Self::Lost(innermost(status))
    }
}

/// The last of a chain of causes, which says it best.
pub(super) fn innermost(problem: &(dyn std::error::Error + 'static)) -> String {
    let mut last = problem;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_etcd_are_shown_as_they_are_and_others_as_go_shows_them() {
        let said = |code, message: &str| Refusal { code, message: message.to_owned() }.to_string();
        let text = Refused::KeyNotFound.text();
        assert_eq!(said(Code::InvalidArgument, text), text);
        assert_eq!(
            said(Code::Unimplemented, "RangeStream does not support revision filters"),
            "RangeStream does not support revision filters"
        );
        assert_eq!(
            said(Code::Unimplemented, "unknown service v4"),
            "rpc error: code = Unimplemented desc = unknown service v4"
        );
    }

    #[test]
    fn what_was_not_sent_is_told_from_what_broke() {
        let status = |was_sent| {
            let lost = Lost { was_sent, why: "gone".to_owned() };
            Failed::of(&Status::from_error(Box::new(lost)))
        };
        assert!(matches!(status(false), Failed::Unsent(why) if why == "gone"));
        assert!(matches!(status(true), Failed::Lost(why) if why == "gone"));
        let refused = Failed::of(&Status::unavailable("etcdserver: no leader"));
        assert!(matches!(refused, Failed::Refused(refusal) if refusal.code == Code::Unavailable));
    }
}
