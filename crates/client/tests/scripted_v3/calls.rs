//! Single calls: who is asked next, and when nobody is.

use std::time::{Duration, Instant};

use base::Refused;
use client::v3::{Client, Config, Credentials, Error};
use proto::etcdserverpb::{
    AuthenticateResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
};

use super::server::{End, Reply, Server, answer, client, client_with, tell};

const UNAVAILABLE: u16 = 14;

fn range() -> RangeRequest {
    RangeRequest { key: "k".into(), ..RangeRequest::default() }
}

fn put() -> PutRequest {
    PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() }
}

fn found(count: i64) -> Reply {
    answer(&RangeResponse { count, ..RangeResponse::default() })
}

fn written() -> Reply {
    answer(&PutResponse::default())
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_read_goes_on_to_the_next_endpoint() {
    for failure in [
        Reply::Refuse(UNAVAILABLE, "etcdserver: no leader"),
        Reply::Refuse(9, "etcdserver: rpc not supported for learner"),
        Reply::Break,
        tell::<RangeResponse>(&[], End::Refuse(UNAVAILABLE, "etcdserver: server stopped")),
    ] {
        let (first, second) =
            (Server::start(vec![failure]).await, Server::start(vec![found(7)]).await);
        let answer = client(&[&first, &second]).range(range()).await.unwrap();
        assert_eq!((answer.count, first.seen().len(), second.seen().len()), (7, 1, 1));
    }
}

#[tokio::test]
async fn a_read_is_asked_again_of_one_endpoint_alone() {
    let refuse = || Reply::Refuse(UNAVAILABLE, "etcdserver: leader changed");
    let server = Server::start(vec![refuse(), Reply::Break, refuse(), found(1)]).await;
    assert_eq!(client(&[&server]).range(range()).await.unwrap().count, 1);
}

#[tokio::test]
async fn a_write_that_may_have_been_carried_out_is_not_repeated() {
    for failure in [
        Reply::Refuse(UNAVAILABLE, "etcdserver: request timed out"),
        Reply::Break,
        tell::<PutResponse>(&[], End::Break),
    ] {
        let (first, second) =
            (Server::start(vec![failure]).await, Server::start(vec![written()]).await);
        let error = client(&[&first, &second]).put(put()).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_) | Error::Lost { .. }), "{error:?}");
        assert_eq!((first.seen().len(), second.seen().len()), (1, 0), "{error}");
    }
}

#[tokio::test]
async fn a_write_goes_on_while_nobody_has_seen_it() {
    let server = Server::start(vec![written()]).await;
    let endpoints = [nobody().await, nobody().await, server.url.clone()];
    let client = Client::new(&endpoints, Config::default()).unwrap();
    client.within(Duration::from_secs(30)).put(put()).await.unwrap();
    assert_eq!(server.names(), ["Put"]);
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let refuse = Reply::Refuse(5, "etcdserver: requested lease not found");
    let (first, second) = (Server::start(vec![refuse]).await, Server::start(vec![found(1)]).await);
    let error = client(&[&first, &second]).range(range()).await.unwrap_err();
    assert!(error.is(Refused::LeaseNotFound), "{error:?}");
    assert_eq!(error.to_string(), "etcdserver: requested lease not found");
    assert!(second.seen().is_empty());
}

#[tokio::test]
async fn calls_go_round_the_endpoints() {
    let answers = || (0..9).map(found).collect();
    let (first, second) = (Server::start(answers()).await, Server::start(answers()).await);
    let client = client(&[&first, &second]);
    for _ in 0..6 {
        client.range(range()).await.unwrap();
    }
    assert_eq!((first.seen().len(), second.seen().len()), (3, 3));
}

#[tokio::test]
async fn an_endpoint_that_failed_is_passed_over_for_a_while() {
    let refuse = Reply::Refuse(UNAVAILABLE, "etcdserver: no leader");
    let first = Server::start(vec![refuse, found(1), found(1)]).await;
    let second = Server::start((0..9).map(found).collect()).await;
    let client = client(&[&first, &second]);
    for _ in 0..5 {
        client.range(range()).await.unwrap();
    }
    assert_eq!((first.seen().len(), second.seen().len()), (1, 5));
}

