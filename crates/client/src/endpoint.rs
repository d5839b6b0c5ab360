//! One place where a cluster is reached: `http://host:port` or `https://host:port`, with a path in front if a proxy
//! wants one; for API 3 also a socket in the file system.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use base::url::shown;
use http::Uri;

const HTTP: &str = "http://";
const HTTPS: &str = "https://";

/// Why an address is not an [`Endpoint`]. The text is for users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Neither `http` nor `https`.
    #[error("endpoint {:?} must begin with http:// or https://", shown(.0))]
    Scheme(String),
    /// No host, a port that is no number, or characters that no address has.
    #[error("endpoint {:?} is not an address like http://127.0.0.1:2379", shown(.0))]
    Address(String),
}

/// A member's client URL. Shown as the user wrote it, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Invariant, without a socket: `http://` or `https://` + authority + path, where the path is empty or starts
    /// with a slash and does not end in one.
    url: String,
    socket: Option<PathBuf>,
}

impl Endpoint {
    /// `unix:path`, `unixs:path` with TLS, either with two slashes in front of the path.
    pub(crate) fn of_socket(url: &str) -> Option<Self> {
        let path = base::url::socket_path(url).filter(|path| !path.as_os_str().is_empty())?;
        Some(Self { url: url.to_owned(), socket: Some(path.to_owned()) })
    }

    /// The file by which it is reached, if it is by one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.starts_with(HTTPS) || self.url.starts_with("unixs:")
    }

    /// Network and address, as a connection error names them: `tcp host:port`.
    pub(crate) fn address(&self) -> String {
        if let Some(path) = &self.socket {
            return format!("unix {}", path.display());
        }
        let (rest, port) = match self.url.strip_prefix(HTTPS) {
            Some(rest) => (rest, 443),
            None => (self.url.strip_prefix(HTTP).unwrap_or(&self.url), 80),
        };
        let authority = rest.split('/').next().unwrap_or(rest);
        match authority.parse::<http::uri::Authority>() {
            Ok(parsed) if parsed.port().is_none() => format!("tcp {authority}:{port}"),
            Ok(_) | Err(_) => format!("tcp {authority}"),
        }
    }

    /// The address of `path_and_query` (which starts with a slash) on this endpoint.
    pub(crate) fn join(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.url)
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    /// Takes `host:port` as `http://host:port`, as etcdctl 2.3.8 does.
    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let text = text.trim();
        let with_scheme = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
                format!("{HTTPS}{rest}")
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => format!("{HTTP}{rest}"),
            Some(_) => return Err(BadEndpoint::Scheme(text.to_owned())),
            None => format!("{HTTP}{text}"),
        };
        let url = with_scheme.trim_end_matches('/');
        let bad = || BadEndpoint::Address(text.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().unwrap_or_default();
        let port_is_wrong = uri.authority().is_some_and(|authority| {
            authority.as_str().contains('@')
                || (uri.port_u16().is_none() && authority.as_str().len() > host.len())
        });
        if host.is_empty() || port_is_wrong || uri.query().is_some() {
            return Err(bad());
        }
        Ok(Self { url: url.to_owned(), socket: None })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_written_and_refused_by_name() {
        let parse = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        for (text, url) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("http://127.0.0.1:2379/", "http://127.0.0.1:2379"),
            (" localhost:2379 ", "http://localhost:2379"),
            ("127.0.0.1", "http://127.0.0.1"),
            ("http://[::1]:2379", "http://[::1]:2379"),
            ("HTTP://proxy/etcd/", "http://proxy/etcd"),
            ("HTTPS://a:1", "https://a:1"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(url), "{text}");
        }
        assert!(matches!(parse("unix:///a"), Err(BadEndpoint::Scheme(_))));
        for text in
            ["", "http://", "http://a:port", "http://a:99999", "a b:1", "u:p@a:1", "a:1?x=y"]
        {
            assert!(matches!(parse(text), Err(BadEndpoint::Address(_))), "{text}");
        }
        for text in ["http://me:pa/ss@a:1", "me:pa/ss@a:1", "ftp://me:pa/ss@a:1"] {
            let why = parse(text).unwrap_err().to_string();
            assert!(
                why.contains("me:xxxxx@a:1") && !why.contains("pa/") && !why.contains("ss@"),
                "{why}"
            );
        }
    }

    #[test]
    fn a_socket_has_a_path() {
        let of = |url: &str| {
            let endpoint = Endpoint::of_socket(url)?;
            Some((endpoint.address(), endpoint.is_https(), endpoint.to_string()))
        };
        for (url, address, is_https) in [
            ("unix:///run/a.sock", "unix /run/a.sock", false),
            ("unixs:///run/a.sock", "unix /run/a.sock", true),
            ("unix://localhost:2379", "unix localhost:2379", false),
            ("unixs:a", "unix a", true),
        ] {
            assert_eq!(of(url), Some((address.to_owned(), is_https, url.to_owned())));
        }
        assert_eq!((of("unix:"), of("unix://"), of("http://unix:1")), (None, None, None));
    }

    #[test]
    fn the_address_always_has_a_port() {
        let address = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.address());
        assert_eq!(address("http://a.example/etcd").as_deref(), Ok("tcp a.example:80"));
        assert_eq!(address("https://a.example").as_deref(), Ok("tcp a.example:443"));
        assert_eq!(address("http://[::1]:4001").as_deref(), Ok("tcp [::1]:4001"));
    }
}
