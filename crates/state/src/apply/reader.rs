//! What every thread may read.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use base::{Index, MemberId, UnixNanos, limits, version::Minor};
use bytes::Bytes;
use mvcc::{Hashing, Store, store::Larger};
use parking_lot::RwLock;
use proto::{
    command::Op,
    etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, TxnResponse},
};

use super::versions::Versions;
use crate::{
    alarm::Alarms,
    auth::{Auth, Tokens},
    keys::{self, Error, Found},
    kv::{self, Most},
    lease::Leases,
    membership::Members,
    quota,
};

/// History below its bound that a compaction must free at least, in revisions: when the newest
/// ones alone are more than the bound, not each write asks for a compaction.
const COMPACTION_STEP: i64 = limits::HISTORY_REVISIONS_KEPT / 10;

/// What every thread may read.
#[derive(Debug)]
pub struct Reader {
    store: Arc<Store>,
    members: RwLock<Arc<Members>>,
    versions: RwLock<Agreed>,
    key_stats: keys::Stats,
    leases: Leases,
    alarms: RwLock<Arc<Alarms>>,
    auth: RwLock<Arc<Auth>>,
    auth_is_enabled: AtomicBool,
    tokens: Tokens,
    #[cfg(feature = "next-version")]
    next: RwLock<super::Next>,
}

#[derive(Debug)]
struct Agreed {
    now: Versions,
    /// Which version the cluster has had since which entry; what is older than what is durable is
    /// forgotten. Never empty.
    since: Vec<(Index, Option<Minor>)>,
}

impl Reader {
    pub(super) fn new(store: Arc<Store>, now: Versions) -> Self {
        Self {
            store,
            members: RwLock::default(),
            versions: RwLock::new(Agreed { now, since: vec![(Index(0), now.cluster)] }),
            key_stats: keys::Stats::default(),
            leases: Leases::default(),
            alarms: RwLock::default(),
            auth: RwLock::default(),
            auth_is_enabled: AtomicBool::new(false),
            tokens: Tokens::default(),
            #[cfg(feature = "next-version")]
            next: RwLock::default(),
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

    /// The same; of a node with a value of more than so many bytes, how many these are. That is not
    /// counted: it is asked again.
    pub fn get_up_to(
        &self,
        path: &Bytes,
        recursive: bool,
        value_max: usize,
    ) -> Result<Result<Found, Larger>, Error> {
        let found = keys::get_up_to(&self.store, path, recursive, value_max);
        if !matches!(found, Ok(Err(Larger(_)))) {
            self.key_stats.count_get(found.is_ok());
        }
        found
    }

    /// A v3 range as a whole, whose form [is checked](kv::check::range). What is too large for that
    /// is refused: see [`Reader::scan`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, kv::Error> {
        self.range_up_to(request, Most::WHOLE)
    }

    /// As [`Reader::range`], with other bounds.
    pub fn range_up_to(
        &self,
        request: &RangeRequest,
        most: Most,
    ) -> Result<RangeResponse, kv::Error> {
        kv::range(&self.store, request, most)
    }

    /// The same in pieces: what is in memory at once is bounded, whatever the size. By key, in either
    /// order and with filters too, it goes through the index. Another order needs 16 bytes for each
    /// key, and one by value the values: of too many it is refused.
    ///
    /// Looks at all keys of the range in the index, to count them: not for a thread of the network.
    pub fn scan(&self, request: &RangeRequest) -> Result<kv::Scan, kv::Error> {
        kv::Scan::new(&self.store, request, Most::WHOLE.places())
    }

    /// A transaction that [only reads](kv::is_read_only), and whose form
    /// [is checked](kv::check::txn).
    pub fn txn(&self, request: &TxnRequest) -> Result<TxnResponse, kv::Error> {
        self.txn_up_to(request, Most::WHOLE)
    }

    /// The same, with other bounds.
    pub fn txn_up_to(&self, request: &TxnRequest, most: Most) -> Result<TxnResponse, kv::Error> {
        kv::read(&self.store, request, most)
    }

    /// About how many bytes of keys and values the answer to a command will hold, if the keyspace
    /// stays as it is. Refused with [`base::Refused::AnswerTooLarge`] if so many names do not tell.
    pub fn answer_bytes(&self, op: &Op, names_max: usize) -> Result<usize, kv::Error> {
        kv::of_answer(&self.store, op, names_max)
    }

    /// The leases: what is replicated of them, and the leader's clock.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The live keys on a lease, in order.
    pub fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        self.store.leased(id)
    }

