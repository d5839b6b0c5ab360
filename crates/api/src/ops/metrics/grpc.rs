//! What is counted of calls through gRPC. On its way a call adds to numbers, and takes no lock.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base::{Histogram, Pace};
use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use crate::{
    audit::Trail,
    traces::Span,
    v3::methods::{Kind, METHODS, Method},
};

/// Clients choose what version they tell of: of so many there is a count each, of the others one.
const VERSIONS_MAX: usize = 64;
const VERSION_BYTES_MAX: usize = 64;
const OTHER_VERSIONS: &str = "other";
/// The codes of gRPC.
pub(super) const CODES: usize = 17;
/// Before each message stand a flag and its length.
const PREFIX_BYTES: usize = 5;

/// The bounds of the middleware's histogram, in milliseconds.
const BOUNDS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// Counts calls.
#[derive(Debug)]
pub(crate) struct GrpcCounters {
    /// As [`METHODS`].
    pub(super) methods: Vec<Calls>,
    /// Unary calls, and streams.
    pub(super) clients: [Versions; 2],
    pub(crate) ranges: AtomicU64,
    /// How long reading a range takes that failed, and one that did not.
    pub(crate) range_durations: [Histogram; 2],
    /// Sent to watches.
    pub(crate) events: AtomicU64,
    /// Open now.
    pub(crate) watch_streams: AtomicU64,
    pub(crate) watch: Bidi,
    pub(crate) keep_alive: Bidi,
    pub(crate) traffic: Arc<Traffic>,
    expected: Duration,
    /// Since then the time is counted by which lines of the log are paced.
    began: Instant,
}

/// Calls by the versions of their clients: those that came first have a count each. Takes no lock.
#[derive(Debug)]
pub(super) struct Versions {
    /// Filled from the beginning.
    known: [OnceLock<(Box<str>, AtomicU64)>; VERSIONS_MAX],
    others: AtomicU64,
}

impl Default for Versions {
    fn default() -> Self {
        Self { known: [const { OnceLock::new() }; VERSIONS_MAX], others: AtomicU64::default() }
    }
}

impl Versions {
    fn of(&self, version: &str) -> &AtomicU64 {
        if version.len() > VERSION_BYTES_MAX {
            return &self.others;
        }
        for place in &self.known {
            // Of several that come at once one gets the place, and the others go on.
            let (known, count) = place.get_or_init(|| (Box::from(version), AtomicU64::default()));
            if **known == *version {
                return count;
            }
        }
        &self.others
    }

    /// Those that there were.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        let known = self.known.iter().map_while(OnceLock::get);
        let known = known.map(|(version, count)| (&**version, count.load(Relaxed)));
        let others = self.others.load(Relaxed);
        known.chain((others > 0).then_some((OTHER_VERSIONS, others)))
    }
}

/// A method whose clients go on asking.
#[derive(Debug)]
pub(crate) struct Bidi {
    /// The method's place in [`METHODS`].
    at: usize,
    /// Streams on which a client's question could not be read.
    pub(super) failures: AtomicU64,
}

impl Bidi {
    fn of(service: &str, method: &str) -> Self {
        Self { at: Method::called(service, method).0, failures: AtomicU64::default() }
    }
}

/// Bytes that connections of HTTP/2 carry.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Those received, and those sent.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }
}

#[derive(Debug)]
pub(super) struct Calls {
    pub(super) started: AtomicU64,
    pub(super) handled: [AtomicU64; CODES],
    /// Messages.
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    /// Until they ended, whatever came of them; only if asked for.
    pub(super) durations: Option<Histogram>,
    /// The same with etcd's bounds: of unary calls that failed, and of those that did not.
    pub(super) requests: [Histogram; 2],
    slow: Pace,
}

impl Calls {
    fn new(is_extensive: bool) -> Self {
        let requests = || Histogram::doubling(Duration::from_millis(1), 14);
        let durations = || Histogram::new(BOUNDS.into_iter().map(Duration::from_millis).collect());
        Self {
            started: AtomicU64::default(),
            handled: Default::default(),
            received: AtomicU64::default(),
            sent: AtomicU64::default(),
            durations: is_extensive.then(durations),
            requests: [requests(), requests()],
            slow: Pace::default(),
        }
    }
}

