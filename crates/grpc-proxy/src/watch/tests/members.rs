//! Watches through a proxy, whose member says what a test has it say.

use std::time::Duration;

use proto::etcdserverpb::{
    WatchCancelRequest, WatchProgressRequest, WatchRequest, watch_request::RequestUnion,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tonic::Streaming;

use super::*;
use crate::{
    generated::etcdserverpb::watch_server::WatchServer,
    namespace::Namespace,
    scripted::{open_as, serve, talk},
    watch::{Hub, Watch},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A stream that a proxy has opened.
struct Upstream {
    asked: Streaming<WatchRequest>,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
}

impl Upstream {
    async fn asked(&mut self) -> Option<RequestUnion> {
        let asked = timeout(PATIENCE, self.asked.message()).await.expect("a request");
        asked.ok().flatten().and_then(|request| request.request_union)
    }

    /// Takes the watch that is asked for, now.
    async fn take(&mut self, now: i64) -> WatchCreateRequest {
        let Some(RequestUnion::CreateRequest(what)) = self.asked().await else {
            panic!("no watch is asked for");
        };
        self.say(WatchResponse { created: true, ..progress(0, now) }).await;
        what
    }

    async fn say(&self, answer: WatchResponse) {
        self.answers.send(Ok(answer)).await.ok();
    }

    /// Waits until nobody listens any more.
    async fn left(mut self) {
        while self.asked().await.is_some() {}
    }
}

/// A proxy, its member's side, and what it counts.
struct Scene {
    service: WatchServer<Watch>,
    upstreams: mpsc::Receiver<Upstream>,
    figures: Arc<Figures>,
    stop: watch::Sender<bool>,
}

impl Scene {
    async fn start() -> Self {
        let (open, upstreams) = mpsc::channel(16);
        let client = serve(move |request| {
            let open = open.clone();
            talk(request, |asked, answers| async move {
                open.send(Upstream { asked, answers }).await.ok();
            })
        })
        .await;
        let figures = Arc::<Figures>::default();
        let hub = Hub::new(client, Namespace::default(), Arc::clone(&figures));
        let (stop, stopping) = watch::channel(false);
        let service = WatchServer::new(Watch { hub: Arc::new(hub), stop: stopping });
        Self { service, upstreams, figures, stop }
    }

    /// A client's stream.
    async fn stream(&self) -> Downstream {
        self.stream_of(None).await
    }

    /// The same, with a token.
    async fn stream_of(&self, token: Option<&'static str>) -> Downstream {
        let (service, path) = (self.service.clone(), "/etcdserverpb.Watch/Watch");
        let (ask, answers) = open_as(service, path, token).await;
        Downstream { ask, answers }
    }

    async fn upstream(&mut self) -> Upstream {
        timeout(PATIENCE, self.upstreams.recv()).await.expect("a watch").expect("a member")
    }
}

struct Downstream {
    ask: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Downstream {
    async fn ask(&self, what: RequestUnion) {
        self.ask.send(WatchRequest { request_union: Some(what) }).await.unwrap();
    }

    async fn watch(&self, start_revision: i64) {
        self.watch_as(WatchCreateRequest { start_revision, ..WatchCreateRequest::default() }).await;
    }

    async fn watch_as(&self, what: WatchCreateRequest) {
        let what = WatchCreateRequest { key: "k".into(), ..what };
        self.ask(RequestUnion::CreateRequest(what)).await;
    }

    async fn next(&mut self) -> WatchResponse {
        let answer = timeout(PATIENCE, self.answers.message()).await.expect("an answer");
        answer.unwrap().expect("it goes on")
    }

    /// The revisions of the events that are told next.
    async fn told(&mut self) -> Vec<i64> {
        let answer = self.next().await;
        answer.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect()
    }
}

#[tokio::test]
async fn a_watch_of_the_past_that_nothing_happens_to_joins_others_once_it_has_asked() {
    let mut scene = Scene::start().await;
    let mut client = scene.stream().await;
    client.watch(50).await;
    let mut first = scene.upstream().await;
    assert_eq!(first.take(100).await.start_revision, 50);
    assert!(client.next().await.created);
    // It asks by itself, and has others join it then.
    assert!(matches!(first.asked().await, Some(RequestUnion::ProgressRequest(_))));
    first.say(progress(NO_WATCH, 100)).await;
    assert!(matches!(first.asked().await, Some(RequestUnion::ProgressRequest(_))));
    for start in [50, 70, 0] {
        client.watch(start).await;
        let mut own = scene.upstream().await;
        own.take(100).await;
        assert!(client.next().await.created);
        own.left().await;
    }
    assert_eq!(scene.figures.watchers.load(Relaxed), 3);
    // As far as it has asked is not as far as it was told: from etcd before 3.4.25 this may come later.
    first.say(WatchResponse { watch_id: 0, ..told(&[60]) }).await;
    let mut heard = [client.next().await, client.next().await].map(|answer| answer.watch_id);
    heard.sort_unstable();
    assert_eq!(heard, [0, 1]);
    first.say(WatchResponse { watch_id: 0, ..told(&[101]) }).await;
    for _ in 0..4 {
        assert_eq!(client.told().await, [101]);
    }
}

/// Members ask again whether a user may: of a watch that they know of.
#[tokio::test]
async fn a_watch_goes_along_with_none_of_another_token() {
    let mut scene = Scene::start().await;
    let mut alice = scene.stream_of(Some("alice")).await;
    alice.watch(0).await;
    let mut of_alice = scene.upstream().await;
    of_alice.take(100).await;
    assert!(alice.next().await.created);
    let mut root = scene.stream_of(Some("root")).await;
    root.watch(0).await;
    let mut of_root = scene.upstream().await;
    of_root.take(100).await;
    assert!(root.next().await.created);
    // One of the same token does, and its own ends.
    let mut again = scene.stream_of(Some("alice")).await;
    again.watch(0).await;
    let mut own = scene.upstream().await;
    own.take(100).await;
    assert!(again.next().await.created);
    own.left().await;
    of_root.say(WatchResponse { watch_id: 0, ..told(&[101]) }).await;
    assert_eq!(root.told().await, [101]);
    let cancel_reason = "etcdserver: permission denied".to_owned();
    let canceled = WatchResponse { canceled: true, cancel_reason, ..progress(0, 101) };
    of_alice.say(canceled.clone()).await;
    assert!(alice.next().await.canceled);
    // The other is opened anew, and refused as well.
    let mut anew = scene.upstream().await;
    let Some(RequestUnion::CreateRequest(_)) = anew.asked().await else { panic!("no watch") };
    anew.say(WatchResponse { created: true, watch_id: NO_WATCH, ..canceled }).await;
    let told = again.next().await;
    assert!(told.canceled && told.events.is_empty(), "{told:?}");
}

#[tokio::test]
async fn progress_that_a_client_asks_for_is_not_lost_when_its_watch_joins_others() {
    let mut scene = Scene::start().await;
    let mut client = scene.stream().await;
    client.watch(0).await;
    let mut first = scene.upstream().await;
    first.take(100).await;
    assert!(client.next().await.created);
    // This one is behind, and its question comes to nothing there.
    client.watch(50).await;
    let mut own = scene.upstream().await;
    own.take(100).await;
    assert!(client.next().await.created);
    client.ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    assert!(matches!(own.asked().await, Some(RequestUnion::ProgressRequest(_))));
    assert!(matches!(first.asked().await, Some(RequestUnion::ProgressRequest(_))));
    own.say(WatchResponse { watch_id: 0, ..told(&[100]) }).await;
    assert_eq!(client.told().await, [100]);
    own.left().await;
    assert!(matches!(first.asked().await, Some(RequestUnion::ProgressRequest(_))));
    first.say(progress(NO_WATCH, 101)).await;
    let answer = client.next().await;
    assert_eq!((answer.watch_id, answer.header.unwrap().revision), (NO_WATCH, 101));
    // Who goes is not told of, and the proxy ends.
    client.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 1 })).await;
    assert!(client.next().await.canceled);
    scene.stop.send_replace(true);
    assert!(timeout(PATIENCE, client.answers.message()).await.unwrap().is_err());
}

