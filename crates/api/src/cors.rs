//! `--cors`: pages of which origins may ask, and what their browsers are told.

use http::{HeaderMap, HeaderValue, header};

use crate::reply::Reply;

/// The origin to name in the answer, if this request's is among those allowed.
pub(crate) fn allowed_origin(allowed: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    if allowed.iter().any(|one| one == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let origin = headers.get(header::ORIGIN)?;
    allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Adds what a browser wants to read.
pub(crate) fn allow(mut reply: Reply, origin: Option<HeaderValue>) -> Reply {
    let Some(origin) = origin else { return reply };
    let headers = reply.headers_mut();
    let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let allow = HeaderValue::from_static("accept, content-type, authorization");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allow);
    reply
}
