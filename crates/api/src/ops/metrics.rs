//! `/metrics`, in the text format that Prometheus 0.0.4 reads, under etcd's own names.
//!
//! Written by hand: the crates at hand speak `OpenMetrics`, where a counter's name must end in
//! `_total`, and many of etcd's do not. `docs/metrics.md` says which names of etcd's there are not,
//! and why.
//!
//! - `page`: the text; `grpc`: what is counted of calls; one file for each part of the page besides

mod calls;
mod disk;
pub(crate) mod grpc;
mod member;
pub(crate) mod page;
mod peers;
mod process;
mod v2;
mod v3;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base::{Code, Histogram};
use http::{HeaderValue, Method, StatusCode};
use server::Handle;

use self::grpc::GrpcCounters;
pub(crate) use self::{calls::of_grpc, page::Page, process::of_process};
use super::health::Checked;
use crate::{
    context::Context,
    reply::{self, Reply},
};

/// Requests to the keys API as etcd 2.3.8 tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    QuorumGet,
    Put,
    Post,
    Delete,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Get, "GET"),
    (Kind::QuorumGet, "QGET"),
    (Kind::Put, "PUT"),
    (Kind::Post, "POST"),
    (Kind::Delete, "DELETE"),
];

/// HTTP statuses under which failures are counted; others go with the last.
const STATUSES: [u16; 7] = [400, 401, 403, 404, 412, 503, 500];

/// Counts requests: those to the keys API here, those through gRPC in a part of its own.
#[derive(Debug)]
pub(crate) struct Counters {
    by_kind: [Requests; 5],
    watches: AtomicU64,
    pub(crate) grpc: Arc<GrpcCounters>,
    pub(crate) checked: Checked,
    pub(crate) storage: Storage,
    /// Times that this page was asked for.
    pages: AtomicU64,
}

/// What is done to all of the keyspace.
#[derive(Debug)]
pub(crate) struct Storage {
    /// Hashes of all tables.
    pub(crate) hash: Histogram,
    /// Hashes of keys up to a revision.
    pub(crate) hash_rev: Histogram,
    /// Of which there is nothing to do.
    pub(crate) defragment: Histogram,
}

impl Default for Storage {
    /// With etcd's bounds.
    fn default() -> Self {
        let hash = || Histogram::doubling(Duration::from_millis(10), 15);
        let defragment = Histogram::doubling(Duration::from_millis(100), 13);
        Self { hash: hash(), hash_rev: hash(), defragment }
    }
}

#[derive(Debug)]
struct Requests {
    received: AtomicU64,
    failed: [AtomicU64; STATUSES.len()],
    /// Of successful ones.
    durations: Histogram,
}

impl Default for Requests {
    fn default() -> Self {
        let durations = of_requests();
        Self { received: AtomicU64::default(), failed: Default::default(), durations }
    }
}

/// With etcd's bounds for the duration of a request.
pub(crate) fn of_requests() -> Histogram {
    Histogram::doubling(Duration::from_micros(500), 13)
}

impl Counters {
    /// `is_extensive`: tells how long each method takes (`--metrics`). `expected`: calls that take longer
    /// are told in the log.
    pub(crate) fn new(is_extensive: bool, expected: Duration) -> Self {
        Self {
            by_kind: Default::default(),
            watches: AtomicU64::default(),
            grpc: Arc::new(GrpcCounters::new(is_extensive, expected)),
            checked: Checked::default(),
            storage: Storage::default(),
            pages: AtomicU64::default(),
        }
    }

    /// Returns when the request began.
    pub(crate) fn received(&self, kind: Kind, handle: &Handle) -> Duration {
        self.count(kind);
        handle.clock().monotonic()
    }

    /// Counts a request that came a moment ago.
    pub(crate) fn count(&self, kind: Kind) {
        if let Some(requests) = self.by_kind.get(kind as usize) {
            requests.received.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn succeeded(&self, kind: Kind, began: Duration, handle: &Handle) {
        let Some(requests) = self.by_kind.get(kind as usize) else { return };
        requests.durations.record(handle.clock().monotonic().saturating_sub(began));
    }

    pub(crate) fn failed(&self, kind: Kind, code: Code) {
        let Some(requests) = self.by_kind.get(kind as usize) else { return };
        let status = code.http_status();
        let at = STATUSES.iter().position(|one| *one == status).unwrap_or(STATUSES.len() - 1);
        if let Some(count) = requests.failed.get(at) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn watch(&self) {
        self.watches.fetch_add(1, Relaxed);
    }
}

pub(crate) fn answer(context: &Context, method: &Method) -> Reply {
    context.counters.pages.fetch_add(1, Relaxed);
    answer_with(method, |page| {
        member::of_server(page, context);
        member::of_health(page, &context.counters.checked);
        disk::of_disk(page, context);
        v3::of_keyspace(page, context);
        v3::of_watches(page, context);
        v3::of_leases(page, context);
        v3::of_quota(page, context);
        v2::of_store(page, context);
        v2::of_requests(page, &context.counters);
        peers::of_network(page, &context.handle);
        calls::of_traffic(page, &context.counters.grpc);
        of_grpc(page, &context.counters.grpc);
        of_process(page, context.handle.started_at());
        process::of_pages(page, context.counters.pages.load(Relaxed));
    })
}

/// A page that `write` fills.
pub(crate) fn answer_with(method: &Method, write: impl FnOnce(&mut Page)) -> Reply {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return reply::method_not_allowed("GET,HEAD");
    }
    let mut page = Page::default();
    write(&mut page);
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    reply::whole(StatusCode::OK, text, page.text)
}
