//! A whole proxy before a member that says what a test has it say.

use std::collections::VecDeque;

use parking_lot::Mutex;
use proto::{
    etcdserverpb::{
        RangeResponse, RangeStreamResponse, ResponseHeader, SnapshotRequest, SnapshotResponse,
    },
    v3electionpb::{LeaderRequest, LeaderResponse},
};
use tokio::sync::mpsc::Sender;
use tonic::{Status, Streaming};

use super::*;
use crate::scripted::{serve, talk};

/// A proxy with ordering before this member, and a client of it.
fn ordered(member: &Client, stop: watch::Receiver<bool>) -> Arc<Proxy> {
    let config = Config {
        endpoints: member.endpoints().iter().map(ToString::to_string).collect(),
        client: client::v3::Config::default(),
        sync_interval: None,
        namespace: String::new(),
        address: String::new(),
        registration: None,
        is_ordered: true,
        logs_calls: false,
        own_tls: None,
    };
    Arc::new(Proxy::new(config, stop).unwrap())
}

async fn client_of(proxy: &Arc<Proxy>) -> Client {
    let proxy = Arc::clone(proxy);
    serve(move |request| proxy.call(request)).await
}

/// What a member was asked, and the revisions of its answers.
#[derive(Default)]
struct Script {
    revisions: Mutex<VecDeque<i64>>,
    asked: Mutex<Vec<(String, bool)>>,
}

impl Script {
    /// A member that answers reads from these points in history, one after the other.
    async fn start(revisions: &[i64]) -> (Arc<Self>, Client) {
        let script =
            Self { revisions: Mutex::new(revisions.iter().copied().collect()), ..Self::default() };
        let script = Arc::new(script);
        let member = Arc::clone(&script);
        let client = serve(move |request| {
            let (member, path) = (Arc::clone(&member), request.uri().path().to_owned());
            async move {
                if path.ends_with("RangeStream") {
                    return talk(request, |asked, send| async move {
                        let range_response = Some(member.read(path, asked).await);
                        send.send(Ok(RangeStreamResponse { range_response })).await.ok();
                    })
                    .await;
                }
                talk(request, |asked, send: Sender<Result<RangeResponse, Status>>| async move {
                    send.send(Ok(member.read(path, asked).await)).await.ok();
                })
                .await
            }
        })
        .await;
        (script, client)
    }

    async fn read(&self, path: String, mut asked: Streaming<RangeRequest>) -> RangeResponse {
        let request = asked.message().await.unwrap().unwrap();
        self.asked.lock().push((path, request.serializable));
        let revision = self.revisions.lock().pop_front().unwrap();
        let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        RangeResponse { header, ..RangeResponse::default() }
    }
}

fn read(limit: i64) -> RangeRequest {
    // Each is another one: the cache is not what is looked at.
    let key = bytes::Bytes::from_static(b"k");
    RangeRequest { key, limit, serializable: true, ..RangeRequest::default() }
}

#[tokio::test]
async fn nobody_is_told_of_before_the_proxy_was_ready() {
    let (script, member) = Script::start(&[10, 9, 8, 11]).await;
    let (_stop, stopping) = watch::channel(false);
    let proxy = ordered(&member, stopping);
    proxy.ready().await;
    let answer = client_of(&proxy).await.range(read(1)).await.unwrap();
    assert_eq!(answer.header.unwrap().revision, 11);
    assert_eq!(script.asked.lock().len(), 4);
}

#[tokio::test]
async fn a_range_in_parts_keeps_the_order_too() {
    let (script, member) = Script::start(&[10, 20, 19, 20]).await;
    let (_stop, stopping) = watch::channel(false);
    let proxy = ordered(&member, stopping);
    proxy.ready().await;
    let client = client_of(&proxy).await;
    let mut parts = client.range_stream(read(1)).await.unwrap();
    let revision = parts.next().await.unwrap().unwrap().header.unwrap().revision;
    assert_eq!((revision, parts.next().await.unwrap()), (20, None));
    // When it is from it says too late to ask another member: so it is asked for the newest at once.
    let asked = script.asked.lock().last().cloned();
    assert_eq!(asked, Some(("/etcdserverpb.KV/RangeStream".to_owned(), false)));
    // And nobody is told of before that afterwards.
    let answer = client.range(read(2)).await.unwrap();
    assert_eq!(answer.header.unwrap().revision, 20);
    assert_eq!(script.asked.lock().len(), 4);
}

