//! The streams that a member opens: one task for each peer and lane.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tls::{ClientStream, Wire};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    time,
};

use crate::{
    Identity,
    frame::Frame,
    peers::{Inner, Lane, Peer},
    standing::Standing,
};

/// The protocol that a stream is upgraded to.
pub(crate) const PROTOCOL: &str = "retcd-raft/1";
const PING_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked whether a peer has been silent for too long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Whoever answers no ping for so long, and the time in addition that members may be apart, is asked for
/// another stream. Signs that he reads come once a second: two of them are missing then.
const DOUBT: Duration = Duration::from_millis(1_500);
/// Between two tries; doubled each time. Short, since a new leader may be waiting.
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// What is written at once.
const BATCH_BYTES: usize = 1 << 20;
/// Of a refusal no more is read.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// Opens a stream and sends what is queued, for ever.
pub(crate) async fn run(inner: Arc<Inner>, peer: Arc<Peer>, lane: Lane) {
    let mut tries = Tries::new();
    loop {
        match tries.open(&inner, &peer, lane, || true).await {
            Ok(stream) => {
                peer.set_open(lane, true, inner.clock.wall());
                let ended = send_over(&inner, &peer, lane, &mut tries, stream).await;
                peer.set_open(lane, false, inner.clock.wall());
                let why = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
                peer.complain(&format!("lost the {} stream: {why}", lane.name()), now(&inner));
                tries.begin_anew();
            }
            Err(why) => peer.complain(&why, now(&inner)),
        }
        lose(&inner, &peer, lane);
        tries.rest().await;
    }
}

/// Sends over this stream, and over those that take its place.
async fn send_over(
    inner: &Arc<Inner>,
    peer: &Peer,
    lane: Lane,
    tries: &mut Tries,
    mut stream: Stream,
) -> io::Result<()> {
    loop {
        let standing = Mutex::new(Standing::new(inner.timeouts));
        tries.begin_anew();
        stream = tokio::select! {
            biased;
            ended = send_all(peer, lane, &standing, stream) => return ended,
            next = renew(inner, peer, lane, &standing, tries) => next,
        };
        tracing::info!(peer = %peer.id, "opened another {} stream: the old one was silent", lane.name());
        lose(inner, peer, lane);
    }
}

/// Opens another stream once nothing has been heard over this one for a while, and ends when there is
/// one. What was lost while the line was cut is sent again later and later; whoever is asked anew answers
/// as soon as the line is whole. The old one may yet speak before.
async fn renew(
    inner: &Arc<Inner>,
    peer: &Peer,
    lane: Lane,
    standing: &Mutex<Standing>,
    tries: &mut Tries,
) -> Stream {
    let patience = DOUBT + inner.dialer.reach();
    loop {
        let heard = standing.lock().heard();
        if heard.elapsed() < patience {
            tries.begin_anew();
            time::sleep_until(heard + patience).await;
            continue;
        }
        // What is wrong is told once the stream is lost.
        let is_silent = || standing.lock().heard() == heard;
        if let Ok(stream) = tries.open(inner, peer, lane, is_silent).await {
            return stream;
        }
        tries.rest().await;
    }
}

/// Of what was to be sent nobody knows what has arrived.
fn lose(inner: &Inner, peer: &Peer, lane: Lane) {
    let lost = peer.queue(lane).clear() as u64;
    peer.counts.failed.fetch_add(lost, Relaxed);
    inner.inbound.unreachable(peer.id);
}

/// How often a stream is tried to be opened: each time at the next URL.
struct Tries {
    count: usize,
    back_off: Duration,
    /// When the last one began.
    since: time::Instant,
}

impl Tries {
    fn new() -> Self {
        Self { count: 0, back_off: BACK_OFF, since: time::Instant::now() }
    }

    fn begin_anew(&mut self) {
        self.back_off = BACK_OFF;
    }

