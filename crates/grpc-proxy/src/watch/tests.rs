//! What watches are told, alone and in groups; no member is asked.

mod members;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use client::v3::{Client, Config};
use proto::{
    etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchResponse},
    mvccpb::{Event, KeyValue, event::EventType},
};
use tokio_stream::Stream as _;
use tonic::Status;

use super::{
    NO_WATCH, Place,
    group::{Group, Joined},
    hub::Keys,
    queue::{Answers, QUEUE_BYTES, queue},
    receiver::{Outlet, Receiver, Wants},
};
use crate::{behalf::Who, figures::Figures};

const ALL: Wants = Wants { progress: false, fragment: false, puts: true, deletes: true };

/// A stream that takes so many bytes ahead; with one, it takes one answer.
fn stream(bytes_max: u32) -> (Arc<Outlet>, Answers) {
    let (queue, answers) = queue(bytes_max);
    (Arc::new(Outlet::new(queue)), answers)
}

/// What has come; `None`: nothing.
fn take(answers: &mut Answers) -> Option<Result<WatchResponse, Status>> {
    match Pin::new(answers).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(answer)) => Some(answer),
        Poll::Ready(None) | Poll::Pending => None,
    }
}

fn client() -> Client {
    Client::new(&["127.0.0.1:1"], Config::default()).unwrap()
}

fn watch(outlet: &Arc<Outlet>, id: i64, next: i64, wants: Wants) -> Arc<Receiver> {
    let (key, end) = (Bytes::from_static(b"k"), Bytes::new());
    let who = Who::default();
    let keys = Keys { key, end, prev_kv: true, needs_leader: false, who };
    let place = Place::take(&Arc::new(AtomicUsize::new(0))).unwrap();
    let (next, outlet) = (AtomicI64::new(next), Arc::clone(outlet));
    Arc::new(Receiver::new(id, (keys, client()), wants, next, (outlet, place)))
}

fn group(founder: &Arc<Receiver>, told: i64) -> Group {
    Group::new(founder, told, client().watch(WatchCreateRequest::default()).asker())
}

fn event(revision: i64, kind: EventType) -> Event {
    let kv = KeyValue { mod_revision: revision, ..KeyValue::default() };
    let prev_kv = Some(KeyValue { mod_revision: revision - 1, ..KeyValue::default() });
    Event { r#type: kind.into(), kv: Some(kv), prev_kv }
}

fn told(revisions: &[i64]) -> WatchResponse {
    let events = revisions.iter().map(|&revision| event(revision, EventType::Put)).collect();
    let revision = revisions.last().copied().unwrap_or_default();
    let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
    WatchResponse { header, events, ..WatchResponse::default() }
}

fn progress(watch_id: i64, revision: i64) -> WatchResponse {
    let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
    WatchResponse { header, watch_id, ..WatchResponse::default() }
}

/// The ids and revisions of what has come.
fn heard(answers: &mut Answers) -> Vec<(i64, Vec<i64>)> {
    let mut heard = Vec::new();
    while let Some(Ok(answer)) = take(answers) {
        let revisions = answer.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision);
        heard.push((answer.watch_id, revisions.collect()));
    }
    heard
}

#[test]
fn whoever_has_been_told_less_than_a_group_does_not_go_along() {
    let (figures, (outlet, mut answers)) = (Figures::default(), stream(QUEUE_BYTES));
    let founder = watch(&outlet, 0, 11, ALL);
    let group = group(&founder, 10);
    group.tell(&told(&[12]), &founder, &figures).unwrap();
    let other = watch(&outlet, 1, 12, ALL);
    assert!(matches!(group.join(&other, 11, &figures), Joined::Behind));
    // It has seen 12 and 13 by itself, and the group tells it of 13 only now.
    let ahead = watch(&outlet, 2, 14, ALL);
    assert!(matches!(group.join(&ahead, 13, &figures), Joined::Along));
    group.tell(&told(&[13, 14]), &founder, &figures).unwrap();
    assert_eq!(heard(&mut answers), [(0, vec![12]), (0, vec![13, 14]), (2, vec![14])]);
    assert_eq!(figures.watchers.load(Relaxed), 1);
}

#[test]
fn whoever_has_no_room_leaves_and_the_others_are_told() {
    let figures = Figures::default();
    let ((slow, mut of_slow), (quick, mut of_quick)) = (stream(1), stream(QUEUE_BYTES));
    let founder = watch(&slow, 0, 11, ALL);
    let other = watch(&quick, 0, 11, ALL);
    let group = group(&founder, 10);
    assert!(matches!(group.join(&other, 10, &figures), Joined::Along));
    assert!(group.tell(&told(&[11]), &founder, &figures).unwrap().is_empty());
    let left = group.tell(&told(&[12]), &founder, &figures).unwrap();
    assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &founder));
    // It goes on where it has been told last.
    assert_eq!((founder.next(), other.next()), (12, 13));
    assert_eq!(figures.watchers.load(Relaxed), 0);
    assert_eq!(heard(&mut of_quick), [(0, vec![11]), (0, vec![12])]);
    assert_eq!(heard(&mut of_slow), [(0, vec![11])]);
}

