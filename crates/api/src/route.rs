//! From path and method to a handler, with what Go's mux and etcd's CORS do on the way.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use percent_encoding::{percent_decode, percent_encode};

use crate::{
    Offer,
    context::Context,
    cors, escape, gateway, hosts,
    ops::{self, health::Port, profiling::PREFIX},
    reply::{self, Reply},
    v2,
};

/// Where a request came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) offer: Offer,
    /// Through TLS: who calls us by the name of somebody else fails before.
    pub(crate) is_secure: bool,
}

/// Answers a request on a port for clients.
pub(crate) async fn answer(
    context: &Arc<Context>,
    place: Place,
    request: Request<Incoming>,
) -> Reply {
    match place.offer {
        Offer::All | Offer::Http => {}
        Offer::Grpc => {
            let text = "gRPC alone is spoken here: see --listen-client-http-urls\n";
            return reply::text(StatusCode::NOT_FOUND, text);
        }
        Offer::Metrics => return metrics(context, &request).await,
    }
    if !place.is_secure
        && let Some(refused) = hosts::refused(&context.config.hosts, &request)
    {
        return refused;
    }
    let cors = &context.config.cors;
    if cors.is_empty() && request.method() != Method::OPTIONS {
        return answer_plain(context, request).await;
    }
    let allowed = cors::allowed_origin(cors, request.headers());
    let reply = if request.method() == Method::OPTIONS {
        reply::empty(StatusCode::OK)
    } else {
        answer_plain(context, request).await
    };
    cors::allow(reply, allowed)
}

/// The answer to a plain read, if it needs no waiting: see [`v2::keys::answer_now`].
pub(crate) fn answer_now(
    context: &Context,
    place: Place,
    request: &Request<Incoming>,
) -> Option<Reply> {
    let is_plain = *request.method() == Method::GET
        && matches!(place.offer, Offer::All | Offer::Http)
        && context.config.cors.is_empty()
        && (place.is_secure || context.config.hosts.is_empty())
        && request.body().is_end_stream();
    if !is_plain {
        return None;
    }
    let key = plain_key(request.uri().path().as_bytes())?;
    v2::keys::answer_now(context, key, request.uri().query().unwrap_or_default())
}

/// What a port offers that is for those who look after the member.
async fn metrics(context: &Arc<Context>, request: &Request<Incoming>) -> Reply {
    let method = request.method();
    match request.uri().path() {
        "/health" => {
            ops::health::answer(context, Port::Metrics, method, request.uri().query()).await
        }
        "/metrics" => ops::metrics::answer(context, method),
        "/version" => ops::version::answer(&context.handle, method),
        path => {
            let checked = ops::health::check(context, path, method, request.uri().query()).await;
            checked.unwrap_or_else(reply::not_found)
        }
    }
}

async fn answer_plain(context: &Arc<Context>, request: Request<Incoming>) -> Reply {
    let raw = request.uri().path().as_bytes();
    if let Some(key) = plain_key(raw).map(Bytes::copy_from_slice) {
        return v2::keys::answer(context, request, (key, false)).await;
    }
    if escape::has_bad(raw) {
        return reply::text(StatusCode::BAD_REQUEST, "400 Bad Request: bad escape in the path\n");
    }
    let path: Cow<'_, [u8]> = percent_decode(raw).into();
    if !path.starts_with(b"/") {
        return reply::text(StatusCode::BAD_REQUEST, "400 Bad Request: no path\n");
    }
    if !is_clean(&path) {
        return redirect(&path, &request);
    }
    if let Some(key) = path.strip_prefix(b"/v2/keys")
        && (key.is_empty() || key.starts_with(b"/"))
    {
        let (key, slash) = (state::keys::clean(key), key.ends_with(b"/"));
        return v2::keys::answer(context, request, (key, slash)).await;
    }
    let path = Bytes::copy_from_slice(&path);
    other(context, request, &path).await
}

/// The key of a path that needs no decoding and no cleaning, as nearly all do.
fn plain_key(path: &[u8]) -> Option<&[u8]> {
    let key = path.strip_prefix(b"/v2/keys")?;
    let mut before = 0;
    for &byte in key {
        // After a slash, a dot may begin `.` or `..`, and a slash is one too many.
        if byte == b'%' || !byte.is_ascii() || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return None;
        }
        before = byte;
    }
    (key.len() > 1 && key.starts_with(b"/") && before != b'/').then_some(key)
}

