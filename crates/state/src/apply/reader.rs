//! What every thread may read.

use std::sync::Arc;

use base::{MemberId, UnixNanos, limits};
use bytes::Bytes;
use mvcc::Store;
use parking_lot::RwLock;

use crate::{
    keys::{self, Error, Found},
    membership::Members,
};

/// History below its bound that a compaction must free at least, in revisions: when the newest
/// ones alone are more than the bound, not each write asks for a compaction.
const COMPACTION_STEP: i64 = limits::HISTORY_REVISIONS_KEPT / 10;

/// What every thread may read.
#[derive(Debug)]
pub struct Reader {
    store: Arc<Store>,
    members: RwLock<Arc<Members>>,
    cluster_version: RwLock<Option<String>>,
    key_stats: keys::Stats,
}

impl Reader {
    pub(super) fn new(store: Arc<Store>, members: Members, version: Option<String>) -> Self {
        Self {
            store,
            members: RwLock::new(Arc::new(members)),
            cluster_version: RwLock::new(version),
            key_stats: keys::Stats::default(),
        }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// [`keys::get`], counted in [`Reader::key_stats`].
    pub fn get(&self, path: &Bytes, recursive: bool) -> Result<Found, Error> {
        let found = keys::get(&self.store, path, recursive);
        self.key_stats.count_get(found.is_ok());
        found
    }

    /// A snapshot of the members as applied.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.read())
    }

    pub(super) fn set_members(&self, members: Members) {
        *self.members.write() = Arc::new(members);
    }

    /// As `major.minor.patch`; `None` before agreement.
    pub fn cluster_version(&self) -> Option<String> {
        self.cluster_version.read().clone()
    }

    pub(super) fn set_cluster_version(&self, version: String) {
        *self.cluster_version.write() = Some(version);
    }

    /// Counters of `/v2/stats/store`.
    pub fn key_stats(&self) -> &keys::Stats {
        &self.key_stats
    }

    /// The nearest v2 expiry, for the leader's timer.
    pub fn next_expiry(&self) -> Option<UnixNanos> {
        self.store.next_expiry()
    }

    /// The revision to compact at, if history has outgrown its bounds (a quarter of `quota_bytes`,
    /// or [`base::limits::HISTORY_REVISIONS_MAX`]); the leader proposes it.
    pub fn compaction_due(&self, quota_bytes: u64) -> Option<i64> {
        let usage = self.store.usage();
        let outgrown = usage.history_bytes > quota_bytes / 4
            || usage.history_records > limits::HISTORY_REVISIONS_MAX;
        // While a compaction runs, history shrinks by itself.
        if !outgrown || self.store.is_compacting() {
            return None;
        }
        let revision = self.store.revision() - limits::HISTORY_REVISIONS_KEPT;
        (revision >= self.store.compacted() + COMPACTION_STEP).then_some(revision)
    }

    /// Whether this member was removed.
    pub fn is_removed(&self, member: MemberId) -> bool {
        self.members().removed.contains(&member)
    }
}