    /// Opens a stream that is wanted still when there is a connection for it.
    async fn open(
        &mut self,
        inner: &Arc<Inner>,
        peer: &Peer,
        lane: Lane,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Stream, String> {
        let url = {
            let urls = peer.urls.read();
            urls.get(self.count % urls.len().max(1)).cloned()
        };
        self.count = self.count.wrapping_add(1);
        self.since = time::Instant::now();
        open_if(inner, peer, url, lane.name(), is_wanted).await
    }

    /// Until the next one: what has taken its time needs no rest behind it, in which nobody would notice
    /// that the line is whole.
    async fn rest(&mut self) {
        time::sleep_until(self.since + self.back_off).await;
        self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
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
    open_if(inner, peer, url, name, || true).await
}

pub(crate) async fn open_if(
    inner: &Arc<Inner>,
    peer: &Peer,
    url: Option<Uri>,
    name: &str,
    is_wanted: impl Fn() -> bool,
) -> Result<Stream, String> {
    let url = url.ok_or("it has no peer URL that can be used")?;
    let opening = async {
        let connection = inner.dialer.dial(&url).await.map_err(|error| error.to_string())?;
        // Who grants a stream ends the one before.
        if !is_wanted() {
            return Err("it is not needed any more".to_owned());
        }
        ask(inner, peer, &url, name, connection).await
    };
    match time::timeout(inner.dialer.patience(), opening).await {
        Ok(opened) => opened.map_err(|why| format!("{url}: {why}")),
        Err(_) => Err(format!("{url}: no answer in time")),
    }
}

/// Asks for the stream over this connection.
async fn ask(
    inner: &Arc<Inner>,
    peer: &Peer,
    url: &Uri,
    name: &str,
    connection: Wire<ClientStream>,
) -> Result<Stream, String> {
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
pub(crate) async fn send_all(
    peer: &Peer,
    lane: Lane,
    standing: &Mutex<Standing>,
    stream: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    let read = async {
        while let Some(frame) = Frame::read(&mut Box::pin(&mut reader)).await? {
            let mut standing = standing.lock();
            if standing.is_behind_all(&frame) {
                peer.queue(lane).arrived();
            }
            if let Some(took) = standing.hear(&frame)
                // Behind entries it would be their time that is measured.
                && lane == Lane::Message
            {
                peer.round_trip(took);
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
                    standing.lock().messages();
                    peer.counts.sent.fetch_add(messages.len() as u64, Relaxed);
                    for one in messages {
                        Frame::Message(one).write(&mut out);
                    }
                }
                _ = pings.tick() => standing.lock().ping(&mut out),
                () = peer.queue(lane).repeated() => standing.lock().ping(&mut out),
            }
            write_batch(standing, &mut writer, &out, &peer.counts.sent_bytes).await?;
            if out.capacity() > 2 * BATCH_BYTES {
                out = BytesMut::new();
            }
        }
    };
    // What has been heard counts first: this process may have slept.
    tokio::select! {
        biased;
        ended = read => ended,
        ended = watch(standing) => ended,
        ended = write => ended,
    }
}

async fn write_batch(
    standing: &Mutex<Standing>,
    writer: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    sent: &AtomicU64,
) -> io::Result<()> {
    standing.lock().begins(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = writer.write(rest).await?;
        // Also if the rest never goes out.
        sent.fetch_add(written as u64, Relaxed);
        rest = rest.get(written..).filter(|_| written > 0).ok_or(io::ErrorKind::WriteZero)?;
        standing.lock().writes(written);
    }
    writer.flush().await
}

/// Ends once the peer has been silent for too long.
async fn watch(standing: &Mutex<Standing>) -> io::Result<()> {
    loop {
        let until = standing.lock().given_up_at();
        // It may come nearer with what is written next.
        time::sleep_until(until.min(time::Instant::now() + LOOK_EVERY)).await;
        let standing = standing.lock();
        if standing.given_up_at() <= time::Instant::now() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, standing.silent()));
        }
    }
}

#[cfg(test)]
mod tests {
    use base::MemberId;

    use super::*;
    use crate::{Covers, Stay, Timeouts};

    /// The peer has thrown it away: until it is known to have read it nothing goes out again.
    #[tokio::test(start_paused = true)]
    async fn whether_what_is_said_again_was_read_is_asked_at_once() {
        let peer = Peer::new(MemberId(2), Vec::new());
        let standing = Mutex::new(Standing::new(Timeouts::default()));
        let (near, far) = tokio::io::duplex(1 << 20);
        let (read, mut write) = tokio::io::split(far);
        let mut read = BufReader::new(read);
        let say = || {
            let covers = Covers { term: 1, after: 0, until: 3 };
            assert!(peer.queue(Lane::Append).push(vec![0; 64 << 10].into(), Stay::Until(covers)));
        };
        let story = async {
            let mut out = BytesMut::new();
            assert_eq!(Frame::read(&mut read).await.unwrap(), Some(Frame::Ping(1)));
            Frame::Pong(1).write(&mut out);
            write.write_all(&out).await.unwrap();
            say();
            assert!(matches!(Frame::read(&mut read).await.unwrap(), Some(Frame::Message(_))));
            let began = time::Instant::now();
            say();
            assert_eq!(Frame::read(&mut read).await.unwrap(), Some(Frame::Ping(2)));
            // The clock stands still unless somebody waits for it.
            assert_eq!(began.elapsed(), Duration::ZERO);
        };
        tokio::select! {
            ended = send_all(&peer, Lane::Append, &standing, near) => panic!("it ended: {ended:?}"),
            () = story => {}
        }
    }
}
