//! `/v2/members` and `/v2/machines`: who the members are.
//!
//! Adding and removing them comes with the cluster; requests for it are checked as etcd does, and
//! then refused.

use base::MemberId;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use state::membership::Member;

use super::{json, upload};
use crate::{
    context::Context,
    reply::{self, Reply, X_ETCD_CLUSTER_ID},
};

const LATER: &str = "changing members is not supported yet: this cluster has one member";

/// `rest`: what follows `/v2/members/`.
pub(crate) async fn answer(context: &Context, request: Request<Incoming>, rest: &str) -> Reply {
    let mut reply = match *request.method() {
        Method::GET => get(context, rest),
        Method::POST => match peer_urls(request).await {
            Ok(_) => reply::message(StatusCode::NOT_IMPLEMENTED, LATER),
            Err(reply) => reply,
        },
        Method::PUT | Method::DELETE => change(context, request, rest).await,
        _ => return reply::method_not_allowed("GET,POST,DELETE,PUT"),
    };
    reply.headers_mut().insert(X_ETCD_CLUSTER_ID, context.cluster_id.clone());
    reply
}

/// `/v2/machines`: all client URLs.
pub(crate) fn machines(context: &Context, method: &Method) -> Reply {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return reply::method_not_allowed("GET,HEAD");
    }
    let members = context.handle.reader().members();
    let mut urls: Vec<&str> = members
        .members
        .values()
        .flat_map(|member| member.client_urls.iter().map(String::as_str))
        .collect();
    urls.sort_unstable();
    reply::text(StatusCode::OK, urls.join(", "))
}

fn get(context: &Context, rest: &str) -> Reply {
    let members = context.handle.reader().members();
    let mut body = Vec::with_capacity(256);
    match rest {
        "" => {
            body.extend_from_slice(b"{\"members\":[");
            for (at, member) in members.members.values().enumerate() {
                if at > 0 {
                    body.push(b',');
                }
                write_member(&mut body, member);
            }
            body.extend_from_slice(b"]}\n");
        }
        "leader" => {
            let leader = context.handle.status().leader;
            let Some(leader) = leader.and_then(|id| members.members.get(&id)) else {
                return reply::message(StatusCode::SERVICE_UNAVAILABLE, "During election");
            };
            write_member(&mut body, leader);
            body.push(b'\n');
        }
        _ => return reply::message(StatusCode::NOT_FOUND, "Not found"),
    }
    reply::json(StatusCode::OK, String::from_utf8_lossy(&body).into_owned())
}

fn write_member(out: &mut Vec<u8>, member: &Member) {
    out.extend_from_slice(b"{\"id\":");
    json::write_string(out, member.id.to_string().as_bytes());
    out.extend_from_slice(b",\"name\":");
    json::write_string(out, member.name.as_bytes());
    out.extend_from_slice(b",\"peerURLs\":");
    write_strings(out, &member.peer_urls);
    out.extend_from_slice(b",\"clientURLs\":");
    write_strings(out, &member.client_urls);
    out.push(b'}');
}

pub(crate) fn write_strings(out: &mut Vec<u8>, strings: &[String]) {
    out.push(b'[');
    for (at, string) in strings.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::write_string(out, string.as_bytes());
    }
    out.push(b']');
}

async fn change(context: &Context, request: Request<Incoming>, rest: &str) -> Reply {
    if rest.is_empty() {
        return reply::method_not_allowed("");
    }
    let unknown =
        |id: &str| reply::message(StatusCode::NOT_FOUND, &format!("No such member: {id}"));
    let Some(id) = parse_id(rest) else { return unknown(rest) };
    if *request.method() == Method::PUT
        && let Err(reply) = peer_urls(request).await
    {
        return reply;
    }
    let members = context.handle.reader().members();
    if members.removed.contains(&id) {
        let text = format!("Member permanently removed: {id}");
        return reply::message(StatusCode::GONE, &text);
    }
    if !members.members.contains_key(&id) {
        return unknown(&id.to_string());
    }
    reply::message(StatusCode::NOT_IMPLEMENTED, LATER)
}

fn parse_id(hex: &str) -> Option<MemberId> {
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { u64::from_str_radix(hex, 16).ok().map(MemberId) } else { None }
}

#[derive(Deserialize)]
struct PeerUrls {
    /// Go takes `null` for an empty list.
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
}

/// The peer URLs of a request to add or move a member, or its refusal in etcd's words.
async fn peer_urls(request: Request<Incoming>) -> Result<Vec<String>, Reply> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type != "application/json" {
        let text = format!("Bad Content-Type {content_type}, accept application/json");
        return Err(reply::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text));
    }
    let bad = |text: &str| reply::message(StatusCode::BAD_REQUEST, text);
    let body = upload::read(request).await?;
    let parsed: PeerUrls = serde_json::from_slice(&body).map_err(|error| {
        if error.is_eof() { bad("unexpected end of JSON input") } else { bad(&error.to_string()) }
    })?;
    let urls = parsed.peer_urls.unwrap_or_default();
    check_urls(&urls).map_err(|text| bad(&text))?;
    Ok(urls)
}

/// The rules of etcd's `types.NewURLs`, in its words.
fn check_urls(urls: &[String]) -> Result<(), String> {
    if urls.is_empty() {
        return Err("no valid URLs given".to_owned());
    }
    for url in urls {
        let url = url.trim();
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let Some(rest) = rest else {
            return Err(format!("URL scheme must be http or https: {url}"));
        };
        let (address, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(format!("URL address does not have the form \"host:port\": {url}"));
        }
        if !path.is_empty() {
            return Err(format!("URL must not contain a path: {url}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_members_are_checked_in_etcds_words() {
        let check = |urls: &[&str], expected: Result<(), &str>| {
            let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
            assert_eq!(check_urls(&urls), expected.map_err(str::to_owned), "{urls:?}");
        };
        check(&["http://127.0.0.1:9", "https://[::1]:2380"], Ok(()));
        check(&[], Err("no valid URLs given"));
        check(&["nonsense"], Err("URL scheme must be http or https: nonsense"));
        check(&["http://a"], Err("URL address does not have the form \"host:port\": http://a"));
        check(&["http://a:1/x"], Err("URL must not contain a path: http://a:1/x"));
    }

    #[test]
    fn ids_of_members_are_hex() {
        assert_eq!(parse_id("1f"), Some(MemberId(31)));
        assert_eq!(parse_id("zz"), None);
        assert_eq!(parse_id("+1"), None);
        assert_eq!(parse_id("11112222333344445"), None);
    }
}
