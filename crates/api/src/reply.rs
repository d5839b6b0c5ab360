//! How answers are made: Go's plain texts, JSON, and redirects.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{body::ReplyBody, v2::json};

pub(crate) type Reply = Response<ReplyBody>;

pub(crate) const X_ETCD_CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
pub(crate) const X_ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
pub(crate) const X_RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
pub(crate) const X_RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::EMPTY);
    *reply.status_mut() = status;
    reply
}

/// An answer of this content type.
pub(crate) fn whole(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = Response::new(ReplyBody::whole(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Reply {
    whole(status, TEXT, body.into().into_bytes())
}

pub(crate) fn json(status: StatusCode, body: String) -> Reply {
    whole(status, JSON, body)
}

/// `{"message":…}`: how all but the keys API word their errors.
pub(crate) fn message(status: StatusCode, message: &str) -> Reply {
    let mut body = Vec::with_capacity(message.len() + 16);
    body.extend_from_slice(b"{\"message\":");
    json::write_string(&mut body, message.as_bytes());
    body.push(b'}');
    let mut reply = Response::new(ReplyBody::whole(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, JSON);
    reply
}

pub(crate) fn not_found() -> Reply {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// `allow`: comma-separated, as etcd lists them.
pub(crate) fn method_not_allowed(allow: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    if !allow.is_empty() {
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    reply
}

/// Go's redirect to a clean path. `with_body`: the request was a GET or HEAD.
pub(crate) fn moved(location: &str, with_body: bool) -> Reply {
    let mut reply = empty(StatusCode::MOVED_PERMANENTLY);
    if let Ok(location) = HeaderValue::from_str(location) {
        reply.headers_mut().insert(header::LOCATION, location);
    }
    if with_body {
        let href = location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let href = href.replace('"', "&#34;").replace('\'', "&#39;");
        *reply.body_mut() =
            ReplyBody::whole(format!("<a href=\"{href}\">Moved Permanently</a>.\n\n"));
        reply.headers_mut().insert(header::CONTENT_TYPE, HTML);
    }
    reply
}

/// The connection ends after this answer.
pub(crate) fn and_close(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}
