//! The streams that other members open to this one.

use std::{
    io, mem,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use base::MemberId;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    time::{self, MissedTickBehavior},
};

use crate::{
    Identity,
    frame::{Frame, READ_BYTES, SIGN_OF_LIFE},
    identity::Refusal,
    outgoing::PROTOCOL,
    peers::{Inner, Lane},
    snapshots,
    watched::Watched,
};

/// What comes after a longer silence may be writes whose clients were told that they took too long, and
/// is not listened to, however long a silent stream is kept.
const LATE_AFTER: Duration = Duration::from_secs(5);
/// Whose ping waits behind something large is told meanwhile that it comes.
const SIGN_EVERY: Duration = Duration::from_secs(1);
/// Of those who are no members as far as this one knows: it may not have heard of them yet. A member
/// has one stream of each kind, whatever strangers do.
const STRANGERS_STREAMS_MAX: usize = 32;

/// Answers a request for a stream.
pub(crate) fn answer(inner: &Arc<Inner>, request: Request<Incoming>) -> Response<Bytes> {
    match accept(inner, request) {
        Ok(response) => response,
        Err(Refusal { status, text, word }) => {
            let now = inner.clock.monotonic();
            if let Some(times) = inner.refused.lock().note(text.clone(), now) {
                let status = status.as_u16();
                tracing::warn!(status, times, "refused a stream of a peer: {text}");
            }
            let body = word.map_or(text, str::to_owned);
            let mut response = plain(status, format!("{body}\n").into());
            for (name, value) in inner.identity.signature() {
                if let Ok(value) = HeaderValue::try_from(value) {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
    }
}

fn accept(inner: &Arc<Inner>, request: Request<Incoming>) -> Result<Response<Bytes>, Refusal> {
    let refuse = |status, text: &str| Refusal { status, text: text.to_owned(), word: None };
    let name = request.uri().path().strip_prefix("/raft/stream/").unwrap_or_default();
    let lane = Lane::named(name);
    if lane.is_none() && name != "snapshot" {
        return Err(Identity::unknown(request.headers()));
    }
    if *request.method() != Method::GET {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"));
    }
    let headers = request.headers();
    let from = inner.identity.check(headers, |member| inner.inbound.is_removed(member))?;
    inner.inbound.connected(from, Identity::version(headers));
    let protocol = headers.get(header::UPGRADE);
    if protocol.is_none_or(|protocol| protocol != PROTOCOL) {
        let text = format!("member {from} does not speak {PROTOCOL}: it is no member of ours");
        return Err(refuse(StatusCode::UPGRADE_REQUIRED, &text));
    }
    // Held meanwhile, as by whoever cuts off those who are gone.
    let peers = inner.peers.read();
    let mut streams = inner.incoming.lock();
    streams.retain(|_, stream| !stream.is_finished());
    let strangers = streams.keys().filter(|(id, _)| !peers.contains_key(id)).count();
    if !peers.contains_key(&from) && strangers >= STRANGERS_STREAMS_MAX {
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "too many strangers have streams"));
    }
    let task = tokio::spawn(serve(Arc::clone(inner), from, lane, request));
    if let Some(older) = streams.insert((from, lane), task.abort_handle()) {
        older.abort();
    }
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

fn plain(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Without a lane it is a snapshot that comes.
async fn serve(inner: Arc<Inner>, from: MemberId, lane: Option<Lane>, request: Request<Incoming>) {
    let ended = match hyper::upgrade::on(request).await {
        Ok(upgraded) if lane.is_none() => {
            snapshots::receive(&inner, from, TokioIo::new(upgraded)).await
        }
        Ok(upgraded) => receive_all(&inner, from, TokioIo::new(upgraded)).await,
        Err(error) => Err(io::Error::other(error)),
    };
    if ended.is_err()
        && let Some(peer) = inner.peer(from)
    {
        peer.counts.received_failures.fetch_add(1, Relaxed);
    }
    match ended {
        Ok(()) => tracing::debug!(peer = %from, "a stream ended"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(peer = %from, "closed the stream of a peer, which sent {error}");
        }
        Err(error) => tracing::debug!(peer = %from, %error, "a stream broke"),
    }
}

pub(crate) async fn receive_all(
    inner: &Inner,
    from: MemberId,
    stream: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(Box::pin(stream));
    // Pings come every second, unless larger things are on their way: from whom no byte comes is gone.
    let reader = Watched::new(reader, inner.timeouts.read).strictly(LATE_AFTER);
    let mut writer = Watched::new(writer, inner.timeouts.write);
    let came = reader.came();
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let mut signs = time::interval(SIGN_EVERY);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = 0;
    loop {
        let frame = {
            let mut next = pin!(Frame::read(&mut reader));
            loop {
                tokio::select! {
                    biased;
                    frame = &mut next => break frame?,
                    _ = signs.tick() => {
                        let now = came.load(Relaxed);
                        if mem::replace(&mut told, now) != now {
                            answer_ping(&mut writer, SIGN_OF_LIFE).await?;
                        }
                    }
                }
            }
        };
        // The rest of what was read at once: this process may have slept meanwhile.
        if reader.get_ref().is_late() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match frame {
            Some(Frame::Message(message)) => {
                if let Some(peer) = inner.peer(from) {
                    peer.counts.received_bytes.fetch_add(message.len() as u64, Relaxed);
                }
                inner.inbound.received(from, message);
            }
            Some(Frame::Ping(number)) => {
                answer_ping(&mut writer, number).await?;
                told = came.load(Relaxed);
                signs.reset();
            }
            Some(Frame::Pong(_)) => {}
            None => return Ok(()),
        }
    }
}

async fn answer_ping(writer: &mut (impl AsyncWrite + Unpin), number: u64) -> io::Result<()> {
    let mut out = BytesMut::new();
    Frame::Pong(number).write(&mut out);
    writer.write_all(&out).await?;
    writer.flush().await
}