    /// Begins the hash of the history up to a revision (0: the current one), as etcd has it.
    pub fn hash(&self, revision: i64) -> Result<Hashing, kv::Error> {
        Ok(self.store.hash(revision)?)
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> Arc<Alarms> {
        Arc::clone(&self.alarms.read())
    }

    pub(super) fn set_alarms(&self, alarms: Alarms) {
        *self.alarms.write() = Arc::new(alarms);
    }

    /// Users and roles, as applied.
    pub fn auth(&self) -> Arc<Auth> {
        Arc::clone(&self.auth.read())
    }

    /// Whether anybody is asked who he is: [`Auth::is_enabled`], for less.
    pub fn auth_is_enabled(&self) -> bool {
        self.auth_is_enabled.load(Ordering::Acquire)
    }

    /// Who has logged in, as this member knows.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Whoever comes after it was enabled finds it so.
    pub(super) fn set_auth(&self, auth: Auth) {
        let is_enabled = auth.is_enabled();
        if !is_enabled {
            self.tokens.clear();
        }
        let mut current = self.auth.write();
        *current = Arc::new(auth);
        self.auth_is_enabled.store(is_enabled, Ordering::Release);
    }

    /// Bytes that count towards the space quota.
    pub fn bytes_in_use(&self) -> u64 {
        let usage = self.store.usage();
        usage.live_bytes + usage.history_bytes + self.leases.len() as u64 * quota::LEASE_BYTES
    }

    /// Whether a command fits into the space quota. Ask before it is proposed; if not, raise the alarm
    /// `NOSPACE`, and refuse it.
    pub fn has_room(&self, op: &Op, quota_bytes: u64) -> bool {
        let cost = quota::cost(op);
        cost == 0 || self.bytes_in_use() + cost < quota_bytes
    }

    /// Whether a command is done in a moment, if the keyspace stays as it is.
    pub fn is_brief(&self, op: &Op) -> bool {
        kv::is_brief(&self.store, op)
    }

    /// A snapshot of the members as applied.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.read())
    }

    pub(super) fn set_members(&self, members: Members) {
        *self.members.write() = Arc::new(members);
    }

    /// What the cluster agrees to speak.
    pub fn versions(&self) -> Versions {
        self.versions.read().now
    }

    /// What all members can do; `None` before agreement.
    pub fn cluster_version(&self) -> Option<Minor> {
        self.versions().cluster
    }

    /// The version that data on disk is of, if the keyspace's file holds all up to entry `durable`:
    /// the highest of that file and of the entries that follow it. An older build cannot go on
    /// with them.
    pub fn storage_version(&self, durable: Index) -> Option<Minor> {
        let agreed = self.versions.read();
        let held = agreed.since.iter().rposition(|(since, _)| *since <= durable).unwrap_or(0);
        agreed.since.iter().skip(held).filter_map(|(_, version)| *version).max()
    }

    pub(super) fn set_versions(&self, now: Versions, at: Index, durable: Index) {
        let mut agreed = self.versions.write();
        if agreed.now.cluster != now.cluster {
            let held = agreed.since.iter().rposition(|(since, _)| *since <= durable);
            agreed.since.drain(..held.unwrap_or(0));
            agreed.since.push((at, now.cluster));
        }
        agreed.now = now;
    }

    /// What is new in a build that says to be a version on.
    #[cfg(feature = "next-version")]
    pub fn next(&self) -> super::Next {
        self.next.read().clone()
    }

    #[cfg(feature = "next-version")]
    pub(super) fn set_next(&self, next: super::Next) {
        *self.next.write() = next;
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
