//! How the JSON gateway of 3.6 answers: numbers of 64 bits are strings, and zeros are left out.

use base::code::{Grpc, Rpc};
use http::StatusCode;
use serde_json::json;
use server::{Handle, Unserved};

use crate::reply::{self, Reply};

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Grpc,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Grpc, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<Rpc> for Failure {
    fn from(rpc: Rpc) -> Self {
        Self::new(rpc.grpc(), rpc.message())
    }
}

impl From<Unserved> for Failure {
    fn from(why: Unserved) -> Self {
        let code = match why {
            Unserved::TooManyRequests => Grpc::ResourceExhausted,
            Unserved::TooLarge => Grpc::InvalidArgument,
            Unserved::NotEnoughStarted
            | Unserved::LastVoter
            | Unserved::NotAllCan
            | Unserved::NotLeader
            | Unserved::LearnerNotReady => Grpc::FailedPrecondition,
            Unserved::Unhealthy
            | Unserved::Timeout
            | Unserved::TimeoutLeaderFailed
            | Unserved::NoLeader
            | Unserved::Stopped => Grpc::Unavailable,
        };
        Self::new(code, why.to_string())
    }
}

pub(crate) fn failed(failure: &Failure) -> Reply {
    let body = json!({ "code": failure.code.number(), "message": failure.message });
    let status = StatusCode::from_u16(failure.code.http_status());
    reply::json(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.to_string())
}

/// The header of a response, and what else it has, in the order of the original's fields.
pub(crate) fn done(handle: &Handle, rest: &[(&str, &str)]) -> Reply {
    let header = [
        ("cluster_id", handle.cluster_id().0),
        ("member_id", handle.member_id().0),
        ("revision", handle.reader().store().revision().unsigned_abs()),
        ("raft_term", handle.status().term.0),
    ];
    let present = header.iter().filter(|(_, number)| *number != 0);
    let header: Vec<_> = present.map(|(name, number)| format!("\"{name}\":\"{number}\"")).collect();
    let mut fields = vec![format!("\"header\":{{{}}}", header.join(","))];
    fields.extend(rest.iter().map(|(name, text)| format!("\"{name}\":{}", json!(text))));
    reply::json(StatusCode::OK, format!("{{{}}}", fields.join(",")))
}
