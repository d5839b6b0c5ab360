//! What etcd 2 tells of its store, and of the keys API.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Counters, KINDS, Page, STATUSES};
use crate::context::Context;

/// In etcd 2, and in 3 as long as it had its store.
const PREFIXES: [&str; 2] = ["etcd_store", "etcd_debugging_store"];

pub(super) fn of_store(page: &mut Page, context: &Context) {
    let reader = context.handle.reader();
    let stats = reader.key_stats();
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    let writes = [
        ("set", &stats.sets_success, &stats.sets_fail),
        ("create", &stats.create_success, &stats.create_fail),
        ("update", &stats.update_success, &stats.update_fail),
        ("compareAndSwap", &stats.compare_and_swap_success, &stats.compare_and_swap_fail),
        ("compareAndDelete", &stats.compare_and_delete_success, &stats.compare_and_delete_fail),
        ("delete", &stats.delete_success, &stats.delete_fail),
    ];
    for prefix in PREFIXES {
        let [watchers, _] = reader.store().watchers_by_interest();
        page.gauge(&format!("{prefix}_watchers"), "Watchers of paths.", watchers);
        let help = "Watches that clients have asked for.";
        let watches = of(&context.counters.watches);
        page.counter(&format!("{prefix}_watch_requests_total"), help, watches);
        let help = "Keys that have expired.";
        page.counter(&format!("{prefix}_expires_total"), help, of(&stats.expire_count));
        let mut actions = |name: &str, help: &str, counts: &[(&str, &AtomicU64)]| {
            let name = format!("{prefix}_{name}");
            page.begin(&name, help, "counter");
            for (action, count) in counts {
                page.sample(&name, &[("action", action)], of(count));
            }
        };
        let gets = [("get", &stats.gets_success)];
        actions("reads_total", "Reads by this member.", &gets);
        let gets = [("get", &stats.gets_fail)];
        actions("reads_failed_total", "Failed reads by this member.", &gets);
        let done = writes.map(|(action, success, _)| (action, success));
        actions("writes_total", "Writes applied by this member.", &done);
        let failed = writes.map(|(action, _, fail)| (action, fail));
        actions("writes_failed_total", "Writes that were refused.", &failed);
    }
}

pub(super) fn of_requests(page: &mut Page, counters: &Counters) {
    let all = || KINDS.iter().map(|(_, method)| *method).zip(&counters.by_kind);
    let name = "etcd_http_received_total";
    page.begin(name, "Requests to the keys API.", "counter");
    for (method, requests) in all() {
        page.sample(name, &[("method", method)], requests.received.load(Relaxed));
    }
    let name = "etcd_http_failed_total";
    page.begin(name, "Failed requests to the keys API.", "counter");
    for (method, requests) in all() {
        for (status, failed) in STATUSES.iter().zip(&requests.failed) {
            let failed = failed.load(Relaxed);
            if failed > 0 {
                page.sample(name, &[("code", &status.to_string()), ("method", method)], failed);
            }
        }
    }
    // In etcd 2, and in 3.
    for name in ["etcd_http_successful_duration_second", "etcd_http_successful_duration_seconds"] {
        page.begin(name, "Time that successful requests to the keys API took.", "histogram");
        for (method, requests) in all() {
            page.durations(name, &[("method", method)], &requests.durations);
        }
    }
}
