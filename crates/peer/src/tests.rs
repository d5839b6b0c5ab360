//! Members that talk to one another over loopback.

mod healed;
mod silent;
mod slow;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base::{ClusterId, MemberId, OsClock, version};
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    runtime,
    sync::mpsc,
    task::JoinHandle,
    time,
};

use crate::{Arriving, Dialer, Identity, Inbound, Lane, Peers, Piece, Timeouts, frame::Frame};

/// A header, and the chunks.
type Snapshot = (Bytes, Vec<Bytes>);

/// What a member was told.
#[derive(Default)]
struct Heard {
    received: Mutex<Vec<(MemberId, Bytes)>>,
    unreachable: Mutex<usize>,
    removed: Mutex<Vec<MemberId>>,
    gone: Mutex<Vec<MemberId>>,
    connected: Mutex<BTreeSet<(MemberId, String)>>,
    /// Snapshots that came whole.
    snapshots: Arc<Mutex<Vec<Snapshot>>>,
}

impl Inbound for Heard {
    fn received(&self, from: MemberId, message: Bytes) {
        self.received.lock().push((from, message));
    }

    fn unreachable(&self, _: MemberId) {
        *self.unreachable.lock() += 1;
    }

    fn connected(&self, from: MemberId, version: &str) {
        self.connected.lock().insert((from, version.to_owned()));
    }

    fn is_removed(&self, member: MemberId) -> bool {
        self.gone.lock().contains(&member)
    }

    fn removed(&self, by: MemberId) {
        self.removed.lock().push(by);
    }

    /// Refuses one whose header says so.
    fn snapshot(&self, mut arriving: Arriving) {
        let snapshots = Arc::clone(&self.snapshots);
        tokio::spawn(async move {
            let mut chunks = Vec::new();
            while let Some(piece) = arriving.pieces.recv().await {
                match piece {
                    Piece::Chunk(chunk) => chunks.push(chunk),
                    Piece::End => {
                        let refused = arriving.header == "refused";
                        snapshots.lock().push((arriving.header, chunks));
                        let ended = if refused { Err("full".to_owned()) } else { Ok(()) };
                        return arriving.done.send(ended).unwrap();
                    }
                }
            }
        });
    }
}

/// A member with its peer port.
struct Member {
    peers: Peers,
    heard: Arc<Heard>,
    address: String,
    server: JoinHandle<()>,
}

impl Member {
    async fn start(id: u64, cluster: u64, address: &str) -> Self {
        Self::start_with(id, cluster, address, Timeouts::default()).await
    }

    async fn start_with(id: u64, cluster: u64, address: &str, timeouts: Timeouts) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Heard::default());
        let identity = Identity { cluster: ClusterId(cluster), member: MemberId(id) };
        let inbound: Arc<dyn Inbound> = Arc::clone(&heard) as Arc<dyn Inbound>;
        let (ways, clock) = ((Dialer::default(), timeouts), Arc::new(OsClock::new()));
        let peers = Peers::new(identity, inbound, ways, clock, runtime::Handle::current());
        let server = tokio::spawn(serve(listener, peers.clone()));
        Self { peers, heard, address, server }
    }

    fn knows(&self, id: u64, urls: &[&str]) {
        let urls = urls.iter().map(|address| format!("http://{address}")).collect();
        self.peers.set(&[(MemberId(id), urls)]);
    }

    fn send(&self, to: u64, text: &str) {
        self.peers.send(MemberId(to), Lane::Message, text.to_owned().into());
    }

    fn stop(&self) {
        self.server.abort();
        self.peers.stop();
    }
}

async fn serve(listener: TcpListener, peers: Peers) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let peers = peers.clone();
        let service = service_fn(move |request| {
            let answer = peers.answer(request);
            async move { Ok::<_, std::convert::Infallible>(answer.map(Full::new)) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection.with_upgrades());
    }
}

