//! A proxy between the client and its endpoints.

use client::{Client, Config, Error, Get, Unavailable};
use tls::{Acceptor, Settings};

use crate::server::{Server, key, nobody, reply};

/// A name that nobody can resolve: only the proxy can know the way.
const HTTP: &str = "http://etcd.invalid:2379";
const HTTPS: &str = "https://etcd.invalid";

fn through(proxy: &str, endpoint: &str, tls: Settings) -> Client {
    let proxy = proxy.replace("http://", "http://me:secret@").parse().unwrap();
    let config = Config { proxy: Some(proxy), tls, ..Config::default() };
    Client::new(&[endpoint], config).unwrap()
}

async fn failure(proxy: &str, endpoint: &str) -> String {
    let client = through(proxy, endpoint, Settings::default());
    let error = client.get("/k", &Get::default()).await.unwrap_err();
    let Error::Unavailable(Unavailable { attempts }) = error else { panic!("{error:?}") };
    attempts[0].to_string()
}

#[tokio::test]
async fn a_plain_request_tells_the_proxy_where_it_is_to_go_and_who_asks() {
    let proxy = Server::start(vec![key("v", 7)]).await;
    let client = through(&proxy.url, HTTP, Settings::default());
    let answer = client.get("/k", &Get::default()).await.unwrap();
    assert_eq!(answer.node.value.as_deref(), Some("v"));
    let request = proxy.requests().remove(0);
    assert!(request.starts_with("GET http://etcd.invalid:2379/v2/keys/k?"), "{request}");
    assert!(request.contains("proxy-authorization: Basic bWU6c2VjcmV0\r\n"), "{request}");
    assert!(request.contains("host: etcd.invalid:2379\r\n"), "{request}");
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_in_which_the_proxy_hears_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let now = base::UnixNanos(1_900_000_000_000_000_000);
    let identity = tls::self_signed(dir.path(), &["etcd.invalid".to_owned()], 1, now).unwrap();
    let trusted = Settings { insecure_skip_verify: true, ..Settings::default() };
    let acceptor = Acceptor::new(identity, &["http/1.1"]).unwrap();
    let proxy = Server::tunnel(acceptor, key("v", 7)).await;
    let client = through(&proxy.url, HTTPS, trusted);
    let answer = client.get("/k", &Get::default()).await.unwrap();
    assert_eq!(answer.node.value.as_deref(), Some("v"));
    let [asked, within] = &proxy.requests()[..] else { panic!("{:?}", proxy.requests()) };
    assert!(asked.starts_with("CONNECT etcd.invalid:443 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("proxy-authorization: Basic bWU6c2VjcmV0\r\n"), "{asked}");
    assert!(within.starts_with("GET /v2/keys/k?"), "{within}");
    assert!(!within.contains("proxy-authorization"), "{within}");
}

#[tokio::test]
async fn a_proxy_that_does_not_help_is_named() {
    let down = nobody().await;
    let address = down.trim_start_matches("http://");
    let refused = format!("dial tcp etcd.invalid:2379: proxy {address}: ");
    let failed = failure(&down, HTTP).await;
    assert!(failed.starts_with(&refused) && failed.contains("refused"), "{failed}");
    let proxy = Server::start(vec![reply(407, 0, "")]).await;
    let address = proxy.url.trim_start_matches("http://");
    let failed = failure(&proxy.url, HTTPS).await;
    let expected = format!("dial tcp etcd.invalid:443: proxy {address}: it answers 407");
    assert!(failed.starts_with(&expected), "{failed}");
    assert!(failed.ends_with("to CONNECT etcd.invalid:443"), "{failed}");
}