#[test]
fn a_founder_alone_without_room_keeps_its_watch_and_nobody_else_does() {
    let figures = Figures::default();
    let (outlet, mut answers) = stream(1);
    let founder = watch(&outlet, 0, 11, ALL);
    let alone = group(&founder, 10);
    alone.tell(&told(&[11]), &founder, &figures).unwrap();
    assert!(alone.tell(&told(&[12]), &founder, &figures).is_err());
    let late = watch(&outlet, 1, 13, ALL);
    assert!(matches!(alone.join(&late, 12, &figures), Joined::Ended));
    // One that is not the founder is opened anew.
    let other = watch(&outlet, 1, 11, ALL);
    let group = group(&founder, 10);
    assert!(matches!(group.join(&other, 10, &figures), Joined::Along));
    founder.leave();
    group.leave(&founder, &figures);
    let left = group.tell(&told(&[11]), &founder, &figures).unwrap();
    assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &other));
    assert_eq!(heard(&mut answers), [(0, vec![11])]);
}

#[test]
fn a_watch_that_has_left_is_told_nothing() {
    let (figures, (outlet, mut answers)) = (Figures::default(), stream(QUEUE_BYTES));
    let founder = watch(&outlet, 0, 11, ALL);
    let other = watch(&outlet, 1, 11, ALL);
    let group = group(&founder, 10);
    assert!(other.leave());
    assert!(matches!(group.join(&other, 10, &figures), Joined::Along));
    assert!(!other.leave());
    group.tell(&told(&[11]), &founder, &figures).unwrap();
    assert_eq!(heard(&mut answers), [(0, vec![11])]);
}

#[tokio::test]
async fn each_is_told_what_it_wants() {
    let wants = |change: fn(&mut Wants)| {
        let mut wants = ALL;
        change(&mut wants);
        wants
    };
    let mut answer = told(&[11]);
    answer.events.push(event(12, EventType::Delete));
    for (wants, expected) in [
        (ALL, vec![11, 12]),
        (wants(|wants| wants.puts = false), vec![12]),
        (wants(|wants| wants.deletes = false), vec![11]),
    ] {
        let (outlet, mut answers) = stream(QUEUE_BYTES);
        let receiver = watch(&outlet, 7, 11, wants);
        receiver.tell(&answer).await;
        let heard = take(&mut answers).unwrap().unwrap();
        let revisions: Vec<_> =
            heard.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect();
        assert_eq!(revisions, expected, "{wants:?}");
        // What it does not want is behind it all the same.
        assert_eq!(receiver.next(), 13);
    }
}

#[tokio::test]
async fn large_answers_are_cut_for_those_who_ask_for_it() {
    let (outlet, mut answers) = stream(QUEUE_BYTES);
    let receiver = watch(&outlet, 7, 11, Wants { fragment: true, ..ALL });
    let mut answer = told(&[11, 12, 13]);
    for event in &mut answer.events {
        event.kv.as_mut().unwrap().value = vec![0; 1 << 20].into();
    }
    receiver.tell(&answer).await;
    let mut pieces = Vec::new();
    while let Some(Ok(piece)) = take(&mut answers) {
        pieces.push((piece.fragment, piece.events.len()));
    }
    assert_eq!(pieces, [(true, 1), (true, 1), (false, 1)]);
}

#[tokio::test]
async fn progress_is_told_to_those_who_want_it_and_not_before_the_beginning() {
    let (outlet, mut answers) = stream(QUEUE_BYTES);
    let wants = Wants { progress: true, ..ALL };
    let begun = watch(&outlet, 0, 11, wants);
    let future = watch(&outlet, 1, 100, wants);
    let silent = watch(&outlet, 2, 11, ALL);
    for receiver in [&begun, &future, &silent] {
        receiver.tell(&progress(5, 20)).await;
        // Somebody else has asked for this.
        receiver.tell(&progress(NO_WATCH, 20)).await;
    }
    assert_eq!(heard(&mut answers), [(0, vec![])]);
}