/// Waits until something holds; the test's own limit ends it otherwise.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn messages_arrive_in_order_and_say_from_whom() {
    let (one, two) =
        (Member::start(1, 9, "127.0.0.1:0").await, Member::start(2, 9, "127.0.0.1:0").await);
    one.knows(2, &[&two.address]);
    until("active", || one.peers.status().iter().all(|peer| peer.active_since.is_some())).await;
    for number in 0..1_000 {
        one.send(2, &number.to_string());
    }
    until("all are there", || two.heard.received.lock().len() == 1_000).await;
    for (number, (from, text)) in two.heard.received.lock().iter().enumerate() {
        assert_eq!((*from, &text[..]), (MemberId(1), number.to_string().as_bytes()));
    }
    until("a round trip", || one.peers.status()[0].round_trips.count > 0).await;
    let status = &one.peers.status()[0];
    assert_eq!((status.sent, status.failed), (1_000, 0));
    let connected = BTreeSet::from([(MemberId(1), version::SERVER.to_owned())]);
    assert_eq!(*two.heard.connected.lock(), connected, "it says what version it has");
    assert!(two.peers.status().is_empty(), "whoever listens need not know the sender");
}

#[tokio::test]
async fn a_peer_that_comes_back_is_talked_to_again_at_another_url_too() {
    let one = Member::start(1, 9, "127.0.0.1:0").await;
    let two = Member::start(2, 9, "127.0.0.1:0").await;
    // The first leads nowhere.
    one.knows(2, &["127.0.0.1:1", &two.address]);
    until("active", || one.peers.status()[0].active_since.is_some()).await;
    two.stop();
    until("inactive", || one.peers.status()[0].active_since.is_none()).await;
    assert!(*one.heard.unreachable.lock() > 0);
    let again = Member::start(2, 9, &two.address).await;
    until("active", || one.peers.status()[0].active_since.is_some()).await;
    one.send(2, "again");
    until("it arrives", || !again.heard.received.lock().is_empty()).await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let one = Member::start(1, 9, "127.0.0.1:0").await;
    let (stranger, gone) =
        (Member::start(2, 8, "127.0.0.1:0").await, Member::start(3, 9, "127.0.0.1:0").await);
    one.heard.gone.lock().push(MemberId(3));
    stranger.knows(1, &[&one.address]);
    gone.knows(1, &[&one.address]);
    until("it is told that it is removed", || !gone.heard.removed.lock().is_empty()).await;
    until("it is told", || *stranger.heard.unreachable.lock() > 2).await;
    stranger.send(1, "hello");
    assert!(stranger.peers.status()[0].active_since.is_none());
    assert_eq!(gone.heard.removed.lock()[0], MemberId(1));
    assert!(stranger.heard.removed.lock().is_empty());
    assert!(one.heard.received.lock().is_empty());
}