#[tokio::test]
async fn what_members_cut_is_whole_for_those_who_want_no_fragments() {
    const MIB: usize = 1 << 20;
    let mut scene = Scene::start().await;
    let mut client = scene.stream().await;
    client.watch(0).await;
    let mut first = scene.upstream().await;
    assert!(first.take(100).await.fragment);
    assert!(client.next().await.created);
    let mut other = scene.stream().await;
    other.watch_as(WatchCreateRequest { fragment: true, ..WatchCreateRequest::default() }).await;
    let mut own = scene.upstream().await;
    own.take(100).await;
    assert!(other.next().await.created);
    own.left().await;
    for at in 0..5 {
        first.say(WatchResponse { watch_id: 0, fragment: at < 4, ..large(101, MIB) }).await;
    }
    let whole = client.next().await;
    assert_eq!((whole.fragment, whole.events.len()), (false, 5));
    for at in 0..5 {
        let piece = other.next().await;
        assert_eq!((piece.fragment, piece.events.len()), (at < 4, 1));
    }
}

#[tokio::test]
async fn members_look_for_what_was_there_before_only_if_somebody_wants_it() {
    let mut scene = Scene::start().await;
    let mut client = scene.stream().await;
    for prev_kv in [false, true, false, true] {
        client.watch_as(WatchCreateRequest { prev_kv, ..WatchCreateRequest::default() }).await;
        let mut own = scene.upstream().await;
        assert_eq!(own.take(100).await.prev_kv, prev_kv);
        assert!(client.next().await.created);
        // Kept, or the watch ends.
        tokio::spawn(own.left());
    }
    let joined = async {
        while scene.figures.upstream.load(Relaxed) != 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, joined).await.expect("two groups");
    assert_eq!(scene.figures.watchers.load(Relaxed), 2);
}
