//! What the threads of a member and its callers share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use backend::Backend;
use base::{
    Clock, Complaints, Index, MemberId, Term, UnixNanos, limits,
    version::{self, Minor},
};
use member::{RaftState, Role};
use parking_lot::Mutex;
use peer::{PeerStatus, Peers};
use state::Reader;
use tokio::{
    runtime,
    sync::{Semaphore, watch},
};
use wal::{Identity, Wal};

use crate::{
    Config, Status, Unserved,
    barriers::Barriers,
    counters::Counters,
    crowd::Crowd,
    failure::Failure,
    figures::Appends,
    inbox::{Inbox, Urgency},
    late::Late,
    threads::{apply::ApplyQueue, flusher::FlushSignal, snapshots::Place},
    waiters::Waiters,
};

/// For so many election timeouts a member that has lost its leader does not believe that it was
/// removed; and for so long after its start it believes that at once.
const REMOVAL_TIMEOUTS: u32 = 4;

/// How often it is said that others take this member for removed.
const DISPUTE_EVERY: Duration = Duration::from_mins(1);

/// What the threads of a member and its callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_at: UnixNanos,
    pub(crate) reader: Arc<Reader>,
    pub(crate) backend: Arc<Backend>,
    /// Locked by whoever writes to the log: a raft thread, or a lone write; and to cut it.
    pub(crate) wal: Mutex<Wal>,
    pub(crate) inbox: Inbox,
    pub(crate) waiters: Waiters,
    pub(crate) crowd: Crowd,
    pub(crate) barriers: Barriers,
    /// Of which ids of leases are made.
    pub(crate) lease_numbers: AtomicU64,
    pub(crate) apply: ApplyQueue,
    /// Where the keyspace of a snapshot gathers.
    pub(crate) place: Place,
    /// One is coming, or waits to be taken over.
    pub(crate) receiving: AtomicBool,
    /// How often in a row each follower could not be sent one.
    pub(crate) snapshots_failed: Mutex<BTreeMap<MemberId, u32>>,
    /// Snapshots on their way to clients.
    pub(crate) saves: AtomicUsize,
    /// The network that was there when the member started.
    pub(crate) runtime: Option<runtime::Handle>,
    pub(crate) flush: FlushSignal,
    pub(crate) standing: Standing,
    pub(crate) counters: Counters,
    /// What was said of members in the log.
    pub(crate) complaints: Mutex<Complaints<(MemberId, String)>>,
    /// Connections that clients and peers have open here.
    pub(crate) connections: AtomicUsize,
    /// The network between members; missing in a cluster of one that was started outside of it.
    pub(crate) peers: OnceLock<Peers>,
    /// Entries sent to others, and taken from them.
    pub(crate) appends_sent: Appends,
    pub(crate) appends_received: Appends,
    /// The threads of the network: known once a write has been carried out on one of them.
    pub(crate) network: OnceLock<runtime::Handle>,
    pub(crate) published: watch::Sender<bool>,
    pub(crate) failed: watch::Sender<Option<String>>,
    /// This member was removed from its cluster.
    pub(crate) removed: watch::Sender<bool>,
    pub(crate) stopped: watch::Sender<bool>,
    /// This member differs from the others.
    pub(crate) fenced: watch::Sender<bool>,
    /// Members are to be compared soon: by their hashes as well?
    pub(crate) compare: watch::Sender<Option<bool>>,
    /// Hashes that are computed: each reads all there is.
    pub(crate) hashing: Semaphore,
}

/// Where the member stands.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) leader: AtomicU64,
    /// A [`RaftState`].
    state: AtomicU8,
    term: AtomicU64,
    leader_since: AtomicI64,
    /// The same, by the clock that never goes back.
    elected_at: AtomicU64,
    /// Since when there is no leader, by the same clock.
    pub(crate) leaderless_since: AtomicU64,
    /// Since when peers take this member for removed while a leader does not; none if 0. And when
    /// that was last said.
    disputed_since: AtomicU64,
    disputed_at: AtomicU64,
    /// This member was removed, and waits until the others know.
    pub(crate) says_farewell: AtomicBool,
    pub(crate) committed: AtomicU64,
    pub(crate) applied: AtomicU64,
    /// A read needs no round: this member is alone, and leads.
    pub(crate) reads_at_once: AtomicBool,
    /// The raft thread wants to hear at once when this index is applied.
    pub(crate) awaited: AtomicU64,
    /// The expiry for which the raft thread will wake by itself.
    pub(crate) expiry_planned: AtomicI64,
}

