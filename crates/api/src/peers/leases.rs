//! Leases, of which only the leader knows how long they live: what other members ask it.

use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use proto::{
    Message as _,
    between::{LeaseInternalRequest, LeaseInternalResponse},
    etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse},
};
use server::{Handle, KEEP_PATH, LeaseError};

use crate::{
    reply::{self, Reply},
    upload,
};

/// A question has an id or two.
const QUESTION_BYTES_MAX: usize = 1 << 10;

/// Statuses and texts are etcd's.
pub(super) async fn answer(handle: Handle, request: Request<Incoming>) -> Reply {
    let keeps = request.uri().path() == KEEP_PATH;
    let body = match upload::read_up_to(request, QUESTION_BYTES_MAX).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let answered = if keeps {
        let Ok(LeaseKeepAliveRequest { id }) = LeaseKeepAliveRequest::decode(body) else {
            return unreadable();
        };
        let kept = handle.keep_own_lease(id).await;
        kept.map(|ttl| LeaseKeepAliveResponse { header: None, id, ttl }.encode_to_vec())
    } else {
        let asked = LeaseInternalRequest::decode(body).ok();
        let Some(asked) = asked.and_then(|asked| asked.lease_time_to_live_request) else {
            return unreadable();
        };
        let told = handle.own_lease_time_to_live(asked).await.map(Some);
        told.map(|lease_time_to_live_response| {
            LeaseInternalResponse { lease_time_to_live_response }.encode_to_vec()
        })
    };
    match answered {
        Ok(message) => {
            let protobuf = HeaderValue::from_static("application/protobuf");
            reply::whole(StatusCode::OK, protobuf, message)
        }
        Err(why) => reply::text(status(why), format!("{why}\n")),
    }
}

fn unreadable() -> Reply {
    reply::text(StatusCode::BAD_REQUEST, "error unmarshalling request\n")
}

fn status(why: LeaseError) -> StatusCode {
    match why {
        LeaseError::NotFound => StatusCode::NOT_FOUND,
        LeaseError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        LeaseError::Unserved(why) if why.is_timeout() => StatusCode::REQUEST_TIMEOUT,
        LeaseError::NotPrimary | LeaseError::Unserved(_) => StatusCode::BAD_REQUEST,
    }
}
