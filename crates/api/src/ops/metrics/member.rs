//! Where a member stands: its part in the cluster, and what was found when somebody looked at it.

use std::sync::atomic::Ordering::Relaxed;

use base::version;
use server::Handle;

use super::Page;
use crate::{context::Context, ops::health::Checked};

pub(super) fn of_server(page: &mut Page, context: &Context) {
    let handle = &context.handle;
    standing(page, context);
    proposals(page, handle);
    reads(page, handle);
    promotions(page, handle);
    versions(page, context);
}

fn standing(page: &mut Page, context: &Context) {
    let handle = &context.handle;
    let (status, counters) = (handle.status(), handle.counters());
    let flag = |is: bool| u8::from(is);
    page.gauge("etcd_server_has_leader", "1 if a leader is known.", flag(status.leader.is_some()));
    page.gauge("etcd_server_is_leader", "1 if this member leads.", flag(status.is_leader));
    page.gauge(
        "etcd_server_is_learner",
        "1 if this member does not vote.",
        flag(context.is_learner()),
    );
    let changes = counters.leader_changes.load(Relaxed);
    page.counter("etcd_server_leader_changes_seen_total", "Leader changes seen here.", changes);
    let late = counters.heartbeats_late.load(Relaxed);
    let help = "Heartbeats that this member, leading, sent late.";
    page.counter("etcd_server_heartbeat_send_failures_total", help, late);
    let installing = counters.snapshots_installing.load(Relaxed);
    let help = "1 while a snapshot takes the place of the keyspace.";
    page.gauge("etcd_server_snapshot_apply_in_progress_total", help, installing);
}

fn proposals(page: &mut Page, handle: &Handle) {
    let (status, counters) = (handle.status(), handle.counters());
    let help = "Entries that a quorum has on disk: raft's committed index.";
    page.gauge("etcd_server_proposals_committed_total", help, status.committed);
    let help = "Entries applied: raft's applied index.";
    page.gauge("etcd_server_proposals_applied_total", help, status.applied);
    let (pending, failed) =
        (handle.figures().proposals_pending, counters.proposals_failed.load(Relaxed));
    let help_pending = "Proposals that wait for their answer.";
    page.gauge("etcd_server_proposals_pending", help_pending, pending);
    let help_failed = "Proposals that were refused or timed out.";
    page.counter("etcd_server_proposals_failed_total", help_failed, failed);
    // The same, as etcd 2 called them.
    page.gauge("etcd_server_pending_proposal_total", help_pending, pending);
    page.counter("etcd_server_proposal_failed_total", help_failed, failed);
    let help = "From a proposal to its answer.";
    page.histogram("etcd_server_proposal_durations_seconds", help, &counters.proposals);
    let name = "etcd_server_apply_duration_seconds";
    page.begin(name, "Time that commands take to be applied.", "histogram");
    for (version, op, succeeded, durations) in counters.applies.all() {
        let succeeded = if succeeded { "true" } else { "false" };
        let labels = [("op", op), ("success", succeeded), ("version", version)];
        page.durations(name, &labels, durations);
    }
    let help = "Commands that took too long to be applied, and reads.";
    page.counter("etcd_server_slow_apply_total", help, counters.applies_slow.load(Relaxed));
}

fn reads(page: &mut Page, handle: &Handle) {
    let counters = handle.counters();
    let help = "Read indexes that did not come in time.";
    let slow = counters.read_indexes_slow.load(Relaxed);
    page.counter("etcd_server_slow_read_indexes_total", help, slow);
    let help = "Read indexes that were refused.";
    let failed = counters.read_indexes_failed.load(Relaxed);
    page.counter("etcd_server_read_indexes_failed_total", help, failed);
}

fn promotions(page: &mut Page, handle: &Handle) {
    let promotions = &handle.counters().promotions;
    let help = "Learners that vote now, by the word of this leader.";
    let successes = promotions.successes.load(Relaxed);
    page.counter("etcd_server_learner_promote_successes", help, successes);
    let name = "etcd_server_learner_promote_failures";
    page.begin(name, "Learners that this leader did not let vote.", "counter");
    for (reason, count) in promotions.failures() {
        page.sample(name, &[("Reason", &reason)], count);
    }
}

fn versions(page: &mut Page, context: &Context) {
    let handle = &context.handle;
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
    let name = "etcd_server_feature_enabled";
    page.begin(name, "1 if this feature of etcd's is there.", "gauge");
    for feature in &context.config.features {
        let labels = [("name", feature.name), ("stage", feature.stage)];
        page.sample(name, &labels, u8::from(feature.is_on));
    }
}

pub(super) fn of_health(page: &mut Page, checked: &Checked) {
    let (successes, failures) = checked.health();
    page.counter("etcd_server_health_success", "Times that /health was good.", successes);
    page.counter("etcd_server_health_failures", "Times that /health was bad.", failures);
    let name = "etcd_server_healthcheck";
    page.begin(name, "1 if a check was good when it was last made.", "gauge");
    for check in checked.all() {
        if check.errors + check.successes > 0 {
            let labels = [("name", check.name), ("type", check.kind)];
            page.sample(name, &labels, u8::from(check.is_good));
        }
    }
    let name = "etcd_server_healthchecks_total";
    page.begin(name, "Checks that were made.", "counter");
    for check in checked.all() {
        for (status, count) in [("error", check.errors), ("success", check.successes)] {
            if count > 0 {
                let labels = [("name", check.name), ("status", status), ("type", check.kind)];
                page.sample(name, &labels, count);
            }
        }
    }
}