async fn other(context: &Arc<Context>, request: Request<Incoming>, path: &[u8]) -> Reply {
    if let Some(rest) = path.strip_prefix(b"/v2/members")
        && (rest.is_empty() || rest.starts_with(b"/"))
    {
        let rest = String::from_utf8_lossy(rest.strip_prefix(b"/").unwrap_or(rest)).into_owned();
        return v2::members::answer(context, request, &rest).await;
    }
    let method = request.method().clone();
    match path {
        b"/v2/machines" => v2::members::machines(context, &method),
        b"/v2/stats/self" => v2::stats::of_self(context, &method),
        b"/v2/stats/leader" => v2::stats::of_leader(context, &method),
        b"/v2/stats/store" => v2::stats::of_store(context, &method),
        b"/version" => ops::version::answer(&context.handle, &method),
        b"/health" => {
            ops::health::answer(context, Port::Clients, &method, request.uri().query()).await
        }
        b"/metrics" => ops::metrics::answer(context, &method),
        b"/debug/vars" => ops::vars::answer(context, &method),
        path if context.config.profiling && path.starts_with(PREFIX.as_bytes()) => {
            let rest = String::from_utf8_lossy(path.get(PREFIX.len()..).unwrap_or_default());
            ops::profiling::answer(context, &rest, &method, request.uri().query()).await
        }
        b"/config/local/log" => ops::log_level::answer(context, request).await,
        #[cfg(feature = "next-version")]
        b"/next/note" => ops::next::note(context, request).await,
        path if path.starts_with(b"/v2/auth/") => v2::auth::answer(context, request, path).await,
        // As Go's mux has it, where something lies below a path.
        b"/v3" if context.config.gateway => redirect(b"/v3/", &request),
        path if context.config.gateway && gateway::has(path) => {
            gateway::answer(context, request, path).await
        }
        path => {
            let path = str::from_utf8(path).unwrap_or_default();
            let checked = ops::health::check(context, path, &method, request.uri().query()).await;
            checked.unwrap_or_else(reply::not_found)
        }
    }
}

fn redirect(path: &[u8], request: &Request<Incoming>) -> Reply {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut location = String::new();
    for segment in &segments {
        location.push('/');
        location.extend(percent_encode(segment, escape::PATH));
    }
    if path.ends_with(b"/") || segments.is_empty() {
        location.push('/');
    }
    if let Some(query) = request.uri().query() {
        location.push('?');
        location.push_str(query);
    }
    reply::moved(&location, matches!(*request.method(), Method::GET | Method::HEAD))
}

/// Whether Go's mux would serve this path as it is: rooted, without empty, `.` or `..` segments,
/// save for a slash at its end.
fn is_clean(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else { return false };
    let rest = rest.strip_suffix(b"/").unwrap_or(rest);
    if rest.is_empty() {
        return path == b"/";
    }
    if memchr::memmem::find(path, b"//").is_none() && memchr::memmem::find(path, b"/.").is_none() {
        return true;
    }
    rest.split(|byte| *byte == b'/').all(|segment| !matches!(segment, b"" | b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_clean_if_go_would_not_redirect() {
        for clean in ["/", "/a", "/a/", "/a/b", "/.a", "/a/..b/", "/a.b"] {
            assert!(is_clean(clean.as_bytes()), "{clean}");
        }
        for unclean in ["", "a", "//", "/a//", "/a//b", "/./a", "/a/.", "/a/..", "/a/../b", "/./"] {
            assert!(!is_clean(unclean.as_bytes()), "{unclean}");
        }
    }

    #[test]
    fn a_plain_key_is_what_decoding_and_cleaning_would_give() {
        for plain in ["/a", "/a/b", "/a.b/c..", "/_h", "/v2/keys"] {
            let path = format!("/v2/keys{plain}");
            assert_eq!(plain_key(path.as_bytes()), Some(plain.as_bytes()));
            assert!(is_clean(path.as_bytes()));
            assert_eq!(state::keys::clean(plain.as_bytes()), plain);
        }
        for other in ["", "/", "x", "/a/", "/a//b", "/.a", "/a/..", "/%61", "/ü"] {
            assert_eq!(plain_key(format!("/v2/keys{other}").as_bytes()), None, "{other}");
        }
        assert_eq!(plain_key(b"/v2/stats/self"), None);
    }
}
