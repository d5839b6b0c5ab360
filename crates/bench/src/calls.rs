//! gRPC calls on few connections with many streams each: so many at any time, or each at its time.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    io::ErrorKind,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::{net::TcpStream, task::LocalSet};

use crate::{
    frames::{self, Call, END, End, Frame, kind},
    histogram::Histogram,
    load::{Load, Report, Verb},
};

/// What is due is sent that much later at most; what is later is not sent.
const SLACK: Duration = Duration::from_millis(20);
/// What is under way at the end is answered before this.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of a connection whose other side does not read: nothing more is sent then.
const UNSENT_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 64 << 10;
/// As every connection begins.
const WINDOW: i64 = 65_535;
/// After so much of answers the other side is told that it may send as much again.
const RECEIVED_BYTES_MAX: u32 = 1 << 30;

/// Writes the call of this number, on this stream; how much it takes of the windows.
pub(crate) type Calls = Rc<dyn Fn(u64, u32, &mut Vec<u8>) -> usize>;

/// What became of the calls.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) accepted: Histogram,
    pub(crate) refused: Histogram,
    pub(crate) failed: u64,
    /// They were due while no stream was free.
    pub(crate) unsent: u64,
}

impl From<Outcome> for Report {
    fn from(outcome: Outcome) -> Self {
        let Outcome { elapsed, accepted: latencies, refused, failed, unsent } = outcome;
        Self { elapsed, latencies, failed: failed + refused.total() + unsent }
    }
}

impl Outcome {
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    pub(crate) fn rate(&self) -> f64 {
        self.accepted.total() as f64 / self.elapsed.as_secs_f64()
    }

    fn merge(&mut self, other: &Self) {
        self.accepted.merge(&other.accepted);
        self.refused.merge(&other.refused);
        self.failed += other.failed;
        self.unsent += other.unsent;
    }
}

/// The calls of a load, `streams` of each connection at once; with a rate each at its time.
pub(crate) fn run(load: &Load, streams: usize) -> anyhow::Result<Outcome> {
    run_calls(load, streams, &round(calls(load)))
}

/// Goes round these calls.
pub(crate) fn round(calls: Vec<Call>) -> Calls {
    Rc::new(move |number, stream, out| {
        let at = usize::try_from(number).unwrap_or(0) % calls.len().max(1);
        calls.get(at).map_or(0, |call| {
            call.write(out, stream);
            call.data_bytes()
        })
    })
}

/// The same with other calls than those of the load's verb.
pub(crate) fn run_calls(load: &Load, streams: usize, calls: &Calls) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run_all(load, streams, calls))
}

async fn run_all(load: &Load, streams: usize, calls: &Calls) -> anyhow::Result<Outcome> {
    let count = load.count.unwrap_or(u64::MAX);
    let next = Rc::new(Cell::new(0));
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        let source = Source { calls: Rc::clone(calls), next: Rc::clone(&next), count };
        connections.push(Connection::open(load.endpoint, source, streams).await?);
    }
    let began = Instant::now();
    let until = began + load.duration;
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    let of_each = load.rate.map(|rate| rate / load.connections as f64);
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(at, connection)| {
            // They do not begin all at once.
            let pace = of_each.map(|rate| Pace { began, rate, of: (at, load.connections) });
            tokio::task::spawn_local(connection.run(until, pace))
        })
        .collect();
    let mut all = Outcome::default();
    for task in tasks {
        all.merge(&task.await??);
    }
    all.elapsed = began.elapsed();
    Ok(all)
}

fn calls(load: &Load) -> Vec<Call> {
    let call = |number: usize| {
        let key = format!("/bench/{number:06}").into_bytes();
        let mut message = field(1, &key);
        match load.verb {
            Verb::Put => {
                message.extend(field(2, &vec![b'x'; load.value_bytes]));
                Call::new(load.endpoint, "/etcdserverpb.KV/Put", &message)
            }
            Verb::Get => Call::new(load.endpoint, "/etcdserverpb.KV/Range", &message),
        }
    };
    (0..load.keys).map(call).collect()
}

/// A field of a protobuf message with bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        field.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    field.extend_from_slice(bytes);
    field
}

/// When each call of a connection is due.
#[derive(Clone, Copy)]
struct Pace {
    began: Instant,
    rate: f64,
    /// Which of how many connections.
    of: (usize, usize),
}

impl Pace {
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    fn due(self, number: u64) -> Instant {
        let (at, all) = self.of;
        let later = at as f64 / all as f64;
        self.began + Duration::from_secs_f64((number as f64 + later) / self.rate)
    }
}

/// The calls that all connections make together.
struct Source {
    calls: Calls,
    next: Rc<Cell<u64>>,
    count: u64,
}

