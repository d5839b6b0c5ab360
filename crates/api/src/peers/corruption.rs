//! What members ask one another to find out whether they have the same.

use base::Index;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use server::{COMPARE_PATH, DIGEST_PATH, HASH_PATH, Handle};

use crate::{
    reply::{self, Reply},
    upload,
};

/// A question is a word.
const QUESTION_BYTES_MAX: usize = 1 << 10;

pub(super) async fn answer(handle: Handle, request: Request<Incoming>) -> Reply {
    let path = request.uri().path();
    if path == COMPARE_PATH {
        return match upload::read_up_to(request, QUESTION_BYTES_MAX).await {
            Ok(body) => {
                handle.compare_soon(!body.is_empty());
                reply::empty(StatusCode::NO_CONTENT)
            }
            Err(reply) => reply,
        };
    }
    let number = |prefix: &str| path.strip_prefix(prefix).and_then(|text| text.parse::<u64>().ok());
    if let Some(index) = number(DIGEST_PATH) {
        return reply::text(StatusCode::OK, handle.tell_digest(Index(index)));
    }
    match number(HASH_PATH).and_then(|revision| i64::try_from(revision).ok()) {
        Some(revision) => reply::text(StatusCode::OK, handle.tell_hash(revision).await),
        None => reply::not_found(),
    }
}
