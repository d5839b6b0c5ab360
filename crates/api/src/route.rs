//! From path and method to a handler, with what Go's mux and etcd's CORS do on the way.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::body::{Body as _, Incoming};
use percent_encoding::{percent_decode, percent_encode};

use crate::{
    Offer,
    audit::{HTTP, Trail, V2},
    auth::Claim,
    context::Context,
    cors, escape, gateway, hosts,
    ops::{self, health::Port},
    reply::{self, Reply},
    slow::{self, Times},
    v2,
};

/// Below it are the keys of v2.
const KEYS: &[u8] = b"/v2/keys";

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
    let query = request.uri().query().unwrap_or_default();
    v2::keys::answer_now(context, key, (query, Claim::is_in(request.headers())))
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
    let Some(trail) = Trail::of(request.extensions()) else {
        return answer_any(context, request).await;
    };
    let reply = answer_any(context, request).await;
    trail.answered(reply.status());
    reply
}

/// What is said of a path, decoded, in the audit log; the key is not said here.
fn note(request: &Request<Incoming>, path: &[u8]) {
    let below = |prefix: &str| path.starts_with(prefix.as_bytes());
    let api = match () {
        () if below("/v2/") => V2,
        // What operators look at all day long is of no interest.
        () if below("/config/") || below("/debug/pprof/") => HTTP,
        () => return,
    };
    if let Some(trail) = Trail::of(request.extensions()) {
        trail.is_of_http(api, request.method(), &String::from_utf8_lossy(path));
    }
}

async fn answer_any(context: &Arc<Context>, request: Request<Incoming>) -> Reply {
    let raw = request.uri().path().as_bytes();
    if let Some(key) = plain_key(raw).map(Bytes::copy_from_slice) {
        note(&request, KEYS);
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
    let is_key = matches!(Endpoint::find(&path), Some((Endpoint::Keys, _)));
    note(&request, if is_key { KEYS } else { &path });
    let path = Bytes::copy_from_slice(&path);
    other(context, request, &path).await
}

/// The key of a path that needs no decoding and no cleaning, as nearly all do.
fn plain_key(path: &[u8]) -> Option<&[u8]> {
    let key = path.strip_prefix(KEYS)?;
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

/// What is served over HTTP besides the gateway, whose methods are those of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Keys,
    Members,
    Machines,
    StatsOfSelf,
    StatsOfLeader,
    StatsOfStore,
    Users,
    Version,
    Health,
    Checks,
    Metrics,
    Vars,
    LogLevel,
    Profiles,
    #[cfg(feature = "next-version")]
    Note,
}

/// All of them: a path, and whether what lies below it belongs to it. Whoever adds one says in the
/// test `every_endpoint_asks_who_asks` who may ask there.
const ENDPOINTS: &[(&str, bool, Endpoint)] = &[
    ("/v2/keys", true, Endpoint::Keys),
    ("/v2/members", true, Endpoint::Members),
    ("/v2/machines", false, Endpoint::Machines),
    ("/v2/stats/self", false, Endpoint::StatsOfSelf),
    ("/v2/stats/leader", false, Endpoint::StatsOfLeader),
    ("/v2/stats/store", false, Endpoint::StatsOfStore),
    ("/v2/auth/enable", true, Endpoint::Users),
    ("/v2/auth/users", true, Endpoint::Users),
    ("/v2/auth/roles", true, Endpoint::Users),
    ("/version", false, Endpoint::Version),
    ("/health", false, Endpoint::Health),
    ("/livez", true, Endpoint::Checks),
    ("/readyz", true, Endpoint::Checks),
    ("/metrics", false, Endpoint::Metrics),
    ("/debug/vars", false, Endpoint::Vars),
    ("/debug/pprof", true, Endpoint::Profiles),
    ("/config/local/log", false, Endpoint::LogLevel),
    #[cfg(feature = "next-version")]
    ("/next/note", false, Endpoint::Note),
];

/// The paths of all that is served over HTTP besides the gateway, without what lies below them.
pub fn endpoints() -> impl Iterator<Item = &'static str> {
    ENDPOINTS.iter().map(|(path, ..)| *path)
}

impl Endpoint {
    /// What is served at this path, and what of it lies below.
    fn find(path: &[u8]) -> Option<(Self, &[u8])> {
        ENDPOINTS.iter().find_map(|(at, has_more, endpoint)| {
            let rest = path.strip_prefix(at.as_bytes())?;
            let fits = rest.is_empty() || (*has_more && rest.starts_with(b"/"));
            fits.then_some((*endpoint, rest))
        })
    }
}

async fn other(context: &Arc<Context>, request: Request<Incoming>, path: &[u8]) -> Reply {
    let method = request.method().clone();
    let query = request.uri().query();
    let Some((endpoint, rest)) = Endpoint::find(path) else {
        return match path {
            // As Go's mux has it, where something lies below a path.
            b"/v3" if context.config.gateway => redirect(b"/v3/", &request),
            path if context.config.gateway && gateway::has(path) => {
                gateway::answer(context, request, path).await
            }
            _ => reply::not_found(),
        };
    };
    match endpoint {
        Endpoint::Keys => {
            let (key, slash) = (state::keys::clean(rest), rest.ends_with(b"/"));
            v2::keys::answer(context, request, (key, slash)).await
        }
        Endpoint::Members => {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            let rest = String::from_utf8_lossy(rest).into_owned();
            let times = Times::begin();
            let reply = v2::members::answer(context, request, &rest).await;
            slow::v2(context, (&method, path), &times, reply.status());
            reply
        }
        Endpoint::Machines => v2::members::machines(context, &method),
        Endpoint::StatsOfSelf => v2::stats::of_self(context, &method),
        Endpoint::StatsOfLeader => v2::stats::of_leader(context, &method),
        Endpoint::StatsOfStore => v2::stats::of_store(context, &method),
        Endpoint::Users => {
            let times = Times::begin();
            let reply = v2::auth::answer(context, request, path).await;
            slow::v2(context, (&method, path), &times, reply.status());
            reply
        }
        Endpoint::Version => ops::version::answer(&context.handle, &method),
        Endpoint::Health => ops::health::answer(context, Port::Clients, &method, query).await,
        Endpoint::Checks => {
            let path = str::from_utf8(path).unwrap_or_default();
            let checked = ops::health::check(context, path, &method, query).await;
            checked.unwrap_or_else(reply::not_found)
        }
        Endpoint::Metrics => ops::metrics::answer(context, &method),
        Endpoint::Vars => ops::vars::answer(context, &method),
        // Go's mux has it with a slash.
        Endpoint::Profiles if context.config.profiling && !rest.is_empty() => {
            let rest = String::from_utf8_lossy(rest.get(1..).unwrap_or_default());
            ops::profiling::answer(context, &rest, &method, query).await
        }
        Endpoint::Profiles => reply::not_found(),
        Endpoint::LogLevel => ops::log_level::answer(context, request).await,
        #[cfg(feature = "next-version")]
        Endpoint::Note => ops::next::note(context, request).await,
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
