//! An HTTP proxy between the client and its endpoints: plain requests pass through it, TLS goes
//! through a tunnel that it opens.

use std::{fmt, io, str::FromStr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header, uri::Authority};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::{net::TcpStream, time};

/// How long a proxy may take to open a tunnel.
const PATIENCE: Duration = Duration::from_secs(30);

/// `http://host:port`, `http://user:password@host:port`, or either without the scheme.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Uri,
    /// `Proxy-Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
}

/// Why an address is no [`Proxy`]. The text is for users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    #[error("{0:?} is no address of an HTTP proxy, like http://proxy.example.com:3128")]
    Address(String),
    #[error("{0:?}: a proxy is spoken to without TLS: give its http:// address")]
    Tls(String),
}

impl FromStr for Proxy {
    type Err = BadProxy;

    fn from_str(text: &str) -> Result<Self, BadProxy> {
        // Passwords are not for logs.
        let shown = || match text.rsplit_once('@') {
            Some((_, rest)) => format!("…@{rest}"),
            None => text.to_owned(),
        };
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(BadProxy::Tls(shown()));
            }
            Some(_) => return Err(BadProxy::Address(shown())),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let bad = || BadProxy::Address(shown());
        let authority: Authority = address.parse().map_err(|_| bad())?;
        let has_port = authority.port_u16().is_some();
        if authority.host().is_empty() || (!has_port && authority.as_str() != authority.host()) {
            return Err(bad());
        }
        let url = format!("http://{authority}").parse().map_err(|_| bad())?;
        Ok(Self { url, authorization: user.map(basic) })
    }
}

fn basic(user: &str) -> HeaderValue {
    let pair: Vec<u8> = percent_decode_str(user).collect();
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url.authority().map_or("", Authority::as_str))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    /// Where to connect.
    pub(crate) fn url(&self) -> Uri {
        self.url.clone()
    }

    /// Asks the proxy on this connection to it for a tunnel to the host of `target`.
    pub(crate) async fn tunnel(&self, tcp: TcpStream, target: &Uri) -> io::Result<TcpStream> {
        match time::timeout(PATIENCE, self.connect(tcp, target)).await {
            Ok(connected) => connected.map_err(|why| self.failed(io::ErrorKind::Other, &why)),
            Err(_) => Err(self.failed(io::ErrorKind::Other, &"it opens no tunnel in time")),
        }
    }

    /// Names the proxy: the endpoint is not to blame.
    pub(crate) fn failed(&self, kind: io::ErrorKind, why: &dyn fmt::Display) -> io::Error {
        io::Error::new(kind, format!("proxy {self}: {why}"))
    }

    async fn connect(&self, tcp: TcpStream, target: &Uri) -> Result<TcpStream, String> {
        let text = |error: hyper::Error| error.to_string();
        let port = target.port_u16().unwrap_or(443);
        let target = format!("{}:{port}", target.host().unwrap_or_default());
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(&target)
            .header(header::HOST, &target)
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(text)?;
        let connection = tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request).await.map_err(text)?;
        if !answer.status().is_success() {
            connection.abort();
            return Err(format!("it answers {} to CONNECT {target}", answer.status()));
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(text)?;
        let parts =
            upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| "no tunnel".to_owned())?;
        // A server that speaks TLS waits for the client's first word.
        if !parts.read_buf.is_empty() {
            return Err("something else than TLS is behind it".to_owned());
        }
        Ok(parts.io.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_its_scheme() {
        let check = |text: &str, expected: &str| {
            let proxy: Proxy = text.parse().expect(text);
            assert_eq!(proxy.to_string(), expected, "{text}");
        };
        check("http://proxy:3128", "proxy:3128");
        check("proxy:3128", "proxy:3128");
        check("HTTP://10.0.0.1:3128/", "10.0.0.1:3128");
        check("proxy.example.com", "proxy.example.com");
        check("[::1]:3128", "[::1]:3128");
        for text in ["", "http://", "socks5://a:1", "a:port", "http://a:1/path", "a b"] {
            assert!(matches!(text.parse::<Proxy>(), Err(BadProxy::Address(_))), "{text}");
        }
        assert!(matches!("https://a:1".parse::<Proxy>(), Err(BadProxy::Tls(_))));
    }

    #[test]
    fn a_password_is_sent_and_never_shown() {
        let proxy: Proxy = "http://me:p%40ss@proxy:3128".parse().expect("an address");
        let expected = format!("Basic {}", STANDARD.encode("me:p@ss"));
        assert_eq!(proxy.authorization.as_ref().unwrap(), expected.as_str());
        assert_eq!(format!("{proxy} {proxy:?}"), "proxy:3128 Proxy(proxy:3128)");
        let refused = "http://me:secret@proxy:port".parse::<Proxy>().unwrap_err();
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}