struct Connection {
    stream: TcpStream,
    source: Source,
    streams: usize,
    next_stream: u32,
    /// When each of those under way was due.
    under_way: BTreeMap<u32, Instant>,
    /// What the other side still takes.
    window: i64,
    out: VecDeque<u8>,
    read: Vec<u8>,
    /// Of answers since the other side was last told.
    received: u32,
    outcome: Outcome,
}

impl Connection {
    async fn open(endpoint: SocketAddr, source: Source, streams: usize) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(endpoint).await.with_context(|| format!("connect to {endpoint}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            source,
            streams,
            next_stream: 1,
            under_way: BTreeMap::new(),
            window: WINDOW,
            out: frames::hello().into(),
            read: Vec::with_capacity(READ_BYTES),
            received: 0,
            outcome: Outcome::default(),
        })
    }

    async fn run(mut self, until: Instant, pace: Option<Pace>) -> anyhow::Result<Outcome> {
        let mut number = 0;
        loop {
            let now = Instant::now();
            let is_over = now >= until || self.source.next.get() >= self.source.count;
            if is_over && self.under_way.is_empty() {
                return Ok(self.outcome);
            }
            ensure!(now < until + PATIENCE, "{} calls are not answered", self.under_way.len());
            let mut wake = if is_over { until + PATIENCE } else { until };
            if !is_over {
                match pace {
                    None => {
                        while self.has_room() {
                            self.call(now)?;
                        }
                    }
                    Some(pace) => {
                        while pace.due(number) <= now {
                            let due = pace.due(number).max(now.checked_sub(SLACK).unwrap_or(now));
                            if self.has_room() {
                                self.call(due)?;
                            } else if pace.due(number) + SLACK < now {
                                self.outcome.unsent += 1;
                            } else {
                                break;
                            }
                            number += 1;
                        }
                        // Late by up to a millisecond, as timers are: it counts.
                        wake = wake.min(pace.due(number).max(now + Duration::from_millis(1)));
                    }
                }
            }
            self.write()?;
            tokio::select! {
                ready = self.stream.readable() => {
                    ready?;
                    self.receive()?;
                }
                ready = self.stream.writable(), if !self.out.is_empty() => ready?,
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.streams
            && self.window > 0
            && self.out.len() < UNSENT_BYTES_MAX
            && self.source.next.get() < self.source.count
    }

    fn call(&mut self, due: Instant) -> anyhow::Result<()> {
        let number = self.source.next.get();
        self.source.next.set(number + 1);
        let mut bytes = Vec::with_capacity(512);
        let data_bytes = (self.source.calls)(number, self.next_stream, &mut bytes);
        self.window -= i64::try_from(data_bytes)?;
        self.out.extend(bytes);
        self.under_way.insert(self.next_stream, due);
        self.next_stream += 2;
        Ok(())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_write(self.out.as_slices().0) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        self.read.reserve(READ_BYTES);
        match self.stream.try_read_buf(&mut self.read) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let read = std::mem::take(&mut self.read);
        let mut at = 0;
        while let Some((frame, taken)) = read.get(at..).and_then(Frame::first) {
            self.take(frame)?;
            at += taken;
        }
        self.read = read;
        self.read.drain(..at);
        Ok(())
    }

    fn take(&mut self, frame: Frame<'_>) -> anyhow::Result<()> {
        let mut answer = Vec::new();
        match frame.kind {
            kind::DATA => {
                self.received += u32::try_from(frame.payload.len())?;
                if self.received > RECEIVED_BYTES_MAX {
                    let more = std::mem::take(&mut self.received).to_be_bytes();
                    frames::frame(&mut answer, (kind::WINDOW_UPDATE, 0, 0), &more);
                }
            }
            kind::HEADERS if frame.flags & END != 0 => {
                self.end(frame.stream, End::of(frame.payload));
            }
            kind::RST_STREAM => self.end(frame.stream, End::Failed),
            kind::SETTINGS if frame.flags & END == 0 => {
                if let Some(most) = frame.setting(3) {
                    self.streams = self.streams.min(most as usize);
                }
                frames::frame(&mut answer, (kind::SETTINGS, END, 0), &[]);
            }
            kind::PING if frame.flags & END == 0 => {
                frames::frame(&mut answer, (kind::PING, END, 0), frame.payload);
            }
            kind::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number()),
            kind::GOAWAY => bail!("the server sends its client away"),
            _ => {}
        }
        self.out.extend(answer);
        Ok(())
    }

    fn end(&mut self, stream: u32, end: End) {
        let Some(due) = self.under_way.remove(&stream) else { return };
        match end {
            End::Well => self.outcome.accepted.record(due.elapsed()),
            End::Refused => self.outcome.refused.record(due.elapsed()),
            End::Failed => self.outcome.failed += 1,
        }
    }
}
