//! Watches over lost connections.

use base::Refused;
use client::v3::{Config, Error};
use proto::{
    etcdserverpb::{
        ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    mvccpb::{Event, KeyValue},
};

use super::server::{Call, End, Server, client, client_with, tell};

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

fn created(revision: i64) -> WatchResponse {
    WatchResponse { header: header(revision), created: true, ..WatchResponse::default() }
}

fn events(revisions: &[i64]) -> WatchResponse {
    let event = |&mod_revision: &i64| Event {
        kv: Some(KeyValue { key: "k".into(), mod_revision, ..KeyValue::default() }),
        ..Event::default()
    };
    let events = revisions.iter().map(event).collect();
    WatchResponse { header: header(*revisions.last().unwrap()), events, ..Default::default() }
}

fn progress(revision: i64) -> WatchResponse {
    WatchResponse { header: header(revision), ..WatchResponse::default() }
}

fn what(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { key: "k".into(), start_revision, ..WatchCreateRequest::default() }
}

/// Where a watch was begun.
fn began_at(call: &Call) -> i64 {
    match call.message::<WatchRequest>().request_union.unwrap() {
        RequestUnion::CreateRequest(create) => create.start_revision,
        other => panic!("{other:?}"),
    }
}

fn revisions(told: &WatchResponse) -> Vec<i64> {
    told.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect()
}

#[tokio::test]
async fn a_watch_goes_on_behind_what_was_told_wherever_it_can() {
    let first = vec![tell(&[created(3), events(&[4]), events(&[6, 6])], End::Break)];
    let second = vec![tell(&[created(9), events(&[7])], End::Open)];
    let (first, second) = (Server::start(first).await, Server::start(second).await);
    let mut watcher = client(&[&first, &second]).watch(what(2));
    let mut told = Vec::new();
    while told.len() < 4 {
        told.extend(revisions(&watcher.next().await.unwrap()));
    }
    assert_eq!(told, [4, 6, 6, 7]);
    assert_eq!([began_at(&first.seen()[0]), began_at(&second.seen()[0])], [2, 7]);
}

#[tokio::test]
async fn from_now_on_keeps_its_place_over_a_lost_connection() {
    let script = vec![
        tell(&[created(5)], End::Break),
        tell(&[created(8), progress(8)], End::Refuse(14, "etcdserver: server stopped")),
        tell(&[created(9), events(&[9])], End::Open),
    ];
    let server = Server::start(script).await;
    let mut watcher = client(&[&server]).watch(what(0));
    assert_eq!(revisions(&watcher.next().await.unwrap()), [0; 0]);
    assert_eq!(revisions(&watcher.next().await.unwrap()), [9]);
    let began: Vec<_> = server.seen().iter().map(began_at).collect();
    assert_eq!(began, [0, 6, 9]);
}

#[tokio::test]
async fn a_watch_that_the_server_ends_is_over() {
    let compacted =
        WatchResponse { canceled: true, compact_revision: 7, ..WatchResponse::default() };
    let server = Server::start(vec![tell(&[created(9), compacted], End::Open)]).await;
    let error = client(&[&server]).watch(what(2)).next().await.unwrap_err();
    assert!(matches!(error, Error::Compacted { revision: 7 }), "{error:?}");
    assert!(error.is(Refused::Compacted));

    let denied = WatchResponse {
        canceled: true,
        cancel_reason: Refused::PermissionDenied.text().to_owned(),
        ..WatchResponse::default()
    };
    let server = Server::start(vec![tell(&[denied], End::Open)]).await;
    let error = client(&[&server]).watch(what(0)).next().await.unwrap_err();
    assert!(error.is(Refused::PermissionDenied), "{error:?}");
}

#[tokio::test]
async fn whoever_wants_a_leader_hears_that_there_is_none() {
    let end = End::Refuse(14, "etcdserver: no leader");
    let server = Server::start(vec![tell(&[created(3)], end)]).await;
    let error = client(&[&server]).with_leader().watch(what(0)).next().await.unwrap_err();
    assert!(error.is(Refused::NoLeader), "{error:?}");
    assert_eq!(server.seen()[0].header("hasleader"), Some("true"));
}

fn part(revisions: &[i64]) -> WatchResponse {
    WatchResponse { fragment: true, ..events(revisions) }
}

#[tokio::test]
async fn an_answer_in_parts_is_put_together_also_over_a_lost_connection() {
    let script = vec![
        tell(&[created(9), part(&[4, 5]), part(&[5])], End::Break),
        // What was told in part comes again, and nothing twice.
        tell(&[created(9), part(&[4, 5]), part(&[5]), progress(9), events(&[5])], End::Break),
        tell(&[created(9), events(&[6])], End::Open),
    ];
    let server = Server::start(script).await;
    let mut watcher = client(&[&server]).watch(WatchCreateRequest { fragment: true, ..what(2) });
    let told = watcher.next().await.unwrap();
    assert_eq!((revisions(&told), told.fragment), (vec![4, 5, 5, 5], false));
    assert_eq!(revisions(&watcher.next().await.unwrap()), [6]);
    let began: Vec<_> = server.seen().iter().map(began_at).collect();
    assert_eq!(began, [2, 2, 6]);
}

#[tokio::test]
async fn parts_that_come_to_too_much_end_the_watch() {
    let parts: Vec<_> = [created(9)].into_iter().chain((0..100).map(|_| part(&[4]))).collect();
    let server = Server::start(vec![tell(&parts, End::Open)]).await;
    let client = client_with(&[&server], Config { answer_bytes_max: 500, ..Config::default() });
    let mut watcher = client.watch(WatchCreateRequest { fragment: true, ..what(2) });
    let error = watcher.next().await.unwrap_err();
    assert!(error.is(Refused::AnswerTooLarge), "{error:?}");
}
