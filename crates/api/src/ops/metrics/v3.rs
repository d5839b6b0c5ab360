//! What etcd 3 tells of its keyspace, its watches, its leases and its quota.

use std::sync::atomic::Ordering::Relaxed;

use proto::etcdserverpb::AlarmType;

use super::Page;
use crate::context::Context;

pub(super) fn of_keyspace(page: &mut Page, context: &Context) {
    let writes = context.handle.figures().writes;
    let ranges = context.counters.grpc.ranges.load(Relaxed);
    // Under both names that etcd has had for it.
    for prefix in ["etcd_mvcc", "etcd_debugging_mvcc"] {
        let mut counter = |name: &str, help: &str, value: u64| {
            page.counter(&format!("{prefix}_{name}"), help, value);
        };
        counter("range_total", "Ranges that were read.", ranges);
        counter("put_total", "Keys that were put.", writes.puts);
        counter("delete_total", "Keys that were deleted.", writes.deletes);
        counter("txn_total", "Revisions that changed several keys.", writes.txns);
    }
    let help = "Bytes of keys and values that were put.";
    page.gauge("etcd_debugging_mvcc_total_put_size_in_bytes", help, writes.put_bytes);
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
    let help = "Long reads, which hold back compaction.";
    page.gauge("etcd_mvcc_db_open_read_transactions", help, store.pinned());
    let storage = &context.counters.storage;
    let help = "Time to hash all tables.";
    page.histogram("etcd_mvcc_hash_duration_seconds", help, &storage.hash);
    let help = "Time to hash keys up to a revision.";
    page.histogram("etcd_mvcc_hash_rev_duration_seconds", help, &storage.hash_rev);
}

pub(super) fn of_watches(page: &mut Page, context: &Context) {
    let store = context.handle.reader().store();
    let grpc = &context.counters.grpc;
    let [_, watchers] = store.watchers_by_interest();
    page.gauge("etcd_debugging_mvcc_watcher_total", "Watchers of keys.", watchers);
    let help = "Events that were sent to watches of v3.";
    page.counter("etcd_debugging_mvcc_events_total", help, grpc.events.load(Relaxed));
    let help = "Streams of watches that are open.";
    page.gauge("etcd_debugging_mvcc_watch_stream_total", help, grpc.watch_streams.load(Relaxed));
    let (behind, waiting) = store.watch_backlog();
    let help = "Watchers that have history to read.";
    page.gauge("etcd_debugging_mvcc_slow_watcher_total", help, behind);
    let help = "Revisions that wait to be told to watchers.";
    page.gauge("etcd_debugging_mvcc_pending_events_total", help, waiting);
}

pub(super) fn of_leases(page: &mut Page, context: &Context) {
    let counts = context.handle.reader().leases().counts();
    let help = "Leases that were granted.";
    page.counter("etcd_debugging_lease_granted_total", help, counts.granted.load(Relaxed));
    let help = "Times to live of the leases that were granted, in seconds.";
    page.histogram("etcd_debugging_lease_ttl_total", help, &counts.ttls);
    let help = "Leases that were revoked, or have ended.";
    page.counter("etcd_debugging_lease_revoked_total", help, counts.revoked.load(Relaxed));
    let help = "Times that this member kept a lease.";
    page.counter("etcd_debugging_lease_renewed_total", help, counts.renewed.load(Relaxed));
    let help = "Leases that this member, leading, has ended since their time was over.";
    page.counter("etcd_debugging_server_lease_expired_total", help, counts.expired.load(Relaxed));
    page.gauge("retcd_leases", "Leases.", context.handle.reader().leases().len());
}

pub(super) fn of_quota(page: &mut Page, context: &Context) {
    let handle = &context.handle;
    let reader = handle.reader();
    let help = "Bytes that keys, their history and leases may take.";
    page.gauge("etcd_server_quota_backend_bytes", help, handle.quota_bytes());
    let help = "Bytes that count towards the quota.";
    page.gauge("retcd_quota_used_bytes", help, reader.bytes_in_use());
    let help = "Moves with every change of users and roles.";
    page.gauge("etcd_debugging_auth_revision", help, reader.auth().revision());
    let name = "etcd_debugging_server_alarms";
    page.begin(name, "Alarms that are raised.", "gauge");
    for alarm in reader.alarms().all() {
        let member = format!("{:x}", alarm.member_id);
        let kind = AlarmType::try_from(alarm.alarm).map_or("", |kind| kind.as_str_name());
        page.sample(name, &[("alarm_type", kind), ("server_id", &member)], 1);
    }
}