impl GrpcCounters {
    /// `is_extensive`: tells how long each method takes. `expected`: calls that take longer are told in
    /// the log.
    pub(crate) fn new(is_extensive: bool, expected: Duration) -> Self {
        let ranges = || Histogram::doubling(Duration::from_micros(100), 20);
        Self {
            methods: METHODS.iter().map(|_| Calls::new(is_extensive)).collect(),
            clients: Default::default(),
            ranges: AtomicU64::new(0),
            range_durations: [ranges(), ranges()],
            events: AtomicU64::new(0),
            watch_streams: AtomicU64::new(0),
            watch: Bidi::of("Watch", "watch"),
            keep_alive: Bidi::of("Lease", "lease_keep_alive"),
            traffic: Arc::default(),
            expected,
            began: Instant::now(),
        }
    }

    /// A call by a client of this version.
    pub(crate) fn client(&self, is_unary: bool, version: &str) {
        let [unary, streams] = &self.clients;
        let counts = if is_unary { unary } else { streams };
        counts.of(version).fetch_add(1, Relaxed);
    }

    /// A client has asked something more on a stream, or what it asked could not be read.
    pub(crate) fn asked(&self, on: &Bidi, question: Result<(), Code>) {
        match question {
            Ok(()) => {
                if let Some(calls) = self.calls(on.at) {
                    calls.received.fetch_add(1, Relaxed);
                }
            }
            // Whoever goes away fails nothing.
            Err(Code::Cancelled) => {}
            Err(_) => drop(on.failures.fetch_add(1, Relaxed)),
        }
    }

    /// A range was read, or was not.
    pub(crate) fn read_range(&self, began: Instant, succeeded: bool) {
        if let Some(durations) = self.range_durations.get(usize::from(succeeded)) {
            durations.record(began.elapsed());
        }
    }

    fn calls(&self, at: usize) -> Option<&Calls> {
        self.methods.get(at)
    }
}

/// A call that has begun. One that goes before it has ended was given up by its client.
pub(crate) struct Call {
    counters: Arc<GrpcCounters>,
    /// The method's place in [`METHODS`].
    at: usize,
    began: Instant,
    has_ended: bool,
    messages: Messages,
    span: Option<Box<dyn Span>>,
    trail: Option<Trail>,
    /// How long the answer took: what comes after that is its client's affair.
    made: Option<Duration>,
    remote: Option<SocketAddr>,
}

impl Call {
    pub(crate) fn begin(counters: &Arc<GrpcCounters>, at: usize) -> Self {
        if let Some(calls) = counters.calls(at) {
            calls.started.fetch_add(1, Relaxed);
            // On the other streams each is counted when it comes.
            if kind(at) != Kind::BidiStream {
                calls.received.fetch_add(1, Relaxed);
            }
        }
        let messages = Messages::default();
        Self {
            counters: Arc::clone(counters),
            at,
            began: Instant::now(),
            has_ended: false,
            messages,
            span: None,
            trail: None,
            made: None,
            remote: None,
        }
    }

    /// Whoever follows it hears how it ends.
    #[must_use]
    pub(crate) fn followed_by(mut self, span: Option<Box<dyn Span>>) -> Self {
        self.span = span;
        self
    }

    /// Its record says what it is, and how it ends.
    #[must_use]
    pub(crate) fn recorded_by(mut self, trail: Option<Trail>, is_json: bool) -> Self {
        if let (Some(trail), Some(method)) = (&trail, METHODS.get(self.at)) {
            trail.is_of(method, is_json);
        }
        self.trail = trail;
        self
    }

    /// Who asks.
    #[must_use]
    pub(crate) fn from(mut self, remote: Option<SocketAddr>) -> Self {
        self.remote = remote;
        self
    }

    /// The answer is there, or begins to be sent while it is made.
    pub(crate) fn made(&mut self) {
        if kind(self.at) == Kind::Unary {
            self.made.get_or_insert_with(|| self.began.elapsed());
        }
    }