/// Answers everything like this.
async fn answer_all(listener: TcpListener, head: &'static str) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |_| async move {
            let mut answer = Response::builder().status(410);
            for line in head.lines() {
                let (name, value) = line.split_once(": ").unwrap();
                answer = answer.header(name, value);
            }
            Ok::<_, std::convert::Infallible>(answer.body(Full::new(Bytes::from("gone"))).unwrap())
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

#[tokio::test]
async fn that_it_was_removed_a_member_believes_its_own_cluster_only() {
    for (head, believed) in [
        ("", false),
        ("x-etcd-cluster-id: 8\nx-server-from: 1", false),
        ("x-etcd-cluster-id: 9", false),
        ("x-etcd-cluster-id: 9\nx-server-from: 1", true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = tokio::spawn(answer_all(listener, head));
        let two = Member::start(2, 9, "127.0.0.1:0").await;
        two.knows(1, &[&address]);
        until("it is told", || *two.heard.unreachable.lock() > 2).await;
        assert_eq!(!two.heard.removed.lock().is_empty(), believed, "{head:?}");
        other.abort();
        two.stop();
    }
}

#[tokio::test]
async fn however_many_strangers_have_streams_a_member_gets_its_own() {
    let one = Member::start(1, 9, "127.0.0.1:0").await;
    let two = Member::start(2, 9, "127.0.0.1:0").await;
    one.knows(2, &[&two.address]);
    let mut strangers = Vec::new();
    let mut open = 0;
    // More than any port takes of them.
    for id in 100..400_u64 {
        let mut stranger = TcpStream::connect(&one.address).await.unwrap();
        let them = Identity { cluster: ClusterId(9), member: MemberId(id) };
        let headers = them.headers(MemberId(1)).map(|(name, value)| format!("{name}: {value}\r\n"));
        let request = format!(
            "GET /raft/stream/message HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
             upgrade: retcd-raft/1\r\n{}\r\n",
            headers.concat()
        );
        stranger.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stranger.read_exact(&mut status).await.unwrap();
        open += usize::from(status == *b"HTTP/1.1 101");
        strangers.push(stranger);
    }
    assert!((1..=100).contains(&open), "{open} of 300 strangers were let in");
    two.knows(1, &[&one.address]);
    until("the member is let in", || two.peers.status()[0].active_since.is_some()).await;
    assert_eq!(*two.heard.unreachable.lock(), 0, "only once strangers had gone");
}

/// Messages that came over a lane.
type Came = Arc<Mutex<Vec<Bytes>>>;

/// Accepts streams of both lanes. Of the one for messages it reads everything, of the one for entries
/// nothing.
async fn read_messages_alone(listener: TcpListener, came: Came) {
    let mut unread = Vec::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let head = accept_stream(&mut stream).await;
        if head.contains("/raft/stream/append ") {
            unread.push(stream);
        } else {
            tokio::spawn(read_all(stream, Arc::clone(&came)));
        }
    }
}

async fn read_all(mut stream: BufReader<TcpStream>, came: Came) {
    while let Ok(Some(frame)) = Frame::read(&mut stream).await {
        match frame {
            Frame::Message(message) => came.lock().push(message),
            Frame::Ping(number) => {
                let mut out = BytesMut::new();
                Frame::Pong(number).write(&mut out);
                stream.write_all(&out).await.unwrap();
            }
            Frame::Pong(_) => {}
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_a_bounded_amount_and_holds_up_no_other_lane() {
    let one = Member::start(1, 9, "127.0.0.1:0").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.knows(2, &[&listener.local_addr().unwrap().to_string()]);
    let came = Came::default();
    tokio::spawn(read_messages_alone(listener, Arc::clone(&came)));
    until("both lanes are open", || one.peers.status()[0].active_since.is_some()).await;
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..200 {
        one.peers.send(MemberId(2), Lane::Append, megabyte.clone());
    }
    let failed = one.peers.status()[0].failed;
    assert!(failed > 100, "only {failed} of 200 megabytes were refused");
    assert!(*one.heard.unreachable.lock() > 100);
    let all: Vec<Bytes> = (0..1_000).map(|number| number.to_string().into()).collect();
    for message in &all {
        one.peers.send(MemberId(2), Lane::Message, message.clone());
    }
    until("all messages are there", || came.lock().len() == all.len()).await;
    assert_eq!(*came.lock(), all);
}

#[tokio::test]
async fn a_member_that_is_gone_is_cut_off() {
    let (one, two) =
        (Member::start(1, 9, "127.0.0.1:0").await, Member::start(2, 9, "127.0.0.1:0").await);
    one.knows(2, &[&two.address]);
    two.knows(1, &[&one.address]);
    for member in [&one, &two] {
        until("active", || member.peers.status()[0].active_since.is_some()).await;
    }
    one.peers.set(&[]);
    assert!(one.peers.status().is_empty());
    until("the other notices", || two.peers.status()[0].active_since.is_none()).await;
    one.send(2, "nobody hears this");
}

/// Sends a snapshot of three chunks, or of one without an end.
async fn send_snapshot(from: &Member, header: &'static str, whole: bool) -> Result<(), String> {
    let (give, pieces) = mpsc::channel(1);
    let header = Bytes::from_static(header.as_bytes());
    let sent = tokio::spawn(from.peers.send_snapshot(MemberId(2), header, pieces));
    for number in 0..3_u8 {
        give.send(Piece::Chunk(vec![number; 100_000].into())).await.ok();
    }
    if whole {
        give.send(Piece::End).await.ok();
    }
    drop(give);
    sent.await.unwrap()
}

#[tokio::test]
async fn a_snapshot_arrives_whole_or_its_sender_knows_that_it_did_not() {
    let (one, two) =
        (Member::start(1, 9, "127.0.0.1:0").await, Member::start(2, 9, "127.0.0.1:0").await);
    assert!(send_snapshot(&one, "nobody", true).await.unwrap_err().contains("is no member"));
    one.knows(2, &[&two.address]);
    send_snapshot(&one, "whole", true).await.unwrap();
    let chunks = (0..3_u8).map(|number| Bytes::from(vec![number; 100_000])).collect();
    assert_eq!(*two.heard.snapshots.lock(), [(Bytes::from_static(b"whole"), chunks)]);
    assert!(send_snapshot(&one, "half", false).await.unwrap_err().contains("given up"));
    assert!(send_snapshot(&one, "refused", true).await.is_err());
    assert_eq!(two.heard.snapshots.lock().len(), 2, "what has no end is not taken for whole");
    two.stop();
    assert!(send_snapshot(&one, "nobody there", true).await.is_err());
}

/// Reads the head of a request for a stream, which is returned, and grants it.
async fn accept_stream(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                  upgrade: retcd-raft/1\r\n\r\n";
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    stream.write_all(answer.as_bytes()).await.ok();
    String::from_utf8(head).unwrap()
}

/// Accepts streams and ends each at once.
async fn break_streams(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        accept_stream(&mut stream).await;
    }
}

/// Each chunk of it is sound, and all are there.
#[tokio::test]
async fn a_snapshot_whose_chunks_are_not_those_that_were_sent_is_not_taken() {
    let two = Member::start(2, 9, "127.0.0.1:0").await;
    let them = Identity { cluster: ClusterId(9), member: MemberId(1) };
    two.knows(1, &["127.0.0.1:1"]);
    let send = async |order: &[&'static str]| {
        let mut stream = TcpStream::connect(&two.address).await.unwrap();
        let headers = them.headers(MemberId(2)).map(|(name, value)| format!("{name}: {value}\r\n"));
        let request = format!(
            "GET /raft/stream/snapshot HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
             upgrade: retcd-raft/1\r\n{}\r\n",
            headers.concat()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        // So many chunks, and their checksum in the order in which they were read.
        let sum = crc32c::crc32c(b"onetwothree");
        let mut out = BytesMut::new();
        for text in ["header"].iter().chain(order) {
            Frame::Message(Bytes::from_static(text.as_bytes())).write(&mut out);
        }
        Frame::Ping(3 << 32 | u64::from(sum)).write(&mut out);
        stream.write_all(&out).await.unwrap();
        let mut pong = BytesMut::new();
        Frame::Pong(3 << 32 | u64::from(sum)).write(&mut pong);
        let mut answer = vec![0; 4096];
        let mut told = Vec::new();
        // It ends, or there is the answer that all is well.
        while let Ok(read @ 1..) = stream.read(&mut answer).await {
            told.extend_from_slice(&answer[..read]);
            if told.ends_with(&pong) {
                return true;
            }
        }
        false
    };
    assert!(send(&["one", "two", "three"]).await);
    assert_eq!(two.heard.snapshots.lock().len(), 1);
    assert!(!send(&["two", "one", "three"]).await, "in another order");
    assert!(!send(&["one", "twothree"]).await, "fewer chunks");
    assert!(!send(&["one", "two"]).await, "without the last");
    assert!(!send(&["one", "two", "threE"]).await, "another byte");
    assert_eq!(two.heard.snapshots.lock().len(), 1, "none of these was taken");
}

#[tokio::test]
async fn a_snapshot_goes_to_the_next_url_where_one_fails() {
    let (one, two) =
        (Member::start(1, 9, "127.0.0.1:0").await, Member::start(2, 9, "127.0.0.1:0").await);
    // Nobody is there.
    one.knows(2, &["127.0.0.1:1", &two.address]);
    send_snapshot(&one, "whole", true).await.unwrap();
    // Which is remembered.
    send_snapshot(&one, "again", true).await.unwrap();
    // Somebody is there who breaks off: what has begun is lost, and the next one finds its way.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = listener.local_addr().unwrap().to_string();
    one.knows(2, &[&two.address, &broken, "127.0.0.1:1", &two.address]);
    let breaks = tokio::spawn(break_streams(listener));
    let mut failed = 0;
    while two.heard.snapshots.lock().len() < 4 {
        failed += usize::from(send_snapshot(&one, "some", true).await.is_err());
        assert!(failed < 2, "it goes to the broken one again and again");
    }
    assert_eq!(failed, 1);
    breaks.abort();
    breaks.await.unwrap_err();
    one.knows(2, &["127.0.0.1:1", &broken]);
    let why = send_snapshot(&one, "nobody there", true).await.unwrap_err();
    assert!(why.contains("127.0.0.1:1/") && why.contains(&broken), "{why}");
}