impl Shared {
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The member cannot go on: nobody is told of success from here on.
    pub(crate) fn fail(&self, failure: Failure) {
        let Failure(text) = failure;
        let first = self.failed.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                tracing::error!(error = %text, "the member stops");
                *known = Some(text);
            }
            first
        });
        if first {
            self.refuse_all();
            self.inbox.stop();
            self.apply.stop();
            self.flush.stop();
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.borrow().is_some()
    }

    pub(crate) fn refuse_all(&self) {
        self.standing.reads_at_once.store(false, Release);
        let refused = self.waiters.refuse_all(Unserved::Stopped);
        self.counters.proposals_failed.fetch_add(refused, Relaxed);
        let failed = self.barriers.refuse_all(Unserved::Stopped);
        self.counters.read_indexes_failed.fetch_add(failed, Relaxed);
    }

    /// Tells those who have waited too long.
    pub(crate) fn refuse_late(&self, now: Duration) {
        let late = self.waiters.expire(now, || self.why_late(now));
        self.counters.proposals_failed.fetch_add(late, Relaxed);
        let slow = self.barriers.expire(now);
        self.counters.read_indexes_slow.fetch_add(slow, Relaxed);
    }

    /// Why a proposal has got no answer whose time is over at `now`.
    fn why_late(&self, now: Duration) -> Unserved {
        let patience = self.config.request_timeout();
        let standing = Late {
            asked: now.saturating_sub(patience),
            elected: Duration::from_nanos(self.standing.elected_at.load(Relaxed)),
            election: self.config.election,
            leader: match MemberId(self.standing.leader.load(Relaxed)) {
                MemberId(0) => None,
                leader => Some(leader),
            },
        };
        standing.why(|leader| self.was_in_touch_with(leader, patience))
    }

    /// Whether for so long this member has had its connections to the leader; to a quorum, if it
    /// leads itself.
    fn was_in_touch_with(&self, leader: MemberId, time: Duration) -> bool {
        let since = UnixNanos(
            self.clock.wall().0.saturating_sub(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)),
        );
        let status = self.peers.get().map(Peers::status).unwrap_or_default();
        let is_in_touch = |id| {
            let active = |peer: &PeerStatus| peer.active_since.is_some_and(|at| at < since);
            id == self.identity.member || status.iter().any(|peer| peer.id == id && active(peer))
        };
        if leader != self.identity.member {
            return is_in_touch(leader);
        }
        let members = self.reader.members();
        let in_touch = members.members.keys().filter(|id| is_in_touch(**id)).count();
        in_touch > members.members.len() / 2
    }

    /// Talks to the members as they are now. A member that has just joined does not know them yet,
    /// and goes by what it was told.
    pub(crate) fn set_peers(&self) {
        let members = self.reader.members();
        let Some(peers) = self.peers.get().filter(|_| !members.members.is_empty()) else { return };
        let urls = members.members.values().map(|member| (member.id, member.peer_urls.clone()));
        peers.set(&urls.collect::<Vec<_>>());
    }

    /// Something about a member has gone wrong. If it is to be said in the log now: how often it
    /// has since it was last said.
    pub(crate) fn complain(&self, of: MemberId, what: impl Into<String>) -> Option<u64> {
        self.complaints.lock().note((of, what.into()), self.now())
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A peer says that this member was removed. Whoever was removed hears no leader any more, nor
    /// finds one: a member that has a leader, or had one a moment ago, stays with what its quorum has
    /// acknowledged. The peer was forced to go on alone then (`--force-new-cluster`), while this
    /// cluster was out of its reach. A member that has just started has nothing to set against it, nor
    /// has one that knows it, and stays only until others do.
    pub(crate) fn hear_of_removal(&self, by: MemberId) {
        let standing = &self.standing;
        let (now, patience) = (self.now(), self.config.election * REMOVAL_TIMEOUTS);
        let over = |from: u64, time| now.saturating_sub(Duration::from_nanos(from)) > time;
        let has_leader = standing.leader.load(Relaxed) != 0;
        let is_lost = !has_leader && over(standing.leaderless_since.load(Relaxed), patience);
        if is_lost || now < patience || standing.says_farewell.load(Relaxed) {
            self.leave(&format!("as member {by} says"));
            return;
        }
        let first = standing.disputed_since.compare_exchange(0, self.nanos(), Relaxed, Relaxed);
        let last = standing.disputed_at.load(Relaxed);
        // One that was really removed loses its leader in a moment.
        if has_leader
            && first.is_err_and(|since| over(since, patience))
            && (last == 0 || over(last, DISPUTE_EVERY))
        {
            standing.disputed_at.store(self.nanos(), Relaxed);
            tracing::error!(
                peer = %by,
                "a peer says that this member was removed, but it has a leader, and stays: if the \
                 peer goes on in a cluster of its own (--force-new-cluster), stop it, remove its \
                 data directory, and add it as a new member"
            );
        }
    }

    /// This member does not belong to its cluster any more.
    pub(crate) fn leave(&self, why: &str) {
        if !self.removed.send_replace(true) {
            tracing::error!(
                "the member has been permanently removed from the cluster ({why}): the data-dir \
                 used by this member must be removed"
            );
        }
    }

    pub(crate) fn set_role(&self, role: Role) {
        let standing = &self.standing;
        let leader = role.leader.map_or(0, |id| id.0);
        let before = standing.leader.swap(leader, Relaxed);
        if before != 0 && leader == 0 {
            standing.leaderless_since.store(self.nanos(), Relaxed);
        }
        if before != leader && leader != 0 {
            self.counters.leader_changes.fetch_add(1, Relaxed);
            standing.leader_since.store(self.clock.wall().0, Relaxed);
            standing.elected_at.store(self.nanos(), Relaxed);
            tracing::info!(leader = %MemberId(leader), term = role.term.0, "elected leader");
        } else if leader == 0 && standing.term.load(Relaxed) != 0 {
            tracing::warn!(term = role.term.0, "no leader");
        }
        standing.state.store(role.state as u8, Relaxed);
        standing.term.store(role.term.0, Relaxed);
    }

    pub(crate) fn status(&self) -> Status {
        let standing = &self.standing;
        let leader = standing.leader.load(Relaxed);
        let leader = (leader != 0).then_some(MemberId(leader));
        let since = UnixNanos(standing.leader_since.load(Relaxed));
        let state = standing.state.load(Relaxed);
        let state = RaftState::ALL.into_iter().find(|one| *one as u8 == state).unwrap_or_default();
        // Applied first: it must not seem to be ahead of what is committed.
        let applied = Index(standing.applied.load(Acquire));
        Status {
            leader,
            is_leader: state == RaftState::Leader,
            state,
            term: Term(standing.term.load(Relaxed)),
            committed: Index(standing.committed.load(Acquire)).max(applied),
            applied,
            durable: self.backend.durable().index,
            leader_since: leader.map(|_| since),
        }
    }

    /// The version that the keyspace is of on disk.
    pub(crate) fn storage_version(&self) -> Option<Minor> {
        self.reader.storage_version(self.backend.durable().index)
    }

    /// Whether too much is committed and not applied to let anybody write more.
    pub(crate) fn is_overloaded(&self, urgency: Urgency) -> bool {
        let times = match urgency {
            Urgency::Usual => 1,
            Urgency::Urgent => 2,
        };
        self.unapplied() > times * limits::COMMITTED_UNAPPLIED_MAX
            || self.apply.bytes() > limits::UNAPPLIED_BYTES_MAX
    }

    /// Committed entries that are not applied yet.
    pub(crate) fn unapplied(&self) -> u64 {
        let applied = self.standing.applied.load(Relaxed);
        self.standing.committed.load(Relaxed).saturating_sub(applied)
    }

    /// Whether the cluster knows this member's name, URLs and build, and has a version.
    pub(crate) fn check_published(&self) {
        if *self.published.borrow() {
            return;
        }
        let members = self.reader.members();
        let known = members.members.get(&self.identity.member).is_some_and(|member| {
            member.name == self.config.name
                && member.client_urls == self.config.client_urls
                && member.version == version::SERVER
        });
        if known && self.reader.cluster_version().is_some() {
            self.published.send_replace(true);
        }
    }

    pub(crate) fn set_applied(&self, index: Index) {
        self.standing.applied.store(index.0, Release);
    }

    /// Whether this member is one that differs, as the cluster has agreed.
    pub(crate) fn look_for_fence(&self) {
        let now = self.reader.alarms().is_corrupt(self.identity.member);
        if now == *self.fenced.borrow() {
            return;
        }
        self.fenced.send_replace(now);
        if now {
            tracing::error!(
                "this member's data differ from those of the others (alarm CORRUPT): it answers no \
                 client. Look at its disk and memory; then start it with --rebuild-corrupt, which \
                 takes the leader's data in place of its own, or remove it and add it anew"
            );
        } else {
            tracing::info!("this member answers clients again: its alarm CORRUPT was taken back");
        }
    }

    pub(crate) fn note_wal_bytes(&self, wal: &Wal) {
        self.counters.wal_bytes.store(wal.bytes(), Relaxed);
        self.counters.wal_written_bytes.store(wal.written(), Relaxed);
        self.counters.wal_last_index.store(wal.last().0, Relaxed);
    }
}