    /// Bytes of the answer go out.
    pub(crate) fn sends(&mut self, bytes: &[u8]) {
        if kind(self.at) != Kind::Unary {
            let begun = self.messages.begun_in(bytes);
            self.sent(begun);
        }
    }

    /// Messages of the answer go out.
    pub(crate) fn sent(&self, messages: u64) {
        if let Some(calls) = self.counters.calls(self.at) {
            calls.sent.fetch_add(messages, Relaxed);
        }
    }

    /// It has ended if these headers, or trailers, say how.
    pub(crate) fn ended_as(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.ended(Code::from_bytes(code.as_bytes()));
        }
    }

    pub(crate) fn ended(&mut self, code: Code) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        if let Some(span) = self.span.take() {
            span.end(code.into());
        }
        if let Some(trail) = self.trail.take() {
            trail.ended(code);
        }
        let Some(calls) = self.counters.calls(self.at) else { return };
        let number = usize::try_from(i32::from(code)).unwrap_or_default();
        if let Some(count) = calls.handled.get(number) {
            count.fetch_add(1, Relaxed);
        }
        let took = self.made.unwrap_or_else(|| self.began.elapsed());
        if let Some(durations) = &calls.durations {
            durations.record(took);
        }
        if kind(self.at) == Kind::Unary {
            calls.sent.fetch_add(u64::from(code == Code::Ok), Relaxed);
            if let Some(durations) = calls.requests.get(usize::from(code == Code::Ok)) {
                durations.record(took);
            }
            if took > self.counters.expected && !waits(self.at) {
                self.tell(&calls.slow, took, code);
            } else {
                let kind = METHODS.get(self.at).map(Method::path);
                tracing::debug!(
                    target: "etcdserver/api/v3rpc",
                    ?code,
                    "time spent" = ?took,
                    "response type" = kind.as_ref().map(tracing::field::display),
                    remote = self.remote.map(tracing::field::display),
                    "request stats"
                );
            }
        }
    }

    /// In etcd's words. How often that was since the last line of this method stands beside.
    #[cold]
    fn tell(&self, slow: &Pace, took: Duration, code: Code) {
        let Some(method) = METHODS.get(self.at) else { return };
        let Some(times) = slow.note(self.counters.began.elapsed()) else { return };
        tracing::warn!(
            target: "etcdserver/api/v3rpc",
            ?code,
            "time spent" = ?took,
            "expected-duration" = ?self.counters.expected,
            "response type" = %method.path(),
            remote = self.remote.map(tracing::field::display),
            times,
            "request stats"
        );
    }
}

/// Whether a call waits for others, as long as they like.
fn waits(at: usize) -> bool {
    METHODS.get(at).is_some_and(|method| {
        method.is("v3lockpb.Lock", "Lock") || method.is("v3electionpb.Election", "Campaign")
    })
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ended(Code::Cancelled);
    }
}

fn kind(at: usize) -> Kind {
    METHODS.get(at).map_or(Kind::Unary, |method| method.kind)
}

/// Finds where messages begin in the bytes that go out, however they are cut.
#[derive(Debug, Default)]
struct Messages {
    prefix: [u8; PREFIX_BYTES],
    /// So much of a prefix has come.
    filled: usize,
    /// Bytes of a message that are still to come.
    left: usize,
}

