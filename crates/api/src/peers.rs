//! What the peer port answers: to other members, and to those who look in (proxies, operators).

mod corruption;
mod leases;
mod promotion;

use base::{UnixNanos, version::Minor};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use peer::{Identity, ask};
use server::{
    COMPARE_PATH, DIGEST_PATH, HASH_PATH, Handle, KEEP_PATH, PROMOTE_PATH, TIME_TO_LIVE_PATH,
};

use crate::{
    answering::Answering,
    body::ReplyBody,
    forcing, ops,
    reply::{self, Reply, X_ETCD_CLUSTER_ID},
    v2::{json, members::write_strings},
};

pub(crate) fn answer(handle: &Handle, request: Request<Incoming>) -> Answering {
    if request.uri().path().starts_with("/raft/stream/")
        && let Some(peers) = handle.peers()
    {
        return Answering::now(peers.answer(request).map(ReplyBody::whole));
    }
    let method = request.method();
    Answering::now(match request.uri().path() {
        KEEP_PATH | TIME_TO_LIVE_PATH if *method != Method::POST => {
            reply::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
        }
        path if path == COMPARE_PATH
            || path.starts_with(DIGEST_PATH)
            || path.starts_with(HASH_PATH) =>
        {
            if *method != Method::POST {
                return Answering::now(reply::method_not_allowed("POST"));
            }
            if let Some(refusal) = refusal(handle, &request) {
                return Answering::now(refusal);
            }
            return Answering::Later(Box::pin(corruption::answer(handle.clone(), request)));
        }
        KEEP_PATH | TIME_TO_LIVE_PATH => {
            if let Some(refusal) = refusal(handle, &request) {
                return Answering::now(refusal);
            }
            let handle = handle.clone();
            return Answering::Later(Box::pin(leases::answer(handle, request)));
        }
        path if path.starts_with(PROMOTE_PATH) => {
            if *method != Method::POST {
                return Answering::now(reply::method_not_allowed("POST"));
            }
            if let Some(refusal) = refusal(handle, &request) {
                return Answering::now(refusal);
            }
            let id = path.strip_prefix(PROMOTE_PATH).unwrap_or_default().to_owned();
            return Answering::Later(Box::pin(promotion::answer(handle.clone(), id)));
        }
        "/version" => ops::version::answer(handle, method),
        "/members" | "/raft/probing" if *method != Method::GET => reply::method_not_allowed("GET"),
        "/members" => {
            warn_of_older(handle, Identity::version(request.headers()));
            members(handle)
        }
        "/raft/probing" => probing(handle.clock().wall()),
        _ => reply::not_found(),
    })
}

/// Why a question is not answered that only members may ask.
fn refusal(handle: &Handle, request: &Request<Incoming>) -> Option<Reply> {
    let (status, text) = handle.peers()?.check(request.headers()).err()?;
    if let Some(times) = handle.complain(format!("refused a question: {text}")) {
        let path = request.uri().path();
        let status = status.as_u16();
        tracing::warn!(status, path, times, "refused a question of a peer: {text}");
    }
    Some(reply::text(status, format!("{text}\n")))
}

/// As 2.3.8 lists them between members: ids are numbers.
fn members(handle: &Handle) -> Reply {
    if let Some(told) = handle.forcing() {
        return forcing::reply(&told);
    }
    let mut body = Vec::from(*b"[");
    for (at, member) in handle.reader().members().members.values().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(format!("{{\"id\":{},\"peerURLs\":", member.id.0).as_bytes());
        write_strings(&mut body, &member.peer_urls);
        if !member.name.is_empty() {
            body.extend_from_slice(b",\"name\":");
            json::write_string(&mut body, member.name.as_bytes());
        }
        if !member.client_urls.is_empty() {
            body.extend_from_slice(b",\"clientURLs\":");
            write_strings(&mut body, &member.client_urls);
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"]\n");
    let mut reply = reply::json(StatusCode::OK, String::from_utf8_lossy(&body).into_owned());
    let mut tell = |header, text: String| {
        if let Ok(text) = HeaderValue::from_str(&text) {
            reply.headers_mut().insert(header, text);
        }
    };
    tell(X_ETCD_CLUSTER_ID, handle.cluster_id().to_string());
    let version = handle.reader().cluster_version().map(Minor::in_full).unwrap_or_default();
    tell(HeaderName::from_static(ask::CLUSTER_VERSION), version);
    if let Some(leader) = handle.status().leader {
        tell(HeaderName::from_static(ask::LEADER), leader.to_string());
    }
    reply
}

/// Who asks is about to become a member, and finds out itself that its build is too old.
fn warn_of_older(handle: &Handle, version: &str) {
    let cluster = handle.reader().cluster_version();
    if let (Some(asker), Some(cluster)) = (Minor::parse(version), cluster)
        && asker < cluster
        && let Some(times) = handle.complain(format!("a member of version {asker} asks"))
    {
        tracing::warn!(
            times,
            "a member of version {asker} asks for the members: it cannot join, the cluster is at \
             {cluster}; start a build of {cluster} there"
        );
    }
}

fn probing(now: UnixNanos) -> Reply {
    let mut body = Vec::from(*b"{\"OK\":true,\"Now\":\"");
    json::write_time(&mut body, now);
    body.extend_from_slice(b"\"}\n");
    reply::text(StatusCode::OK, String::from_utf8_lossy(&body).into_owned())
}
