//! Errors as JSON.

use http::StatusCode;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::reply::{self, Reply};

/// `{"error":…,"code":…,"message":…}`: what etcd 3.6 says, and `error`, which clients of 3.5 and earlier
/// look at.
pub(super) fn reply(status: &Status) -> Reply {
    reply::json(http_status(status.code()), value(status).to_string())
}

/// What ends a stream before its first message.
pub(super) fn before_a_stream(status: &Status) -> Reply {
    reply::json(http_status(status.code()), in_stream(status).to_string())
}

/// The same in a stream of messages.
pub(super) fn in_stream(status: &Status) -> Value {
    let http = http_status(status.code());
    json!({ "error": {
        "code": status.code() as i32,
        "grpc_code": status.code() as i32,
        "http_code": http.as_u16(),
        "message": status.message(),
        "http_status": http.canonical_reason().unwrap_or_default(),
    }})
}

fn value(status: &Status) -> Value {
    let (code, message) = (status.code() as i32, status.message());
    json!({ "error": message, "code": code, "message": message })
}

/// As the gateway of the original maps them.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