impl Messages {
    /// How many messages begin here.
    fn begun_in(&mut self, mut bytes: &[u8]) -> u64 {
        let mut begun = 0;
        loop {
            let of_message = self.left.min(bytes.len());
            self.left -= of_message;
            bytes = bytes.get(of_message..).unwrap_or_default();
            let Some((first, rest)) = bytes.split_first() else { return begun };
            bytes = rest;
            if let Some(byte) = self.prefix.get_mut(self.filled) {
                *byte = *first;
                self.filled += 1;
            }
            if self.filled == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length) as usize;
                self.filled = 0;
                begun += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Page, of_grpc},
        *,
    };

    #[test]
    fn clients_cannot_make_counts_without_end() {
        let counters = GrpcCounters::new(false, Duration::MAX);
        for version in 0..1_000 {
            counters.client(true, &format!("3.{version}"));
        }
        counters.client(true, "3.5");
        counters.client(false, &"x".repeat(1_000));
        counters.client(false, "a\"b\\c");
        let counted = |kind: usize| counters.clients[kind].all().count();
        assert_eq!((counted(0), counted(1)), (VERSIONS_MAX + 1, 2));
        let mut page = Page::default();
        of_grpc(&mut page, &counters);
        let line = |line: &str| assert!(page.text.contains(line), "{line}");
        line("etcd_server_client_requests_total{client_api_version=\"3.5\",type=\"unary\"} 2\n");
        line("{client_api_version=\"other\",type=\"unary\"} 936\n");
        line("{client_api_version=\"a\\\"b\\\\c\",type=\"stream\"} 1\n");
        line("{client_api_version=\"other\",type=\"stream\"} 1\n");
    }

    #[test]
    fn messages_are_counted_however_their_bytes_are_cut() {
        let mut bytes = Vec::new();
        for length in [0_u32, 3, 300, 0, 1] {
            bytes.push(0);
            bytes.extend(length.to_be_bytes());
            bytes.extend(vec![7; length as usize]);
        }
        for cut in [1, 2, 5, 7, 64, bytes.len()] {
            let mut messages = Messages::default();
            let begun: u64 = bytes.chunks(cut).map(|chunk| messages.begun_in(chunk)).sum();
            assert_eq!(begun, 5, "cut into pieces of {cut}");
        }
    }

    #[test]
    fn clients_that_come_at_once_are_counted_each_under_its_own_version() {
        let counters = GrpcCounters::new(false, Duration::MAX);
        std::thread::scope(|scope| {
            for version in 0..8 {
                let counters = &counters;
                scope.spawn(move || {
                    for _ in 0..1_000 {
                        counters.client(true, &version.to_string());
                    }
                });
            }
        });
        let mut all: Vec<_> = counters.clients[0].all().collect();
        all.sort_unstable();
        let names: Vec<_> = (0..8).map(|version| version.to_string()).collect();
        let expected: Vec<_> = names.iter().map(|name| (name.as_str(), 1_000)).collect();
        assert_eq!(all, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_client_takes_to_read_is_not_counted() {
        let counters = Arc::new(GrpcCounters::new(true, Duration::MAX));
        let (range, _) = Method::called("Kv", "range");
        let mut call = Call::begin(&counters, range);
        tokio::time::advance(Duration::from_millis(7)).await;
        call.made();
        tokio::time::advance(Duration::from_secs(100)).await;
        call.ended(Code::Ok);
        let durations = counters.methods[range].durations.as_ref().unwrap();
        assert!((durations.sum() - 0.007).abs() < 1e-9, "{}", durations.sum());
    }

    #[test]
    fn a_call_counts_its_messages_its_end_and_its_time() {
        let counters = Arc::new(GrpcCounters::new(true, Duration::MAX));
        let (put, _) = Method::called("Kv", "put");
        let (watch, _) = Method::called("Watch", "watch");
        Call::begin(&counters, put).ended(Code::Ok);
        Call::begin(&counters, put).ended(Code::NotFound);
        let mut stream = Call::begin(&counters, watch);
        counters.asked(&counters.watch, Ok(()));
        counters.asked(&counters.watch, Ok(()));
        counters.asked(&counters.watch, Err(Code::Internal));
        stream.sends(&[0, 0, 0, 0, 1, 9]);
        drop(stream);
        let of = |at: usize| {
            let calls = &counters.methods[at];
            [&calls.started, &calls.received, &calls.sent].map(|count| count.load(Relaxed))
        };
        assert_eq!((of(put), of(watch)), ([2, 2, 1], [1, 2, 1]));
        assert_eq!(counters.methods[watch].handled[Code::Cancelled as usize].load(Relaxed), 1);
        assert_eq!(counters.watch.failures.load(Relaxed), 1);
        let durations = counters.methods[put].durations.as_ref().unwrap();
        assert_eq!(durations.count(), 2);
    }
}