/// A member that begins an answer and says no more; and who hears when nobody listens any more.
async fn silent() -> (Client, tokio::sync::mpsc::Receiver<()>) {
    let (left, leaves) = tokio::sync::mpsc::channel(1);
    let member = serve(move |request| {
        let left = left.clone();
        talk(request, |_: Streaming<LeaderRequest>, send| async move {
            send.send(Ok(LeaderResponse::default())).await.ok();
            send.closed().await;
            left.send(()).await.ok();
        })
    })
    .await;
    (member, leaves)
}

#[tokio::test]
async fn what_is_passed_on_ends_with_the_proxy_and_with_the_client() {
    const OBSERVE: &str = "/v3electionpb.Election/Observe";
    const PATIENCE: Duration = Duration::from_secs(10);
    let (member, mut leaves) = silent().await;
    let (stop, stopping) = watch::channel(false);
    let proxy = ordered(&member, stopping);
    // Its client reads nothing, or goes, or listens to the end.
    for end in ["goes", "listens", "reads nothing"] {
        let client = client_of(&proxy).await;
        let mut passed = client.pass_stream(OBSERVE, bytes::Bytes::new()).await.unwrap();
        if end != "reads nothing" {
            assert!(passed.next().await.unwrap().is_some());
        }
        if end == "goes" {
            drop(passed);
        } else {
            stop.send_replace(true);
            let told = async {
                loop {
                    if let Err(error) = passed.next().await {
                        return error;
                    }
                }
            };
            let error = tokio::time::timeout(PATIENCE, told).await.expect("an end");
            assert_eq!(error.to_string(), "etcdserver: server stopped", "{end}");
        }
        tokio::time::timeout(PATIENCE, leaves.recv()).await.unwrap_or_else(|_| panic!("{end}"));
        stop.send_replace(false);
    }
}

/// A member whose snapshots are larger than anything that is sent ahead, and that answers reads.
async fn large() -> Client {
    const PIECES: usize = 64;
    serve(|request| async move {
        if request.uri().path().ends_with("Range") {
            return talk(request, |_: Streaming<RangeRequest>, send| async move {
                send.send(Ok(RangeResponse::default())).await.ok();
            })
            .await;
        }
        talk(request, |_: Streaming<SnapshotRequest>, send| async move {
            let blob = bytes::Bytes::from(vec![0; 256 << 10]);
            for _ in 0..PIECES {
                let piece = SnapshotResponse { blob: blob.clone(), ..SnapshotResponse::default() };
                if send.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
        })
        .await
    })
    .await
}

/// All share a connection to the member.
#[tokio::test]
async fn clients_that_read_nothing_hold_up_no_others() {
    const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
    const PATIENCE: Duration = Duration::from_secs(30);
    let member = large().await;
    let (_stop, stopping) = watch::channel(false);
    let proxy = ordered(&member, stopping);
    proxy.ready().await;
    let mut slow = Vec::new();
    for _ in 0..32 {
        // Each on a connection of its own to the proxy.
        let client = client_of(&proxy).await;
        let began = tokio::time::timeout(PATIENCE, async {
            let mut passed = client.pass_stream(SNAPSHOT, bytes::Bytes::new()).await.unwrap();
            assert!(passed.next().await.unwrap().is_some());
            passed
        });
        // It has begun, and the rest comes as far as it can.
        let number = slow.len();
        let passed = began.await.unwrap_or_else(|_| panic!("stream {number} is held up"));
        slow.push((client, passed));
    }
    let other = client_of(&proxy).await;
    for limit in 0..100 {
        let answer = tokio::time::timeout(PATIENCE, other.range(read(limit))).await;
        answer.unwrap_or_else(|_| panic!("read {limit} is held up")).unwrap();
    }
}
