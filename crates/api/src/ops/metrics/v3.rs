//! What etcd 3 tells of its keyspace, its leases and its quota.

use std::sync::atomic::Ordering::Relaxed;

use proto::etcdserverpb::AlarmType;

use super::Page;
use crate::context::Context;

pub(super) fn of_keyspace(page: &mut Page, context: &Context) {
    let writes = context.handle.figures().writes;
    let grpc = &context.counters.grpc;
    let help = "Ranges that were read.";
    page.counter("etcd_mvcc_range_total", help, grpc.ranges.load(Relaxed));
    page.counter("etcd_mvcc_put_total", "Keys that were put.", writes.puts);
    page.counter("etcd_mvcc_delete_total", "Keys that were deleted.", writes.deletes);
    let help = "Revisions that changed several keys.";
    page.counter("etcd_mvcc_txn_total", help, writes.txns);
    let help = "Bytes of keys and values that were put.";
    page.counter("etcd_debugging_mvcc_total_put_size_in_bytes", help, writes.put_bytes);
    let help = "Events that were sent to watches of v3.";
    page.counter("etcd_debugging_mvcc_events_total", help, grpc.events.load(Relaxed));
    let help = "Streams of watches that are open.";
    page.gauge("etcd_debugging_mvcc_watch_stream_total", help, grpc.watch_streams.load(Relaxed));
}

pub(super) fn of_leases(page: &mut Page, context: &Context) {
    let counts = context.handle.reader().leases().counts();
    let help = "Leases that were granted.";
    page.counter("etcd_debugging_lease_granted_total", help, counts.granted.load(Relaxed));
    let help = "Leases that were revoked, or have ended.";
    page.counter("etcd_debugging_lease_revoked_total", help, counts.revoked.load(Relaxed));
    let help = "Times that this member kept a lease.";
    page.counter("etcd_debugging_lease_renewed_total", help, counts.renewed.load(Relaxed));
    page.gauge("retcd_leases", "Leases.", context.handle.reader().leases().len());
}

pub(super) fn of_quota(page: &mut Page, context: &Context) {
    let handle = &context.handle;
    let reader = handle.reader();
    let help = "Bytes that keys, their history and leases may take.";
    page.gauge("etcd_server_quota_backend_bytes", help, handle.quota_bytes());
    let help = "Bytes that count towards the quota.";
    page.gauge("retcd_quota_used_bytes", help, reader.bytes_in_use());
    let members = reader.members();
    let learner = members.members.get(&handle.member_id()).is_some_and(|member| member.learner);
    page.gauge("etcd_server_is_learner", "1 if this member does not vote.", u8::from(learner));
    let help = "Moves with every change of users and roles.";
    page.gauge("etcd_debugging_auth_revision", help, reader.auth().revision());
    let name = "etcd_debugging_server_alarms";
    page.begin(name, "Alarms that are raised.", "gauge");
    for alarm in reader.alarms().all() {
        let member = format!("{:x}", alarm.member_id);
        let kind = AlarmType::try_from(alarm.alarm).map_or("", |kind| kind.as_str_name());
        page.sample(name, &[("alarm_type", kind), ("server_id", &member)], 1);
    }
    let (received, sent) = context.counters.grpc.traffic.bytes();
    let help = "Bytes received from clients over HTTP/2.";
    page.counter("etcd_network_client_grpc_received_bytes_total", help, received);
    let help = "Bytes sent to clients over HTTP/2.";
    page.counter("etcd_network_client_grpc_sent_bytes_total", help, sent);
}
