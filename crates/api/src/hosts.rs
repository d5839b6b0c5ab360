//! `--host-whitelist`: the names by which clients may call us. A page whose name its owner has led to
//! our address asks as if it were ours (DNS rebinding); its browser tells us that name.

use http::{Request, StatusCode, header};

use crate::reply::{self, Reply};

/// The answer to whoever calls us by another name.
pub(crate) fn refused<B>(allowed: &[String], request: &Request<B>) -> Option<Reply> {
    if allowed.is_empty() || allowed.iter().any(|one| one == "*") {
        return None;
    }
    let name = name(request);
    if allowed.iter().any(|one| one == name) {
        return None;
    }
    let text = format!(
        "this member does not go by the name {name:?}: ask through TLS, or have the name added \
         with --host-whitelist\n"
    );
    Some(reply::text(StatusCode::MISDIRECTED_REQUEST, text))
}

/// What stands in front of the port.
fn name<B>(request: &Request<B>) -> &str {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let header = || request.headers().get(header::HOST)?.to_str().ok();
    let host = authority.or_else(header).unwrap_or_default();
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_on_the_list_are_answered_to() {
        let check = |allowed: &[&str], host: &str, is_refused: bool| {
            let allowed: Vec<_> = allowed.iter().map(|&one| one.to_owned()).collect();
            let request = Request::get("/version").header("host", host).body(()).unwrap();
            assert_eq!(refused(&allowed, &request).is_some(), is_refused, "{allowed:?} {host}");
        };
        check(&[], "evil.test", false);
        check(&["*"], "evil.test", false);
        check(&["a.test", "::1"], "evil.test", true);
        check(&["a.test", "::1"], "a.test", false);
        check(&["a.test", "::1"], "a.test:2379", false);
        check(&["a.test", "::1"], "[::1]:2379", false);
        check(&["a.test"], "", true);
    }
}