#[tokio::test]
async fn time_that_runs_out_is_told_with_who_could_not_be_asked() {
    let silent = Server::start(Vec::new()).await;
    let asked = client(&[&silent]).within(Duration::from_millis(200));
    let began = Instant::now();
    let error = asked.put(put()).await.unwrap_err();
    assert_eq!(error.to_string(), "context deadline exceeded");
    assert!(began.elapsed() < Duration::from_secs(10));
    // The server hears how long it is worth its while.
    let timeout = silent.seen()[0].header("grpc-timeout").unwrap().to_owned();
    let left: u32 = timeout.trim_end_matches('m').parse().unwrap();
    assert!(timeout.ends_with('m') && (1..=200).contains(&left), "{timeout}");

    let nobody = nobody().await;
    let client = Client::new(&[&nobody], Config::default()).unwrap();
    let error = client.within(Duration::from_millis(200)).range(range()).await.unwrap_err();
    let Error::Deadline { troubles } = error else { panic!("{error:?}") };
    let address = nobody.trim_start_matches("http://");
    assert_eq!(troubles, [format!("dial tcp {address}: connect: connection refused")]);
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_refused() {
    let token = |token: &str| {
        answer(&AuthenticateResponse { token: token.to_owned(), ..Default::default() })
    };
    let refused = Reply::Refuse(16, "etcdserver: invalid auth token");
    let script = vec![token("one"), written(), written(), refused, token("two"), written()];
    let server = Server::start(script).await;
    let credentials = Credentials { username: "u".to_owned(), password: "p".to_owned() };
    let config = Config { credentials: Some(credentials), ..Config::default() };
    let client = client_with(&[&server], config);
    for _ in 0..3 {
        client.put(put()).await.unwrap();
    }
    let seen = server.seen();
    let seen: Vec<_> = seen.iter().map(|call| (call.name.as_str(), call.header("token"))).collect();
    assert_eq!(
        seen,
        [
            ("Authenticate", None),
            ("Put", Some("one")),
            ("Put", Some("one")),
            ("Put", Some("one")),
            ("Authenticate", None),
            ("Put", Some("two")),
        ]
    );
}

#[tokio::test]
async fn a_cluster_without_users_wants_no_token_and_a_wrong_password_is_told() {
    let credentials = Credentials { username: "u".to_owned(), password: "p".to_owned() };
    let config = Config { credentials: Some(credentials), ..Config::default() };
    let none = Reply::Refuse(9, "etcdserver: authentication is not enabled");
    let server = Server::start(vec![none, written(), written()]).await;
    let client = client_with(&[&server], config.clone());
    client.put(put()).await.unwrap();
    client.put(put()).await.unwrap();
    assert_eq!(server.names(), ["Authenticate", "Put", "Put"]);

    let wrong = "etcdserver: authentication failed, invalid user ID or password";
    let server = Server::start(vec![Reply::Refuse(3, wrong)]).await;
    let error = client_with(&[&server], config).log_in().await.unwrap_err();
    assert_eq!(error.to_string(), wrong);
}

#[tokio::test]
async fn a_token_that_is_given_is_sent_and_never_exchanged() {
    let refused = Reply::Refuse(16, "etcdserver: invalid auth token");
    let server = Server::start(vec![written(), refused]).await;
    let config = Config { token: Some("jwt".to_owned()), ..Config::default() };
    let client = client_with(&[&server], config);
    client.put(put()).await.unwrap();
    assert_eq!(server.seen()[0].header("token"), Some("jwt"));
    let error = client.put(put()).await.unwrap_err();
    assert!(error.is(Refused::InvalidAuthToken), "{error:?}");
    assert_eq!(server.names(), ["Put", "Put"]);
}

#[tokio::test]
async fn a_request_above_the_limit_is_not_sent() {
    let server = Server::start(vec![written()]).await;
    let config = Config { request_bytes_max: 100, ..Config::default() };
    let large = PutRequest { value: vec![0; 200].into(), ..put() };
    let error = client_with(&[&server], config).put(large).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 206, limit: 100 }), "{error:?}");
    assert!(server.seen().is_empty());
}
