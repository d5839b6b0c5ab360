//! What was asked through gRPC, under the names of etcd 3 and of its Prometheus middleware.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::HeaderMap;
use parking_lot::RwLock;
use tonic::Code;

use super::Page;
use crate::v3::methods::{METHODS, Method};

/// Clients choose what version they tell of: of so many there is a count each, of the others one.
const VERSIONS_MAX: usize = 64;
const VERSION_BYTES_MAX: usize = 64;
const OTHER_VERSIONS: &str = "other";

/// The codes of gRPC, by number, as the middleware names them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Counts calls.
#[derive(Debug)]
pub(crate) struct GrpcCounters {
    /// As [`METHODS`].
    methods: Vec<Calls>,
    /// Unary calls, and streams.
    clients: [RwLock<BTreeMap<Box<str>, AtomicU64>>; 2],
    pub(crate) ranges: AtomicU64,
    /// Sent to watches.
    pub(crate) events: AtomicU64,
    /// Open now.
    pub(crate) watch_streams: AtomicU64,
    pub(crate) traffic: Arc<Traffic>,
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

#[derive(Debug, Default)]
struct Calls {
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
}

impl Default for GrpcCounters {
    fn default() -> Self {
        let methods = METHODS.iter().map(|_| Calls::default()).collect();
        Self {
            methods,
            clients: Default::default(),
            ranges: AtomicU64::new(0),
            events: AtomicU64::new(0),
            watch_streams: AtomicU64::new(0),
            traffic: Arc::default(),
        }
    }
}

impl GrpcCounters {
    /// A call by a client of this version.
    pub(crate) fn client(&self, is_unary: bool, version: &str) {
        let [unary, streams] = &self.clients;
        let counts = if is_unary { unary } else { streams };
        if let Some(count) = counts.read().get(version) {
            count.fetch_add(1, Relaxed);
            return;
        }
        let mut counts = counts.write();
        let has_room = counts.len() < VERSIONS_MAX && version.len() <= VERSION_BYTES_MAX;
        let version = if has_room { version } else { OTHER_VERSIONS };
        counts.entry(version.into()).or_default().fetch_add(1, Relaxed);
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
    has_ended: bool,
}

impl Call {
    pub(crate) fn begin(counters: &Arc<GrpcCounters>, at: usize) -> Self {
        if let Some(calls) = counters.calls(at) {
            calls.started.fetch_add(1, Relaxed);
        }
        Self { counters: Arc::clone(counters), at, has_ended: false }
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
        let calls = self.counters.calls(self.at);
        let number = usize::try_from(i32::from(code)).unwrap_or_default();
        if let Some(count) = calls.and_then(|calls| calls.handled.get(number)) {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ended(Code::Cancelled);
    }
}

pub(crate) fn of_grpc(page: &mut Page, counters: &GrpcCounters) {
    let name = "etcd_server_client_requests_total";
    page.begin(name, "Calls by kind and by the version of the client.", "counter");
    for (kind, counts) in ["unary", "stream"].into_iter().zip(&counters.clients) {
        for (version, count) in &*counts.read() {
            let labels = [("client_api_version", &*escaped(version)), ("type", kind)];
            page.sample(name, &labels, count.load(Relaxed));
        }
    }
    let name = "grpc_server_started_total";
    page.begin(name, "Calls that have begun.", "counter");
    for (method, calls) in METHODS.iter().zip(&counters.methods) {
        page.sample(name, &labels(method), calls.started.load(Relaxed));
    }
    let name = "grpc_server_handled_total";
    page.begin(name, "Calls that have ended, whatever came of them.", "counter");
    for (method, calls) in METHODS.iter().zip(&counters.methods) {
        for (code, count) in CODES.into_iter().zip(&calls.handled) {
            let count = count.load(Relaxed);
            if count > 0 || code == "OK" {
                let [method, service, kind] = labels(method);
                page.sample(name, &[("grpc_code", code), method, service, kind], count);
            }
        }
    }
}

fn labels(method: &'static Method) -> [(&'static str, &'static str); 3] {
    [
        ("grpc_method", method.name),
        ("grpc_service", method.service),
        ("grpc_type", method.kind.name()),
    ]
}

/// As the value of a label is written.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_make_counts_without_end() {
        let counters = GrpcCounters::default();
        for version in 0..1_000 {
            counters.client(true, &format!("3.{version}"));
        }
        counters.client(true, "3.5");
        counters.client(false, &"x".repeat(1_000));
        counters.client(false, "a\"b\\c");
        let counted = |kind: usize| counters.clients[kind].read().len();
        assert_eq!((counted(0), counted(1)), (VERSIONS_MAX + 1, 2));
        let mut page = Page::default();
        of_grpc(&mut page, &counters);
        let line = |line: &str| assert!(page.text.contains(line), "{line}");
        line("etcd_server_client_requests_total{client_api_version=\"3.5\",type=\"unary\"} 2\n");
        line("{client_api_version=\"other\",type=\"unary\"} 936\n");
        line("{client_api_version=\"a\\\"b\\\\c\",type=\"stream\"} 1\n");
        line("{client_api_version=\"other\",type=\"stream\"} 1\n");
    }
}
