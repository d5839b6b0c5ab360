//! `/metrics`, in the text format that Prometheus 0.0.4 reads, under etcd's own names.
//!
//! Written by hand: the crates at hand speak `OpenMetrics`, where a counter's name must end in
//! `_total`, and many of etcd's do not.

pub(crate) mod grpc;
mod peers;
mod v3;

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base::{Code, UnixNanos, version};
use http::{HeaderValue, Method, StatusCode};
use server::{Handle, Histogram};

use self::grpc::GrpcCounters;
use super::process;
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

/// etcd's bounds for the duration of a request: 0.5 ms, each twice the one before.
const BUCKETS: usize = 13;
const FIRST_BUCKET: Duration = Duration::from_micros(500);

/// HTTP statuses under which failures are counted; others go with the last.
const STATUSES: [u16; 7] = [400, 401, 403, 404, 412, 503, 500];

/// Counts requests: those to the keys API here, those through gRPC in a part of its own.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_kind: [Requests; 5],
    watches: AtomicU64,
    pub(crate) grpc: Arc<GrpcCounters>,
}

#[derive(Debug, Default)]
struct Requests {
    received: AtomicU64,
    failed: [AtomicU64; STATUSES.len()],
    /// Of successful ones.
    durations: Durations,
}

/// How long requests took.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    /// Not cumulative; the last is for the longest.
    buckets: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
}

impl Durations {
    pub(crate) fn add(&self, took: Duration) {
        if let Some(bucket) = self.buckets.get(bucket(took)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.load(Relaxed) == 0)
    }
}

