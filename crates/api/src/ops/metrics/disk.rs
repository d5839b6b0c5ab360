//! What a member does on its disk.

use std::sync::atomic::Ordering::Relaxed;

use super::Page;
use crate::context::Context;

pub(super) fn of_disk(page: &mut Page, context: &Context) {
    let handle = &context.handle;
    let (figures, counters) = (handle.figures(), handle.counters());
    let help = "Time to sync the raft log.";
    page.histogram("etcd_disk_wal_fsync_duration_seconds", help, &counters.wal_fsync);
    page.histogram("etcd_wal_fsync_durations_seconds", help, &counters.wal_fsync);
    let help = "Time to write to the raft log.";
    page.histogram("etcd_disk_wal_write_duration_seconds", help, &counters.wal_write);
    let help = "Bytes written to the raft log.";
    let written = counters.wal_written_bytes.load(Relaxed);
    page.gauge("etcd_disk_wal_write_bytes_total", help, written);
    let help = "The last entry in the raft log.";
    page.gauge("etcd_wal_last_index_saved", help, counters.wal_last_index.load(Relaxed));
    let bytes = counters.wal_bytes.load(Relaxed);
    page.gauge("retcd_wal_bytes", "Bytes of the raft log on disk.", bytes);
    let help = "Time to make a part of the keyspace durable.";
    page.histogram("etcd_disk_backend_commit_duration_seconds", help, &counters.backend_commit);
    let help = "Length of the keyspace's file.";
    for name in ["etcd_mvcc_db_total_size_in_bytes", "etcd_debugging_mvcc_db_total_size_in_bytes"] {
        page.gauge(name, help, figures.keyspace_bytes);
    }
    let help = "Bytes in use inside the keyspace's file.";
    page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", help, figures.keyspace_bytes_in_use);
    defragmenting(page, context);
    snapshots(page, context);
    compaction(page, context);
}

/// There is nothing to do for it; it can be asked for.
fn defragmenting(page: &mut Page, context: &Context) {
    let help = "Time to defragment: there is nothing to do.";
    let asked = &context.counters.storage.defragment;
    page.histogram("etcd_disk_backend_defrag_duration_seconds", help, asked);
    page.gauge("etcd_disk_defrag_inflight", "1 while it defragments: never.", 0);
}

fn snapshots(page: &mut Page, context: &Context) {
    let counters = context.handle.counters();
    let help = "Time to send the keyspace to a client.";
    page.histogram("etcd_disk_backend_snapshot_duration_seconds", help, &counters.snapshots_saved);
    let help = "Time to take in a leader's keyspace.";
    page.histogram("etcd_snap_db_save_total_duration_seconds", help, &counters.snapshots_taken);
    let help = "Time to sync a leader's keyspace in the end.";
    page.histogram("etcd_snap_db_fsync_duration_seconds", help, &counters.snapshots_synced);
}

fn compaction(page: &mut Page, context: &Context) {
    let compaction = &context.handle.counters().compaction;
    let help = "Rows that compaction has removed.";
    let rows = compaction.rows.load(Relaxed);
    page.counter("etcd_debugging_mvcc_db_compaction_keys_total", help, rows);
    let help = "Time that a step of compaction holds up writes.";
    // Index and table go together.
    for name in [
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
    ] {
        page.millis(name, help, &compaction.pauses);
    }
    let help = "Time that compaction takes.";
    let name = "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds";
    page.millis(name, help, &compaction.totals);
    let help = "When the last compaction ended, in seconds since 1970.";
    let last = compaction.last.load(Relaxed);
    page.gauge("etcd_debugging_mvcc_db_compaction_last", help, last);
}
