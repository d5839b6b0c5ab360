//! A watch goes on from where it stood, whatever happens to its connections.

use std::time::Duration;

use client::{Client, Error, Watch, Watcher};
use tokio::time::timeout;

use crate::server::{Reply, Server, client, key, reply};

fn after(index: u64) -> Watch {
    Watch { after_index: Some(index), ..Watch::default() }
}

async fn value(watcher: &mut Watcher) -> String {
    watcher.next().await.unwrap().node.value.unwrap()
}

/// The `waitIndex` of each poll so far.
fn polled_from(server: &Server) -> Vec<u64> {
    let index = |target: &String| target.rsplit("waitIndex=").next().unwrap().parse().unwrap();
    server.targets().iter().map(index).collect()
}

fn watch(server: &Server, how: Watch) -> Watcher {
    let client: Client = client(&[server]);
    client.watch("/k", how)
}

#[tokio::test]
async fn each_poll_begins_behind_the_event_before_it() {
    let server = Server::start(vec![key("a", 5), key("b", 9), key("c", 10)]).await;
    let mut watcher = watch(&server, Watch { recursive: true, ..Watch::default() });
    for wanted in ["a", "b", "c"] {
        assert_eq!(value(&mut watcher).await, wanted);
    }
    assert_eq!(polled_from(&server), [0, 6, 10]);
    assert_eq!(server.targets()[0], "GET /v2/keys/k?recursive=true&wait=true&waitIndex=0");
}

#[tokio::test]
async fn an_empty_answer_is_asked_again_behind_what_it_covered() {
    let server = Server::start(vec![reply(200, 20, ""), reply(200, 25, ""), key("v", 30)]).await;
    let mut watcher = watch(&server, after(4));
    assert_eq!(value(&mut watcher).await, "v");
    assert_eq!(polled_from(&server), [5, 21, 26]);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_event_loses_nothing() {
    // From now on: "now" is the index that the first head named.
    let server = Server::start(vec![Reply::HeadOnly { index: 20 }, key("v", 21)]).await;
    assert_eq!(value(&mut watch(&server, Watch::default())).await, "v");
    assert_eq!(polled_from(&server), [0, 21]);

    // From an index: an event of the past may have been under way.
    let server = Server::start(vec![Reply::HeadOnly { index: 20 }, key("v", 21)]).await;
    assert_eq!(value(&mut watch(&server, after(4))).await, "v");
    assert_eq!(polled_from(&server), [5, 5]);
}

#[tokio::test]
async fn a_forgotten_index_is_told_once_and_then_left_behind() {
    let cleared = r#"{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [1500/5]","index":2500}"#;
    let server = Server::start(vec![reply(400, 2500, cleared), key("v", 2600)]).await;
    let mut watcher = watch(&server, after(4));
    let error = watcher.next().await.unwrap_err();
    assert_eq!(error.etcd().map(|refusal| refusal.code), Some(401));
    assert_eq!(value(&mut watcher).await, "v");
    assert_eq!(polled_from(&server), [5, 2501]);
}

#[tokio::test]
async fn an_outage_is_sat_out_once_the_watch_was_accepted() {
    let ailing = || reply(503, 0, "");
    let server = Server::start(vec![key("a", 5), ailing(), ailing(), key("b", 6)]).await;
    let mut watcher =
        watch(&server, Watch { outage_max: Duration::from_secs(20), ..Watch::default() });
    assert_eq!(value(&mut watcher).await, "a");
    assert_eq!(value(&mut watcher).await, "b");
    assert_eq!(polled_from(&server), [0, 6, 6, 6]);

    // Before that, or without patience, it is an error at once.
    for how in [Watch::default(), Watch { outage_max: Duration::from_secs(20), ..after(1) }] {
        let server = Server::start(vec![ailing(), key("never", 1)]).await;
        let error = watch(&server, how).next().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_wait_outlasts_the_timeouts_and_may_be_dropped() {
    let server = Server::start(vec![Reply::Silence, key("v", 8)]).await;
    let mut watcher = watch(&server, after(4));
    // Longer than the request timeout of 300 ms.
    assert!(timeout(Duration::from_millis(700), watcher.next()).await.is_err());
    assert_eq!(value(&mut watcher).await, "v");
    assert_eq!(polled_from(&server), [5, 5]);
}