#[tokio::test]
async fn progress_of_all_is_the_least_and_comes_when_all_have_said_theirs() {
    let (outlet, mut answers) = stream(QUEUE_BYTES);
    let watches: Vec<_> = (0..3).map(|id| watch(&outlet, id, 11, ALL)).collect();
    outlet.await_progress([0, 1, 2].into());
    watches[0].tell(&progress(NO_WATCH, 30)).await;
    watches[1].tell(&progress(NO_WATCH, 20)).await;
    assert!(take(&mut answers).is_none());
    // One that goes is not waited for.
    watches[2].leave();
    let answer = take(&mut answers).unwrap().unwrap();
    assert_eq!((answer.watch_id, answer.header.unwrap().revision), (NO_WATCH, 20));
    // Less than was told is no answer.
    outlet.await_progress([0, 1].into());
    watches[0].tell(&told(&[40])).await;
    watches[0].tell(&progress(NO_WATCH, 41)).await;
    watches[1].tell(&progress(NO_WATCH, 39)).await;
    assert_eq!(heard(&mut answers), [(0, vec![40])]);
    // Nor is there one while a watch is of the future.
    let future = watch(&outlet, 3, 100, ALL);
    outlet.await_progress([0, 3].into());
    future.tell(&progress(NO_WATCH, 50)).await;
    watches[0].tell(&progress(NO_WATCH, 50)).await;
    assert!(take(&mut answers).is_none());
}

/// So many bytes of values, in one event.
fn large(revision: i64, bytes: usize) -> WatchResponse {
    let mut answer = told(&[revision]);
    answer.events[0].kv.as_mut().unwrap().value = vec![0; bytes].into();
    answer
}

#[test]
fn what_waits_for_a_slow_client_is_bounded_in_bytes() {
    let (figures, (outlet, mut answers)) = (Figures::default(), stream(QUEUE_BYTES));
    let founder = watch(&outlet, 0, 11, ALL);
    let group = group(&founder, 10);
    let fits = (11..100).take_while(|revision| {
        let answer = large(*revision, QUEUE_BYTES as usize / 4);
        group.tell(&answer, &founder, &figures).is_ok()
    });
    assert_eq!(fits.count(), 3);
    // Small ones take their place too.
    let (outlet, _answers) = stream(QUEUE_BYTES);
    let founder = watch(&outlet, 0, 11, ALL);
    let of_small = self::group(&founder, 10);
    let small = |revision: i64| of_small.tell(&told(&[revision]), &founder, &figures).is_ok();
    let count = (11..10_000).take_while(|revision| small(*revision)).count();
    assert!((1_000..4_000).contains(&count), "{count}");
    // Whatever is taken makes room, and one that is larger than all waits for an empty queue.
    assert_eq!(heard(&mut answers).len(), 3);
    assert!(is_taken_alone(2 * QUEUE_BYTES as usize));
}

/// Whether an answer of so many bytes goes into an empty queue, and none behind it.
fn is_taken_alone(bytes: usize) -> bool {
    let (figures, (outlet, mut answers)) = (Figures::default(), stream(QUEUE_BYTES));
    let founder = watch(&outlet, 0, 11, ALL);
    let of_large = group(&founder, 10);
    let first = of_large.tell(&large(11, bytes), &founder, &figures).is_ok();
    let second = of_large.tell(&told(&[12]), &founder, &figures).is_err();
    first && second && heard(&mut answers) == [(0, vec![11])]
}

#[tokio::test]
async fn whoever_goes_on_alone_begins_where_there_was_something_to_tell() {
    let figures = Figures::default();
    let ((slow, mut of_slow), (quick, _of_quick)) = (stream(1), stream(QUEUE_BYTES));
    let wants = Wants { progress: true, ..ALL };
    let founder = watch(&slow, 0, 11, wants);
    let other = watch(&quick, 0, 11, wants);
    let group = group(&founder, 10);
    assert!(matches!(group.join(&other, 10, &figures), Joined::Along));
    group.tell(&told(&[11]), &founder, &figures).unwrap();
    // Progress is behind it also if it has no room for that, but not such as may overtake events.
    assert!(group.tell(&progress(NO_WATCH, 2_000), &founder, &figures).unwrap().is_empty());
    assert_eq!((founder.next(), other.next()), (12, 12));
    assert!(group.tell(&progress(5, 1_000), &founder, &figures).unwrap().is_empty());
    assert_eq!((founder.next(), other.next()), (1_001, 1_001));
    // A long time was quiet, and is compacted.
    let left = group.tell(&told(&[5_000, 5_001]), &founder, &figures).unwrap();
    assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &founder));
    assert_eq!((founder.next(), other.next()), (5_000, 5_002));
    assert_eq!(heard(&mut of_slow), [(0, vec![11])]);
    // A watch of the future has not come there yet.
    let future = watch(&quick, 1, 9_000, wants);
    future.tell(&progress(5, 6_000)).await;
    assert_eq!(future.next(), 9_000);
}
