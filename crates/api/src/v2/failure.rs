//! Errors of the keys API.

use base::{Code, Refused};
use http::{HeaderValue, Response, StatusCode, header};
use server::Unserved;
use state::{
    keys::{self, Failure},
    kv,
};

use super::json;
use crate::{
    auth::Denied,
    body::ReplyBody,
    context::Context,
    reply::{JSON, Reply, X_ETCD_CLUSTER_ID, X_ETCD_INDEX},
};

/// A request whose form is wrong: 2.3.8 shows index 0 then.
pub(crate) fn form(code: Code, cause: impl Into<String>) -> Failure {
    Failure { code, cause: cause.into(), index: 0 }
}

pub(crate) fn answer(context: &Context, failure: &Failure) -> Reply {
    let status = StatusCode::from_u16(failure.code.http_status());
    answer_with(context, failure, status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

/// What became of a request that got no answer of its own: code 300.
pub(crate) fn unserved(context: &Context, why: Unserved) -> Reply {
    answer_with(context, &form(Code::RaftInternal, why.to_string()), status(why))
}

/// What the cluster does not carry out, through whichever API: code 300.
pub(crate) fn refused(context: &Context, refused: Refused) -> Reply {
    let has_no_space = refused == Refused::NoSpace;
    let status = if has_no_space {
        StatusCode::INSUFFICIENT_STORAGE
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    answer_with(context, &form(Code::RaftInternal, refused.text()), status)
}

/// Whoever asks is not let in.
pub(crate) fn denied(context: &Context, why: Denied) -> Reply {
    match why {
        Denied::Credentials => {
            answer(context, &form(Code::Unauthorized, Denied::Credentials.text()))
        }
        Denied::Crowded => unserved(context, Unserved::TooManyRequests),
        Denied::Stopped => unserved(context, Unserved::Stopped),
    }
}

/// There is no room for the answer: nothing was done.
pub(crate) fn unread(context: &Context, error: &kv::Error) -> Reply {
    let status = match error {
        kv::Error::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
        kv::Error::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    answer_with(context, &form(Code::RaftInternal, error.to_string()), status)
}

/// 503 asks to come again, here or elsewhere: nothing was done.
pub(crate) fn status(why: Unserved) -> StatusCode {
    match why {
        Unserved::TooManyRequests | Unserved::LeaderChanged | Unserved::Stopped => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Unserved::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Unserved::Timeout
        | Unserved::TimeoutLeaderFailed
        | Unserved::TimeoutConnectionLost
        | Unserved::TimeoutWaitAppliedIndex
        | Unserved::NoLeader
        | Unserved::NotEnoughStarted
        | Unserved::Unhealthy
        | Unserved::NotAllCan
        | Unserved::LastVoter
        | Unserved::NotLeader
        | Unserved::LearnerNotReady => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A read's error.
pub(crate) fn read(context: &Context, error: &keys::Error) -> Reply {
    match error {
        keys::Error::Refused(failure) => answer(context, failure),
        keys::Error::Read(error) => answer(context, &form(Code::RaftInternal, error.to_string())),
    }
}

fn answer_with(context: &Context, failure: &Failure, status: StatusCode) -> Reply {
    let mut body = Vec::with_capacity(96 + failure.cause.len());
    json::write_failure(&mut body, failure);
    let mut reply = Response::new(ReplyBody::whole(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(X_ETCD_CLUSTER_ID, context.cluster_id.clone());
    headers.insert(X_ETCD_INDEX, HeaderValue::from(failure.index));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_is_503_and_a_timeout_500() {
        let check = |why, expected| assert_eq!(status(why).as_u16(), expected, "{why:?}");
        check(Unserved::TooManyRequests, 503);
        check(Unserved::Stopped, 503);
        check(Unserved::LeaderChanged, 503);
        check(Unserved::TooLarge, 413);
        check(Unserved::Timeout, 500);
        check(Unserved::TimeoutLeaderFailed, 500);
        check(Unserved::TimeoutConnectionLost, 500);
        check(Unserved::NoLeader, 500);
    }
}
