//! Snapshots: a stream of their own, for as long as one takes.
//!
//! Over an upgraded `GET /raft/stream/snapshot`: a message with the header, messages with the
//! chunks, then a ping with their checksum; the receiver answers it with a pong once all of it is
//! durable. A stream that ends otherwise has failed.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use base::MemberId;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    time,
};

use crate::{
    frame::Frame,
    outgoing,
    peers::{Inner, Peer},
    transfers::Transfer,
    watched::Watched,
};

/// A stream that this member has opened.
type Stream = Watched<outgoing::Stream>;

/// How long nothing may be written or read, and the final answer may take: disks are busy then.
const PATIENCE: Duration = Duration::from_secs(30);
/// Chunks on their way to the disk.
const CHUNKS_WAITING: usize = 2;

/// What a snapshot's stream consists of, on both sides. A channel that is closed without the end
/// means that it has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Chunk(Bytes),
    /// All chunks have been sent.
    End,
}

/// What a receiver is given: the pieces as they come, and where to say how it ended.
#[derive(Debug)]
pub struct Arriving {
    pub from: MemberId,
    pub header: Bytes,
    pub pieces: mpsc::Receiver<Piece>,
    /// Once all of it is durable, or cannot be.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// Counts what has gone over a stream, so that nothing of it can be missing.
#[derive(Default)]
struct Sum {
    crc: u32,
    chunks: u32,
}

impl Sum {
    fn add(&mut self, chunk: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, chunk);
        self.chunks = self.chunks.wrapping_add(1);
    }

    fn number(&self) -> u64 {
        u64::from(self.chunks) << 32 | u64::from(self.crc)
    }
}

/// Sends a snapshot; returns once the peer has it. What has begun at one of its URLs and fails is not
/// begun again: raft asks for another one, which goes to the next.
pub(crate) async fn send(
    inner: Arc<Inner>,
    peer: Arc<Peer>,
    header: Bytes,
    pieces: mpsc::Receiver<Piece>,
) -> Result<(), String> {
    let transfer = Transfer::begin(&peer.counts.snapshots_sent);
    let stream = open(&inner, &peer).await?;
    let sent = send_over(stream, header, pieces).await;
    peer.snapshot_failures.fetch_add(usize::from(sent.is_err()), Relaxed);
    transfer.end(sent.is_ok());
    sent
}

/// At the first of its URLs that takes a snapshot, beginning with the one that did last.
async fn open(inner: &Arc<Inner>, peer: &Peer) -> Result<Stream, String> {
    let urls = peer.urls.read().clone();
    let mut failed = Vec::new();
    for _ in 0..urls.len().max(1) {
        let at = peer.snapshot_failures.load(Relaxed) % urls.len().max(1);
        match outgoing::open(inner, peer, urls.get(at).cloned(), "snapshot").await {
            Ok(stream) => return Ok(Watched::new(stream, PATIENCE)),
            Err(why) => failed.push(why),
        }
        peer.snapshot_failures.fetch_add(1, Relaxed);
    }
    Err(failed.join("; "))
}

async fn send_over(
    mut stream: Stream,
    header: Bytes,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    write(&mut stream, &Frame::Message(header)).await.map_err(text)?;
    let mut sum = Sum::default();
    loop {
        match time::timeout(PATIENCE, pieces.recv()).await {
            Ok(Some(Piece::Chunk(chunk))) => {
                sum.add(&chunk);
                write(&mut stream, &Frame::Message(chunk)).await.map_err(text)?;
            }
            Ok(Some(Piece::End)) => break,
            Ok(None) => return Err("it was given up".to_owned()),
            Err(_) => return Err("the keyspace was not read in time".to_owned()),
        }
    }
    write(&mut stream, &Frame::Ping(sum.number())).await.map_err(text)?;
    match Frame::read(&mut stream).await {
        Ok(Some(Frame::Pong(number))) if number == sum.number() => Ok(()),
        Ok(_) => Err("the peer could not take it: see its log".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err("no answer in time".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut out = BytesMut::new();
    frame.write(&mut out);
    stream.write_all(&out).await?;
    stream.flush().await
}

/// Receives a snapshot, and hands its pieces on.
pub(crate) async fn receive(
    inner: &Inner,
    from: MemberId,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut stream = Watched::new(stream, PATIENCE);
    let Some(Frame::Message(header)) = Frame::read(&mut stream).await? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a snapshot without a header"));
    };
    let transfer = inner.peer(from).map(|peer| Transfer::begin(&peer.counts.snapshots_received));
    let (give, pieces) = mpsc::channel(CHUNKS_WAITING);
    let (done, ended) = oneshot::channel();
    inner.inbound.snapshot(Arriving { from, header, pieces, done });
    let gone = |_| io::Error::other("nobody takes the snapshot");
    let mut sum = Sum::default();
    let number = loop {
        match Frame::read(&mut stream).await? {
            Some(Frame::Message(chunk)) => {
                sum.add(&chunk);
                give.send(Piece::Chunk(chunk)).await.map_err(gone)?;
            }
            Some(Frame::Ping(number)) if number == sum.number() => break number,
            Some(_) => {
                let what = "a snapshot whose checksum is wrong";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    give.send(Piece::End).await.map_err(gone)?;
    let ended = time::timeout(PATIENCE, ended).await.map_err(|_| io::ErrorKind::TimedOut)?;
    ended.unwrap_or_else(|_| Err("nobody takes it".to_owned())).map_err(io::Error::other)?;
    // All of it is here, whether or not its sender hears of that.
    if let Some(transfer) = transfer {
        transfer.end(true);
    }
    write(&mut stream, &Frame::Pong(number)).await
}
