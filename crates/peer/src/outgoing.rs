//! The streams that a member opens: one task for each peer and lane.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    time,
};

use crate::{
    Identity,
    frame::Frame,
    peers::{Inner, Lane, Peer},
};

/// The protocol that a stream is upgraded to.
pub(crate) const PROTOCOL: &str = "retcd-raft/1";
/// How long a peer may take to accept a stream.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a write, or the answer to a ping, may take: then the peer is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(1);
/// Between two tries; doubled each time. Short, since a new leader may be waiting.
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// What is written at once.
const BATCH_BYTES: usize = 1 << 20;
/// Of a refusal no more is read.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// Opens a stream and sends what is queued, for ever.
pub(crate) async fn run(inner: Arc<Inner>, peer: Arc<Peer>, lane: Lane) {
    let mut back_off = BACK_OFF;
    for attempt in 0.. {
        let url = {
            let urls = peer.urls.read();
            urls.get(attempt % urls.len().max(1)).cloned()
        };
        match open(&inner, &peer, url, lane.name()).await {
            Ok(stream) => {
                peer.set_open(lane, true, inner.clock.wall());
                let ended = send_all(&peer, lane, stream).await;
                peer.set_open(lane, false, inner.clock.wall());
                let why = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
                peer.complain(&format!("lost the {} stream: {why}", lane.name()), now(&inner));
                back_off = BACK_OFF;
            }
            Err(why) => peer.complain(&why, now(&inner)),
        }
        let lost = peer.queue(lane).clear() as u64;
        peer.counts.failed.fetch_add(lost, Relaxed);
        inner.inbound.unreachable(peer.id);
        time::sleep(back_off).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

fn now(inner: &Inner) -> Duration {
    inner.clock.monotonic()
}

pub(crate) type Stream = TokioIo<Upgraded>;

/// Opens the stream of this name.
pub(crate) async fn open(
    inner: &Arc<Inner>,
    peer: &Peer,
    url: Option<Uri>,
    name: &str,
) -> Result<Stream, String> {
    let url = url.ok_or("it has no peer URL that can be used")?;
    let opening = time::timeout(HANDSHAKE_TIMEOUT, handshake(inner, peer, &url, name));
    match opening.await {
        Ok(opened) => opened.map_err(|why| format!("{url}: {why}")),
        Err(_) => Err(format!("{url}: no answer in time")),
    }
}

async fn handshake(
    inner: &Arc<Inner>,
    peer: &Peer,
    url: &Uri,
    name: &str,
) -> Result<Stream, String> {
    let connection = inner.dialer.dial(url).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(connection)).await.map_err(|error| error.to_string())?;
    // Ends with the stream, or with `sender`.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(format!("/raft/stream/{name}"))
        .header(header::HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL);
    for (name, value) in inner.identity.headers(peer.id) {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| error.to_string())?;
        return Ok(TokioIo::new(upgraded));
    }
    let status = response.status();
    let is_ours = inner.identity.has_signed(response.headers());
    let foreign = Identity::foreign(response.headers()).unwrap_or_default();
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let text = body.map(Collected::to_bytes).unwrap_or_default();
    // Who believes this leaves for good.
    if status == StatusCode::GONE && is_ours {
        inner.inbound.removed(peer.id);
    }
    Err(format!("it refuses: {} ({status}){foreign}", String::from_utf8_lossy(&text).trim()))
}

/// Sends until something breaks.
async fn send_all(peer: &Peer, lane: Lane, stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    // When the ping was sent that has no answer yet, and its number.
    let asked = Mutex::new((0_u64, None::<time::Instant>));
    let read = async {
        while let Some(frame) = Frame::read(&mut Box::pin(&mut reader)).await? {
            let mut asked = asked.lock();
            if let (Frame::Pong(number), (last, Some(at))) = (frame, *asked)
                && number == last
            {
                peer.round_trip(at.elapsed());
                asked.1 = None;
            }
        }
        Ok(())
    };
    let write = async {
        let mut pings = time::interval(PING_EVERY);
        let mut out = BytesMut::new();
        loop {
            out.clear();
            tokio::select! {
                messages = peer.queue(lane).take(BATCH_BYTES) => {
                    peer.counts.sent.fetch_add(messages.len() as u64, Relaxed);
                    for one in messages {
                        Frame::Message(one).write(&mut out);
                    }
                }
                _ = pings.tick() => {
                    let mut asked = asked.lock();
                    match asked.1 {
                        Some(at) if at.elapsed() > SILENCE_MAX => return Err(silent()),
                        Some(_) => {}
                        None => {
                            *asked = (asked.0 + 1, Some(time::Instant::now()));
                            Frame::Ping(asked.0).write(&mut out);
                        }
                    }
                }
            }
            time::timeout(SILENCE_MAX, writer.write_all(&out)).await.map_err(|_| silent())??;
            peer.counts.sent_bytes.fetch_add(out.len() as u64, Relaxed);
            if out.capacity() > 2 * BATCH_BYTES {
                out = BytesMut::new();
            }
        }
    };
    tokio::select! {
        ended = read => ended,
        ended = write => ended,
    }
}

fn silent() -> io::Error {
    let seconds = SILENCE_MAX.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {seconds} s"))
}