impl Counters {
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
        requests.durations.add(handle.clock().monotonic().saturating_sub(began));
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

/// The bucket that a duration falls into; a bound belongs to its bucket.
fn bucket(took: Duration) -> usize {
    let firsts = took.as_nanos().div_ceil(FIRST_BUCKET.as_nanos());
    let doublings = firsts.saturating_sub(1).checked_ilog2().map_or(0, |log| log as usize + 1);
    doublings.min(BUCKETS)
}

pub(crate) fn answer(context: &Context, method: &Method) -> Reply {
    answer_with(method, |page| {
        of_server(page, &context.handle);
        of_disk(page, &context.handle);
        of_store(page, context);
        v3::of_keyspace(page, context);
        v3::of_leases(page, context);
        v3::of_quota(page, context);
        peers::of_network(page, &context.handle);
        of_requests(page, &context.counters);
        grpc::of_grpc(page, &context.counters.grpc);
        of_process(page, context.handle.started_at());
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

fn of_server(page: &mut Page, handle: &Handle) {
    let status = handle.status();
    let figures = handle.figures();
    let flag = |is: bool| u8::from(is);
    page.gauge("etcd_server_has_leader", "1 if a leader is known.", flag(status.leader.is_some()));
    page.gauge("etcd_server_is_leader", "1 if this member leads.", flag(status.is_leader));
    let help = "Leader changes seen by this member.";
    page.counter("etcd_server_leader_changes_seen_total", help, figures.leader_changes);
    let help = "Entries that a quorum has on disk: raft's committed index.";
    page.gauge("etcd_server_proposals_committed_total", help, status.committed);
    let help = "Entries applied: raft's applied index.";
    page.gauge("etcd_server_proposals_applied_total", help, status.applied);
    let help_pending = "Proposals that wait for their answer.";
    page.gauge("etcd_server_proposals_pending", help_pending, figures.proposals_pending);
    let help_failed = "Proposals that were refused or timed out.";
    page.counter("etcd_server_proposals_failed_total", help_failed, figures.proposals_failed);
    // The same, as etcd 2 called them.
    page.gauge("etcd_server_pending_proposal_total", help_pending, figures.proposals_pending);
    page.counter("etcd_server_proposal_failed_total", help_failed, figures.proposals_failed);
    page.begin("etcd_server_version", "The server's version of etcd.", "gauge");
    page.sample("etcd_server_version", &[("server_version", version::SERVER)], 1);
    if let Some(version) = handle.reader().cluster_version() {
        let version = version.to_string();
        page.begin("etcd_cluster_version", "The version that all members can do.", "gauge");
        page.sample("etcd_cluster_version", &[("cluster_version", &version)], 1);
    }
    page.begin("etcd_server_id", "The member's id.", "gauge");
    page.sample("etcd_server_id", &[("server_id", &handle.member_id().to_string())], 1);
    page.begin("retcd_version", "The product's own version.", "gauge");
    page.sample("retcd_version", &[("version", version::PRODUCT)], 1);
}

fn of_disk(page: &mut Page, handle: &Handle) {
    let figures = handle.figures();
    let help = "Time to sync the raft log.";
    page.histogram("etcd_disk_wal_fsync_duration_seconds", help, &figures.wal_fsync);
    page.histogram("etcd_wal_fsync_durations_seconds", help, &figures.wal_fsync);
    let help = "Time to make a part of the keyspace durable.";
    page.histogram("etcd_disk_backend_commit_duration_seconds", help, &figures.backend_commit);
    let help = "Length of the keyspace's file.";
    page.gauge("etcd_mvcc_db_total_size_in_bytes", help, figures.keyspace_bytes);
    let help = "Bytes in use inside the keyspace's file.";
    page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", help, figures.keyspace_bytes_in_use);
    page.gauge("retcd_wal_bytes", "Bytes of the raft log on disk.", figures.wal_bytes);
}

fn of_store(page: &mut Page, context: &Context) {
    let store = context.handle.reader().store();
    let usage = store.usage();
    page.gauge("etcd_debugging_mvcc_current_revision", "The current revision.", store.revision());
    let help = "The revision below which history is gone.";
    page.gauge("etcd_debugging_mvcc_compact_revision", help, store.compacted());
    let help = "Keys and directories.";
    page.gauge("etcd_debugging_mvcc_keys_total", help, usage.live_records);
    let help = "Bytes of what a compaction now would free.";
    page.gauge("retcd_history_bytes", help, usage.history_bytes);
    page.gauge("retcd_live_bytes", "Bytes of keys and values that live.", usage.live_bytes);
    let watchers = store.watchers();
    page.gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", watchers);
    page.gauge("etcd_store_watchers", "Watchers (name of etcd 2).", watchers);
    let help = "Watches that clients have asked for.";
    page.counter("etcd_store_watch_requests_total", help, context.counters.watches.load(Relaxed));
    let stats = context.handle.reader().key_stats();
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    let help = "Keys that have expired.";
    page.counter("etcd_store_expires_total", help, of(&stats.expire_count));
    page.begin("etcd_store_reads_total", "Reads by this member.", "counter");
    page.sample("etcd_store_reads_total", &[("action", "get")], of(&stats.gets_success));
    page.begin("etcd_store_reads_failed_total", "Failed reads by this member.", "counter");
    page.sample("etcd_store_reads_failed_total", &[("action", "get")], of(&stats.gets_fail));
    let writes = [
        ("set", &stats.sets_success, &stats.sets_fail),
        ("create", &stats.create_success, &stats.create_fail),
        ("update", &stats.update_success, &stats.update_fail),
        ("compareAndSwap", &stats.compare_and_swap_success, &stats.compare_and_swap_fail),
        ("compareAndDelete", &stats.compare_and_delete_success, &stats.compare_and_delete_fail),
        ("delete", &stats.delete_success, &stats.delete_fail),
    ];
    page.begin("etcd_store_writes_total", "Writes applied by this member.", "counter");
    for (action, success, _) in writes {
        page.sample("etcd_store_writes_total", &[("action", action)], of(success));
    }
    page.begin("etcd_store_writes_failed_total", "Writes that were refused.", "counter");
    for (action, _, fail) in writes {
        page.sample("etcd_store_writes_failed_total", &[("action", action)], of(fail));
    }
}

fn of_requests(page: &mut Page, counters: &Counters) {
    let name = "etcd_http_received_total";
    page.begin(name, "Requests to the keys API.", "counter");
    for ((_, method), requests) in KINDS.iter().zip(&counters.by_kind) {
        page.sample(name, &[("method", method)], requests.received.load(Relaxed));
    }
    let name = "etcd_http_failed_total";
    page.begin(name, "Failed requests to the keys API.", "counter");
    for ((_, method), requests) in KINDS.iter().zip(&counters.by_kind) {
        for (status, failed) in STATUSES.iter().zip(&requests.failed) {
            let failed = failed.load(Relaxed);
            if failed > 0 {
                page.sample(name, &[("code", &status.to_string()), ("method", method)], failed);
            }
        }
    }
    let name = "etcd_http_successful_duration_second";
    page.begin(name, "Time that successful requests to the keys API took.", "histogram");
    for ((_, method), requests) in KINDS.iter().zip(&counters.by_kind) {
        page.durations(name, method, &requests.durations);
    }
}

pub(crate) fn of_process(page: &mut Page, started_at: UnixNanos) {
    let process = process::read();
    let help = "User and system time of this process.";
    page.counter("process_cpu_seconds_total", help, process.cpu_seconds);
    page.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
    page.gauge("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes);
    page.gauge("process_open_fds", "Open file descriptors.", process.open_fds);
    page.gauge("process_max_fds", "Most file descriptors.", process.max_fds);
    // The same, as etcd 3 and 2 call them.
    page.gauge("os_fd_used", "Open file descriptors.", process.open_fds);
    page.gauge("os_fd_limit", "Most file descriptors.", process.max_fds);
    let help = "Open file descriptors.";
    page.gauge("etcd_server_file_descriptors_used_total", help, process.open_fds);
    page.gauge("process_threads", "Threads.", process.threads);
    #[allow(clippy::cast_precision_loss, reason = "a time to the microsecond is good enough")]
    let started = started_at.0 as f64 / 1e9;
    page.gauge("process_start_time_seconds", "When it started, since 1970.", started);
}

/// The text, as it grows.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn begin(&mut self, name: &str, help: &str, kind: &str) {
        self.text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            self.text.push_str(&format!("{before}{label}=\"{text}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.text.push_str(&format!("{after} {value}\n"));
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, help, "gauge");
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, help, "counter");
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.begin(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        for (bound, count) in &histogram.buckets {
            self.sample(&bucket, &[("le", &bound.to_string())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count);
        self.sample(&format!("{name}_sum"), &[], histogram.sum);
        self.sample(&format!("{name}_count"), &[], histogram.count);
    }

    pub(crate) fn durations(&mut self, name: &str, method: &str, durations: &Durations) {
        let bucket = format!("{name}_bucket");
        let (mut bound, mut count) = (FIRST_BUCKET.as_secs_f64(), 0);
        for (at, taken) in durations.buckets.iter().enumerate() {
            count += taken.load(Relaxed);
            let bound_text = if at < BUCKETS { bound.to_string() } else { "+Inf".to_owned() };
            self.sample(&bucket, &[("method", method), ("le", &bound_text)], count);
            bound *= 2.0;
        }
        #[allow(clippy::cast_precision_loss, reason = "a sum of years is good enough")]
        let seconds = durations.nanos.load(Relaxed) as f64 / 1e9;
        self.sample(&format!("{name}_sum"), &[("method", method)], seconds);
        self.sample(&format!("{name}_count"), &[("method", method)], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_belongs_to_the_first_bound_that_it_does_not_pass() {
        let check = |micros, expected| assert_eq!(bucket(Duration::from_micros(micros)), expected);
        check(0, 0);
        check(500, 0);
        check(501, 1);
        check(1_000, 1);
        check(1_001, 2);
        check(2_048_000, 12);
        check(2_048_001, 13);
        check(100_000_000, 13);
    }

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.gauge("a", "An a.", 1);
        page.begin("b", "Many b.", "counter");
        page.sample("b", &[("x", "1"), ("y", "2")], 0.5);
        let histogram = Histogram { buckets: vec![(0.001, 1), (0.002, 3)], sum: 0.004, count: 4 };
        page.histogram("c", "How long.", &histogram);
        let expected = "# HELP a An a.\n# TYPE a gauge\na 1\n\
                        # HELP b Many b.\n# TYPE b counter\nb{x=\"1\",y=\"2\"} 0.5\n\
                        # HELP c How long.\n# TYPE c histogram\n\
                        c_bucket{le=\"0.001\"} 1\nc_bucket{le=\"0.002\"} 3\n\
                        c_bucket{le=\"+Inf\"} 4\nc_sum 0.004\nc_count 4\n";
        assert_eq!(page.text, expected);
    }
}
