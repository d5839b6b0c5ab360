//! Which headers go on, and who came before.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What concerns one connection alone; beside these, whatever `Connection` names.
const OF_ONE_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// A request that has passed so many is going round in circles.
const HOPS_MAX: usize = 32;

/// Removes what was meant for this connection alone.
pub(super) fn remove_those_of_one_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_ONE_HOP) {
        headers.remove(name);
    }
}

/// Adds the client to those from whom the request came; false if there are too many.
pub(super) fn add_forwarded_for(headers: &mut HeaderMap, from: SocketAddr) -> bool {
    let prior = headers.get_all(X_FORWARDED_FOR).iter();
    let mut all: Vec<&str> = prior.filter_map(|value| value.to_str().ok()).collect();
    // What a socket for both kinds of addresses shows of the older one.
    let from = match from.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        ip @ IpAddr::V4(_) => ip,
    };
    let from = from.to_string();
    all.push(&from);
    let all = all.join(", ");
    let hops = all.split(',').count();
    if let Ok(value) = HeaderValue::from_str(&all) {
        headers.insert(X_FORWARDED_FOR, value);
    }
    hops <= HOPS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn from(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 1)
    }

    #[test]
    fn what_concerns_one_connection_stays_behind() {
        let mut passed = headers(&[
            ("connection", "close, X-Mine"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("authorization", "Basic y"),
            ("accept", "*/*"),
            ("accept", "text/plain"),
        ]);
        remove_those_of_one_hop(&mut passed);
        let expected = [("authorization", "Basic y"), ("accept", "*/*"), ("accept", "text/plain")];
        assert_eq!(passed, headers(&expected));
    }

    #[test]
    fn clients_are_listed_in_one_header_the_nearest_last() {
        let check = |prior: &[(&'static str, &'static str)], ip: &str, expected: &str| {
            let mut headers = headers(prior);
            assert!(add_forwarded_for(&mut headers, from(ip)));
            let all: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
            assert_eq!(all, [expected]);
        };
        check(&[], "10.0.0.1", "10.0.0.1");
        check(&[], "::1", "::1");
        check(&[], "::ffff:10.0.0.1", "10.0.0.1");
        let prior = [("x-forwarded-for", "a, b"), ("x-forwarded-for", "c")];
        check(&prior, "10.0.0.1", "a, b, c, 10.0.0.1");
    }

    #[test]
    fn a_request_that_goes_round_in_circles_is_stopped() {
        let mut passed = HeaderMap::new();
        for _ in 0..HOPS_MAX {
            assert!(add_forwarded_for(&mut passed, from("10.0.0.1")));
        }
        assert!(!add_forwarded_for(&mut passed, from("10.0.0.1")));
    }
}
