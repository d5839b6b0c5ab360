//! Which endpoint gets a request, and when it is not sent again.

use std::time::Duration;

use client::{AttemptKind, Client, Config, Credentials, Delete, Error, Get, Set, Unavailable};

use crate::server::{Reply, Server, client, key, nobody, reply};

const OVERLOAD: &str =
    r#"{"errorCode":300,"message":"Raft Internal Error","cause":"too many requests","index":5}"#;

fn attempts(error: Error) -> Vec<client::Attempt> {
    let Error::Unavailable(Unavailable { attempts }) = error else { panic!("{error:?}") };
    attempts
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_passed_over() {
    let good = Server::start(vec![key("v", 7)]).await;
    let down = nobody().await;
    let client = Client::new(&[&down, &good.url], Config::default()).unwrap();
    let response = client.get("/k", &Get::default()).await.unwrap();
    assert_eq!((response.node.value.as_deref(), response.index), (Some("v"), 7));
}

#[tokio::test]
async fn the_endpoint_that_answered_is_asked_first_from_then_on() {
    let ailing = Server::start(vec![reply(503, 0, ""), key("never", 1)]).await;
    let good = Server::start(vec![key("a", 1), key("b", 2), key("c", 3)]).await;
    let client = client(&[&ailing, &good]);
    for value in ["a", "b", "c"] {
        let response = client.get("/k", &Get::default()).await.unwrap();
        assert_eq!(response.node.value.as_deref(), Some(value));
    }
    assert_eq!(ailing.requests().len(), 1);
}

#[tokio::test]
async fn all_attempts_are_told() {
    let overloaded = Server::start(vec![reply(503, 0, OVERLOAD)]).await;
    let without_leader = Server::start(vec![reply(500, 0, "")]).await;
    let error =
        client(&[&overloaded, &without_leader]).get("/k", &Get::default()).await.unwrap_err();
    assert!(!error.is_connection());
    let texts: Vec<String> = attempts(error).iter().map(ToString::to_string).collect();
    let overload = "300: Raft Internal Error (too many requests) [5]";
    let wanted = [
        format!("client: etcd member {} returns server error [{overload}]", overloaded.url),
        format!("client: etcd member {} has no leader", without_leader.url),
    ];
    assert_eq!(texts, wanted);
}

#[tokio::test]
async fn a_write_of_unknown_effect_is_not_sent_again_unless_it_may_be() {
    let fails = async |status: u16, repeated: bool, write: &str| {
        let first = Server::start(vec![reply(status, 0, "")]).await;
        let second = Server::start(vec![key("v", 1)]).await;
        let client = client(&[&first, &second]);
        let only_new = Set { prev_exist: Some(false), ..Set::default() };
        let compares = Set { prev_index: Some(4), ..Set::default() };
        let outcome = match write {
            "set" => client.set("/k", "v", &Set::default()).await,
            "create" => client.set("/k", "v", &only_new).await,
            "compare" => client.set("/k", "v", &compares).await,
            "in order" => client.create_in_order("/k", "v", None).await,
            "delete" => client.delete("/k", &Delete::default()).await,
            other => panic!("{other}"),
        };
        assert_eq!(outcome.is_ok(), repeated, "{status} {write}: {outcome:?}");
        assert_eq!(second.requests().len(), usize::from(repeated), "{status} {write}");
    };
    fails(500, true, "set").await;
    for write in ["create", "compare", "in order", "delete"] {
        fails(500, false, write).await;
        // 503: nobody took it.
        fails(503, true, write).await;
    }
}

#[tokio::test]
async fn silence_ends_with_the_request_timeout() {
    let silent = Server::start(vec![Reply::Silence, Reply::Silence]).await;
    let good = Server::start(vec![key("v", 1)]).await;
    assert!(client(&[&silent, &good]).get("/k", &Get::default()).await.is_ok());

    let error = client(&[&silent]).get("/k", &Get::default()).await.unwrap_err();
    assert!(error.is_connection());
    assert!(matches!(attempts(error)[0].kind, AttemptKind::HeaderTimeout));
}

#[tokio::test]
async fn the_total_timeout_covers_all_endpoints() {
    let silent = Server::start(vec![Reply::Silence]).await;
    let config = Config {
        request_timeout: None,
        total_timeout: Some(Duration::from_millis(200)),
        ..Config::default()
    };
    let client = Client::new(&[&silent.url], config).unwrap();
    let error = client.get("/k", &Get::default()).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
    assert_eq!(error.to_string(), "context deadline exceeded");
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let body = r#"{"errorCode":100,"message":"Key not found","cause":"/k","index":9}"#;
    let refuses = Server::start(vec![reply(404, 9, body)]).await;
    let unused = Server::start(vec![key("v", 1)]).await;
    let error = client(&[&refuses, &unused]).get("/k", &Get::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "100: Key not found (/k) [9]");
    assert_eq!(error.etcd().map(|refusal| refusal.code), Some(100));
    assert!(unused.requests().is_empty());
}

#[tokio::test]
async fn what_is_not_etcd_is_malformed() {
    for status in [200, 404] {
        let page = Server::start(vec![reply(status, 0, "<html>")]).await;
        let error = client(&[&page]).get("/k", &Get::default()).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_in_sight_is_cut() {
    let large = Server::start(vec![key(&"x".repeat(10_000), 1)]).await;
    let unused = Server::start(vec![key("v", 1)]).await;
    let config = Config { response_bytes_max: 5_000, ..Config::default() };
    let client = Client::new(&[&large.url, &unused.url], config).unwrap();
    let error = client.get("/k", &Get::default()).await.unwrap_err();
    assert!(matches!(attempts(error)[0].kind, AttemptKind::TooLarge { limit: 5_000 }));
    assert!(unused.requests().is_empty());
}

#[tokio::test]
async fn credentials_go_with_every_request() {
    let server = Server::start(vec![key("v", 1)]).await;
    let credentials = Credentials { username: "root".to_owned(), password: "pw:x".to_owned() };
    assert!(!format!("{credentials:?}").contains("pw"));
    let config = Config { credentials: Some(credentials), ..Config::default() };
    Client::new(&[&server.url], config).unwrap().get("/k", &Get::default()).await.unwrap();
    // "root:pw:x"
    let head = &server.requests()[0];
    assert!(head.contains("authorization: Basic cm9vdDpwdzp4\r\n"), "{head}");
}

#[tokio::test]
async fn values_of_any_bytes_are_sent() {
    let server = Server::start(vec![key("v", 1)]).await;
    client(&[&server]).set("/k", b"\xff a&b", &Set::default()).await.unwrap();
    let request = &server.requests()[0];
    assert!(request.ends_with("\r\n\r\nvalue=%FF+a%26b"), "{request}");
}

#[tokio::test]
async fn calls_and_watches_can_be_spawned() {
    let server = Server::start(vec![key("v", 1), key("w", 2)]).await;
    let client = client(&[&server]);
    let task = tokio::spawn(async move {
        client.get("/k", &Get::default()).await?;
        client.watch("/k", client::Watch::default()).next().await
    });
    assert_eq!(task.await.unwrap().unwrap().node.value.as_deref(), Some("w"));
}
