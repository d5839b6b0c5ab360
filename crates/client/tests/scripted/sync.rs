//! Endpoints from the members' list, and asking a single member for its health.

use client::{Client, Config, Error, Get, Stats, Version};

use crate::server::{Server, client, key, nobody, reply};

fn members(client_urls: &[&str]) -> String {
    let urls: Vec<String> = client_urls.iter().map(|url| format!("{url:?}")).collect();
    let urls = urls.join(",");
    format!(
        r#"{{"members":[{{"id":"1f","name":"a","peerURLs":["http://p:1"],"clientURLs":[{urls}]}}]}}"#
    )
}

fn endpoints(client: &Client) -> Vec<String> {
    client.endpoints().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_sync_takes_what_the_members_publish() {
    let list = members(&["http://a:1/", "http://b:2", "http://a:1", "https://c:3", "unix:///d"]);
    let server = Server::start(vec![reply(200, 0, &list)]).await;
    let client = client(&[&server]);
    client.sync().await.unwrap();
    // Once each, and only what can be used.
    assert_eq!(endpoints(&client), ["http://a:1", "http://b:2", "https://c:3"]);
}

#[tokio::test]
async fn a_sync_that_fails_or_finds_nothing_leaves_the_endpoints_alone() {
    let unstarted = r#"{"members":[{"id":"1","name":"","peerURLs":[],"clientURLs":null}]}"#;
    let unusable = members(&["unix:///a"]);
    for body in [r#"{"members":[]}"#, r#"{"members":null}"#, unstarted, &unusable] {
        let server = Server::start(vec![reply(200, 0, body)]).await;
        let client = client(&[&server]);
        assert!(matches!(client.sync().await, Err(Error::NoEndpoints)), "{body}");
        assert_eq!(endpoints(&client), std::slice::from_ref(&server.url));
    }
    for (status, body) in [(404, "404 page not found"), (200, "<html>"), (500, "")] {
        let server = Server::start(vec![reply(status, 0, body)]).await;
        let client = client(&[&server]);
        assert!(client.sync().await.is_err(), "{body}");
        assert_eq!(endpoints(&client), std::slice::from_ref(&server.url));
    }
}

#[tokio::test]
async fn the_endpoint_that_told_the_members_is_asked_when_they_are_out_of_reach() {
    let published = nobody().await;
    let list = members(&[&published]);
    let forwarded = Server::start(vec![reply(200, 0, &list), key("v", 1)]).await;
    let client = client(&[&forwarded]);
    client.sync().await.unwrap();
    assert_eq!(endpoints(&client), [published]);
    assert!(client.get("/k", &Get::default()).await.is_ok());
}

#[tokio::test]
async fn health_is_asked_of_one_member_and_503_is_an_answer() {
    for (status, body, healthy) in [
        (200, r#"{"health": "true"}"#, Some(true)),
        (200, r#"{"health": true}"#, Some(true)),
        (503, r#"{"health": "false"}"#, Some(false)),
        (503, r#"{"health":"false","reason":"no leader"}"#, Some(false)),
        (200, "{}", None),
        (404, "404 page not found", None),
    ] {
        let server = Server::start(vec![reply(status, 0, body)]).await;
        let elsewhere = nobody().await;
        let client = Client::new(&[&elsewhere], Config::default()).unwrap();
        let outcome = client.health(&server.url.parse().unwrap()).await;
        assert_eq!(outcome.ok(), healthy, "{status} {body}");
    }
}

#[tokio::test]
async fn a_member_is_added_once_and_refusals_are_in_the_servers_words() {
    let added = r#"{"id":"2a","name":"","peerURLs":["http://p:2"],"clientURLs":[]}"#;
    let server = Server::start(vec![
        reply(201, 0, added),
        reply(409, 0, r#"{"message":"etcdserver: peerURL exists"}"#),
        reply(410, 0, r#"{"message":"gone"}"#),
        reply(404, 0, "no such member"),
    ])
    .await;
    let client = client(&[&server]);
    assert_eq!(client.add_member(&["http://p:2"]).await.unwrap().id, "2a");
    let error = client.add_member(&["http://p:2"]).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: peerURL exists");
    client.remove_member("2a").await.unwrap();
    let error = client.update_member("2a", &["http://p:3"]).await.unwrap_err();
    assert_eq!(error.to_string(), "unexpected status code 404");
    let wanted =
        ["POST /v2/members", "POST /v2/members", "DELETE /v2/members/2a", "PUT /v2/members/2a"];
    assert_eq!(server.targets(), wanted);
    let body = "\r\n\r\n{\"peerURLs\":[\"http://p:2\"]}";
    assert!(server.requests()[0].contains("content-type: application/json\r\n"));
    assert!(server.requests()[0].ends_with(body));
}

#[tokio::test]
async fn version_and_statistics_are_read() {
    let server = Server::start(vec![
        reply(200, 0, r#"{"etcdserver":"3.6.1","etcdcluster":"3.6.0"}"#),
        reply(200, 0, r#"{"getsSuccess":3}"#),
        reply(200, 0, r#"{"name":"default"}"#),
        reply(403, 0, r#"{"message":"not current leader"}"#),
    ])
    .await;
    let client = client(&[&server]);
    let version = Version { server: "3.6.1".to_owned(), cluster: "3.6.0".to_owned() };
    assert_eq!(client.version().await.unwrap(), version);
    assert_eq!(client.stats(Stats::Store).await.unwrap()["getsSuccess"], 3);
    assert_eq!(client.stats(Stats::Own).await.unwrap()["name"], "default");
    let error = client.stats(Stats::Leader).await.unwrap_err();
    assert_eq!(error.to_string(), "not current leader");
    let paths = ["/version", "/v2/stats/store", "/v2/stats/self", "/v2/stats/leader"];
    assert_eq!(server.targets(), paths.map(|path| format!("GET {path}")));
}
