//! What moves each metric: one that nothing moves would pass for one that says that all is well.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{Connection, Member, Request, binaries, cluster::Cluster, eventually, run, v3};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{PATIENCE, page};

/// A cluster, and what is to stay open.
struct World {
    cluster: Cluster,
    leader: usize,
    open: Vec<Connection>,
}

impl World {
    fn member(&self) -> &Member {
        &self.cluster.members[self.leader]
    }

    /// Begins what does not end by itself.
    fn begin(&mut self, request: &Request) {
        let mut connection = self.member().connect();
        connection.send(request).expect("it listens");
        self.open.push(connection);
    }
}

type Row = (&'static str, fn(&mut World), &'static [&'static str]);

/// Each metric stands with something that must move it. In this order, and one after the other.
const MOVED: &[Row] = &[
    ("a page", |_| {}, &["promhttp_metric_handler_requests_total", "process_cpu_seconds_total"]),
    (
        "a put",
        put,
        &[
            "etcd_mvcc_put_total",
            "etcd_debugging_mvcc_put_total",
            "etcd_debugging_mvcc_total_put_size_in_bytes",
            "etcd_debugging_mvcc_current_revision",
            "etcd_debugging_mvcc_keys_total",
            "retcd_live_bytes",
            "retcd_quota_used_bytes",
            "etcd_server_proposals_committed_total",
            "etcd_server_proposals_applied_total",
            "etcd_server_proposal_durations_seconds",
            "etcd_server_apply_duration_seconds",
            "etcd_server_slow_apply_total",
            "etcd_server_client_requests_total",
            "etcd_server_request_duration_seconds",
            "grpc_server_started_total",
            "grpc_server_handled_total",
            "grpc_server_handling_seconds",
            "grpc_server_msg_received_total",
            "grpc_server_msg_sent_total",
            "etcd_disk_wal_fsync_duration_seconds",
            "etcd_wal_fsync_durations_seconds",
            "etcd_disk_wal_write_duration_seconds",
            "etcd_disk_wal_write_bytes_total",
            "etcd_wal_last_index_saved",
            "etcd_disk_backend_commit_duration_seconds",
            "etcd_network_peer_sent_bytes_total",
            "etcd_network_peer_received_bytes_total",
            "etcd_network_peer_round_trip_time_seconds",
            "process_network_receive_bytes_total",
            "process_network_transmit_bytes_total",
        ],
    ),
    (
        "a range",
        range,
        &[
            "etcd_mvcc_range_total",
            "etcd_debugging_mvcc_range_total",
            "etcd_server_range_duration_seconds",
        ],
    ),
    ("a range inside a transaction", txn_of_range, &["etcd_mvcc_range_total"]),
    ("a range inside a transaction that writes", txn_of_range_and_put, &["etcd_mvcc_range_total"]),
    ("a transaction", txn, &["etcd_mvcc_txn_total", "etcd_debugging_mvcc_txn_total"]),
    (
        "a deletion",
        delete,
        &["etcd_mvcc_delete_total", "etcd_debugging_mvcc_delete_total", "retcd_history_bytes"],
    ),
    (
        "a compaction",
        compact,
        &[
            "etcd_debugging_mvcc_compact_revision",
            "etcd_debugging_mvcc_db_compaction_keys_total",
            "etcd_debugging_mvcc_db_compaction_last",
            "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
            "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        ],
    ),
    (
        "a lease",
        grant,
        &["etcd_debugging_lease_granted_total", "etcd_debugging_lease_ttl_total", "retcd_leases"],
    ),
    ("a keep-alive", keep_alive, &["etcd_debugging_lease_renewed_total"]),
    ("a revoked lease", revoke, &["etcd_debugging_lease_revoked_total"]),
    (
        "a lease that ends",
        |world| drop(grant_for(world, 1)),
        &["etcd_debugging_server_lease_expired_total"],
    ),
    ("hashes", hash, &["etcd_mvcc_hash_duration_seconds", "etcd_mvcc_hash_rev_duration_seconds"]),
    (
        "to defragment",
        |world| drop(ask(world, "maintenance/defragment", &json!({}))),
        &["etcd_disk_backend_defrag_duration_seconds"],
    ),
    ("a snapshot", snapshot, &["etcd_disk_backend_snapshot_duration_seconds"]),
    (
        "a watch",
        watch,
        &[
            "etcd_debugging_mvcc_watcher_total",
            "etcd_debugging_mvcc_watch_stream_total",
            "process_open_fds",
            "os_fd_used",
            "etcd_server_file_descriptors_used_total",
        ],
    ),
    ("an event", put, &["etcd_debugging_mvcc_events_total"]),
    (
        "calls through gRPC",
        call,
        &[
            "etcd_network_client_grpc_received_bytes_total",
            "etcd_network_client_grpc_sent_bytes_total",
        ],
    ),
    (
        "a write of v2",
        write,
        &[
            "etcd_store_writes_total",
            "etcd_debugging_store_writes_total",
            "etcd_http_received_total",
            "etcd_http_successful_duration_second",
            "etcd_http_successful_duration_seconds",
        ],
    ),
    (
        "a write of v2 that fails",
        write_that_fails,
        &[
            "etcd_store_writes_failed_total",
            "etcd_debugging_store_writes_failed_total",
            "etcd_http_failed_total",
        ],
    ),
    (
        "a read of v2",
        |world| drop(world.member().get("/v2/keys/a")),
        &["etcd_store_reads_total", "etcd_debugging_store_reads_total"],
    ),
    (
        "a read of v2 that fails",
        |world| drop(world.member().get("/v2/keys/none")),
        &["etcd_store_reads_failed_total", "etcd_debugging_store_reads_failed_total"],
    ),
    (
        "a key of v2 that expires",
        expire,
        &["etcd_store_expires_total", "etcd_debugging_store_expires_total"],
    ),
    (
        "a watch of v2",
        |world| world.begin(&Request::get("/v2/keys/w?wait=true")),
        &[
            "etcd_store_watchers",
            "etcd_debugging_store_watchers",
            "etcd_store_watch_requests_total",
            "etcd_debugging_store_watch_requests_total",
        ],
    ),
    (
        "to look at its health",
        look,
        &[
            "etcd_server_health_success",
            "etcd_server_healthcheck",
            "etcd_server_healthchecks_total",
        ],
    ),
    (
        "a role",
        |world| drop(ask(world, "auth/role/add", &json!({"name": "r"}))),
        &["etcd_debugging_auth_revision"],
    ),
    ("an alarm", |world| alarm(world, "ACTIVATE"), &["etcd_debugging_server_alarms"]),
    ("bad health", |world| drop(world.member().get("/health")), &["etcd_server_health_failures"]),
    ("the alarm's end", |world| alarm(world, "DEACTIVATE"), &["etcd_debugging_server_alarms"]),
    ("to promote nobody", promote, &["etcd_server_learner_promote_failures"]),
    (
        "a follower that dies",
        kill_follower,
        &["etcd_network_active_peers", "etcd_network_disconnected_peers_total"],
    ),
    (
        "a quorum that is away",
        silence,
        &["etcd_server_proposals_failed_total", "etcd_server_proposal_failed_total"],
    ),
    (
        "another leader, or a new term",
        |world| wake(world),
        &["etcd_server_leader_changes_seen_total"],
    ),
];

/// Metrics that nothing above moves, with the reason.
const NOT_MOVED: &[(&str, &str)] = &[
    ("etcd_cluster_version", "a label: its value is 1"),
    ("etcd_server_version", "a label: its value is 1"),
    ("etcd_server_id", "a label: its value is 1"),
    ("retcd_version", "a label: its value is 1"),
    ("etcd_server_feature_enabled", "by a flag: a test beside this one"),
    ("etcd_server_quota_backend_bytes", "by a flag"),
    ("etcd_server_has_leader", "a state: another test here loses its leader"),
    ("etcd_server_is_leader", "a state, which another member takes over"),
    ("etcd_server_is_learner", "a state, of learners"),
    ("etcd_server_learner_promote_successes", "by a learner: tests of clusters promote some"),
    ("etcd_server_heartbeat_send_failures_total", "by a machine that stands still"),
    ("etcd_server_proposals_pending", "a state that lasts for an instant"),
    ("etcd_server_pending_proposal_total", "a state that lasts for an instant"),
    ("etcd_server_snapshot_apply_in_progress_total", "a state that lasts for an instant"),
    ("etcd_server_slow_read_indexes_total", "tests of `server` hold back a quorum"),
    ("etcd_server_read_indexes_failed_total", "tests of `server` lose a leader meanwhile"),
    ("etcd_debugging_mvcc_pending_events_total", "a state that lasts for an instant"),
    ("etcd_debugging_mvcc_slow_watcher_total", "a state that lasts for an instant"),
    ("etcd_debugging_mvcc_db_total_size_in_bytes", "a file that grows in large steps"),
    ("etcd_mvcc_db_total_size_in_bytes", "a file that grows in large steps"),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "a file's pages, which a few rows may not fill"),
    ("etcd_mvcc_db_open_read_transactions", "a state that lasts as long as a read"),
    ("etcd_disk_defrag_inflight", "always 0: docs/metrics.md"),
    ("retcd_wal_bytes", "a file that grows in large steps"),
    ("etcd_network_known_peers", "by new members"),
    ("etcd_network_peer_sent_failures_total", "by what is on its way when a peer goes"),
    ("etcd_network_peer_received_failures_total", "by a peer that goes in the midst of a message"),
    (
        "etcd_network_server_stream_failures_total",
        "by a client that makes no sense: tests of `api`",
    ),
    ("etcd_network_snapshot_send_inflights_total", "a state that lasts as long as a snapshot"),
    ("etcd_network_snapshot_receive_inflights_total", "a state that lasts as long as a snapshot"),
    ("etcd_network_snapshot_send_success", "by a follower that was away for long: `cluster`"),
    ("etcd_network_snapshot_send_failures", "by a follower that goes meanwhile"),
    ("etcd_network_snapshot_send_total_duration_seconds", "by a follower that was away for long"),
    ("etcd_network_snapshot_receive_success", "of a follower that was away for long"),
    ("etcd_network_snapshot_receive_failures", "of a follower whose leader goes meanwhile"),
    (
        "etcd_network_snapshot_receive_total_duration_seconds",
        "of a follower that was away for long",
    ),
    ("etcd_snap_db_fsync_duration_seconds", "of a follower that was away for long"),
    ("etcd_snap_db_save_total_duration_seconds", "of a follower that was away for long"),
    ("os_fd_limit", "the system's limit"),
    ("process_max_fds", "the system's limit"),
    ("process_virtual_memory_max_bytes", "the system's limit"),
    ("process_start_time_seconds", "when it started"),
    ("process_resident_memory_bytes", "the system's figure: it may stay as it is"),
    ("process_virtual_memory_bytes", "the system's figure: it may stay as it is"),
    ("process_threads", "the system's figure: threads wait to be used again"),
    ("promhttp_metric_handler_requests_in_flight", "always 1: docs/metrics.md"),
];

fn ask(world: &World, path: &str, body: &serde_json::Value) -> serde_json::Value {
    v3::post(world.member(), path, body)
}

fn put(world: &mut World) {
    // A key of its own each time.
    let key = format!("k/{}", v3::revision(world.member()));
    v3::put(world.member(), &key, "v");
}

fn range(world: &mut World) {
    ask(world, "kv/range", &json!({"key": v3::bytes("k")}));
}

fn txn_of_range(world: &mut World) {
    let range = json!({"request_range": {"key": v3::bytes("k")}});
    ask(world, "kv/txn", &json!({"success": [range]}));
}

fn txn_of_range_and_put(world: &mut World) {
    let range = json!({"request_range": {"key": v3::bytes("k")}});
    let put = json!({"request_put": {"key": v3::bytes("k/t")}});
    ask(world, "kv/txn", &json!({"success": [range, put]}));
}

fn txn(world: &mut World) {
    let put = |key| json!({"request_put": {"key": v3::bytes(key), "value": v3::bytes("v")}});
    ask(world, "kv/txn", &json!({"success": [put("k/1"), put("k/2")]}));
}

fn delete(world: &mut World) {
    ask(world, "kv/deleterange", &json!({"key": v3::bytes("k/1")}));
}

fn compact(world: &mut World) {
    let revision = v3::revision(world.member());
    ask(world, "kv/compaction", &json!({"revision": revision, "physical": true}));
}

fn grant_for(world: &World, seconds: u64) -> serde_json::Value {
    ask(world, "lease/grant", &json!({"TTL": seconds}))["ID"].clone()
}

fn grant(world: &mut World) {
    grant_for(world, 600);
}

fn keep_alive(world: &mut World) {
    let id = grant_for(world, 600);
    ask(world, "lease/keepalive", &json!({"ID": id}));
}

fn revoke(world: &mut World) {
    let id = grant_for(world, 600);
    ask(world, "lease/revoke", &json!({"ID": id}));
}

fn hash(world: &mut World) {
    ask(world, "maintenance/hash", &json!({}));
    ask(world, "maintenance/hashkv", &json!({}));
}

fn snapshot(world: &mut World) {
    drop(world.member().ask(&Request::json("POST", "/v3/maintenance/snapshot", "{}")));
}

fn watch(world: &mut World) {
    let all = json!({"create_request": {"key": v3::bytes("k"), "range_end": v3::bytes("l")}});
    world.begin(&Request::json("POST", "/v3/watch", &all.to_string()));
}

fn call(world: &mut World) {
    let mut etcdctl = std::process::Command::new(binaries::etcdctl());
    etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", &world.member().address().to_string()]);
    let output = run::run(etcdctl.args(["get", "k"]), "");
    assert_eq!(output.exit, Some(0), "{}", output.stderr);
}

fn write(world: &mut World) {
    world.member().put("/a", "1");
}

fn write_that_fails(world: &mut World) {
    drop(world.member().ask(&Request::put("/v2/keys/a?prevValue=other", "2")).expect(&[412]));
}

fn expire(world: &mut World) {
    let request = Request::new("PUT", "/v2/keys/short").form(&[("value", "1"), ("ttl", "1")]);
    drop(world.member().ask(&request).expect(&[201]));
}

fn look(world: &mut World) {
    for path in ["/health", "/readyz", "/livez"] {
        drop(world.member().get(path).expect(&[200]));
    }
}

fn alarm(world: &mut World, action: &str) {
    let id = ask(world, "maintenance/status", &json!({}))["header"]["member_id"].clone();
    let body = json!({"action": action, "memberID": id, "alarm": "NOSPACE"});
    ask(world, "maintenance/alarm", &body);
}

fn promote(world: &mut World) {
    drop(world.member().ask(&Request::json("POST", "/v3/cluster/member/promote", r#"{"ID": 7}"#)));
}

fn kill_follower(world: &mut World) {
    let follower = (world.leader + 1) % 3;
    world.cluster.members[follower].kill();
}

/// The one that is left stands still, and a proposal waits in vain.
fn silence(world: &mut World) {
    let follower = (world.leader + 2) % 3;
    world.cluster.members[follower].signal(Signal::SIGSTOP);
    let put = json!({"key": v3::bytes("k"), "value": v3::bytes("v")}).to_string();
    drop(world.member().ask(&Request::json("POST", "/v3/kv/put", &put)));
}

fn wake(world: &mut World) {
    let follower = (world.leader + 2) % 3;
    world.cluster.members[follower].signal(Signal::SIGCONT);
}

/// What each metric comes to: all its series together.
fn sums(member: &Member) -> BTreeMap<String, f64> {
    let families = page(member.address());
    let text = member.get("/metrics").text();
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().expect("a name");
        let of_histogram = name
            .strip_suffix("_count")
            .filter(|name| families.get(*name).is_some_and(|family| family.kind == "histogram"));
        let name = of_histogram.unwrap_or(name);
        if families.contains_key(name) {
            *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().expect("a number");
        }
    }
    sums
}

#[test]
fn each_metric_is_moved_by_what_it_tells_of_or_there_is_a_reason() {
    let flags = ["--metrics=extensive", "--warning-apply-duration=1ns"];
    let mut cluster = Cluster::start_with(3, &flags);
    let leader = cluster.leader();
    let mut world = World { cluster, leader, open: Vec::new() };
    for (what, act, metrics) in MOVED {
        let before = sums(world.member());
        act(&mut world);
        for metric in *metrics {
            let old = before.get(*metric).copied().unwrap_or_default();
            eventually(PATIENCE, &format!("{what} moves {metric}"), || {
                let new = sums(world.member()).get(*metric).copied().unwrap_or_default();
                (new.to_bits() != old.to_bits()).then_some(())
            });
        }
    }
    let moved = MOVED.iter().flat_map(|(_, _, metrics)| metrics.iter().copied());
    let listed: BTreeSet<&str> = moved.chain(NOT_MOVED.iter().map(|(name, _)| *name)).collect();
    let there = page(world.member().address());
    let new: Vec<_> = there.keys().filter(|name| !listed.contains(name.as_str())).collect();
    assert!(new.is_empty(), "say in tests/metrics/moves.rs what moves {new:#?}");
    let gone: Vec<_> = listed.iter().filter(|name| !there.contains_key(**name)).collect();
    assert!(gone.is_empty(), "there is no {gone:#?}");
    for (name, reason) in NOT_MOVED {
        assert!(reason.len() > 8, "{name}: {reason}");
    }
}
