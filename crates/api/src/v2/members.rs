//! `/v2/members` and `/v2/machines`: who the members are, and changing that.

use base::MemberId;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use proto::command;
use serde::Deserialize;
use server::{Done, Unserved};
use state::{
    Response,
    apply::membership_change::Change,
    membership::{Member, Refusal},
};

use super::{failure, json};
use crate::{
    auth::{Claim, Denied},
    context::Context,
    reply::{self, Reply, X_ETCD_CLUSTER_ID},
    upload,
};

/// `rest`: what follows `/v2/members/`.
pub(crate) async fn answer(context: &Context, request: Request<Incoming>, rest: &str) -> Reply {
    let changes = matches!(*request.method(), Method::POST | Method::PUT | Method::DELETE);
    let claim = Claim::of(&request);
    if changes && let Err(why) = claim.is_admin(context).await {
        return why.reply();
    }
    let mut reply = match *request.method() {
        Method::GET => get(context, rest),
        Method::POST => add(context, &claim, request).await.unwrap_or_else(|reply| reply),
        Method::PUT | Method::DELETE => {
            change(context, &claim, request, rest).await.unwrap_or_else(|reply| reply)
        }
        _ => return reply::method_not_allowed("GET,POST,DELETE,PUT"),
    };
    reply.headers_mut().insert(X_ETCD_CLUSTER_ID, context.cluster_id.clone());
    reply
}

fn unserved(why: Unserved) -> Reply {
    reply::message(failure::status(why), &why.to_string())
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

async fn add(context: &Context, claim: &Claim, request: Request<Incoming>) -> Result<Reply, Reply> {
    let mut peer_urls = peer_urls(request).await?;
    peer_urls.sort_unstable();
    claim.note(|trail| trail.peer_urls(&peer_urls));
    let id = context.handle.new_member_id(&peer_urls);
    let member = command::Member { id: id.0, peer_urls, ..command::Member::default() };
    propose(context, claim, id, Change::Add(member.clone())).await?;
    let mut body = Vec::with_capacity(256);
    write_member(&mut body, &member.into());
    body.push(b'\n');
    Ok(reply::json(StatusCode::CREATED, String::from_utf8_lossy(&body).into_owned()))
}

/// Moves a member to other URLs, or removes it.
async fn change(
    context: &Context,
    claim: &Claim,
    request: Request<Incoming>,
    rest: &str,
) -> Result<Reply, Reply> {
    if rest.is_empty() {
        return Err(reply::method_not_allowed(""));
    }
    let id = parse_id(rest).ok_or_else(|| unknown(rest))?;
    let change = if *request.method() == Method::PUT {
        let mut peer_urls = peer_urls(request).await?;
        peer_urls.sort_unstable();
        claim.note(|trail| trail.peer_urls(&peer_urls));
        Change::Update(command::Member { id: id.0, peer_urls, ..command::Member::default() })
    } else {
        Change::Remove(id)
    };
    propose(context, claim, id, change).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn unknown(id: &str) -> Reply {
    reply::message(StatusCode::NOT_FOUND, &format!("No such member: {id}"))
}

async fn propose(
    context: &Context,
    claim: &Claim,
    id: MemberId,
    change: Change,
) -> Result<(), Reply> {
    let refused = |refusal| refused(id, refusal);
    context.handle.reader().members().check(&change).map_err(refused)?;
    context.handle.may_change_members(&change).await.map_err(unserved)?;
    // Who may is not asked again when it is carried out: this member first hears of all that has been
    // acknowledged.
    context.handle.read_barrier().await.map_err(unserved)?;
    claim.is_admin(context).await.map_err(Denied::reply)?;
    match context.handle.change_members(change).await {
        // Somebody else was faster.
        Ok(Done { response: Response::Refused(text), .. }) => Err(Refusal::ALL
            .into_iter()
            .find(|refusal| refusal.to_string() == text)
            .map_or_else(|| reply::message(StatusCode::INTERNAL_SERVER_ERROR, &text), refused)),
        Ok(_) => Ok(()),
        Err(why) => Err(unserved(why)),
    }
}

/// In 2.3.8's words.
fn refused(id: MemberId, refusal: Refusal) -> Reply {
    match refusal {
        Refusal::IdRemoved => {
            reply::message(StatusCode::GONE, &format!("Member permanently removed: {id}"))
        }
        Refusal::IdNotFound => unknown(&id.to_string()),
        Refusal::IdExists => reply::message(StatusCode::CONFLICT, "etcdserver: ID exists"),
        Refusal::PeerUrlExists => {
            reply::message(StatusCode::CONFLICT, "etcdserver: peerURL exists")
        }
        // Of learners only v3 speaks.
        Refusal::NotLearner | Refusal::TooManyLearners => {
            reply::message(StatusCode::INTERNAL_SERVER_ERROR, &refusal.to_string())
        }
    }
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
pub(crate) fn check_urls(urls: &[String]) -> Result<(), String> {
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
