//! Leases: keys that go together unless somebody keeps them.
//!
//! What is replicated is that a lease is there, its time to live, and what the leader noted down of
//! what is left. When it ends is the leader's matter alone, by a clock that never goes back: see
//! [`Leases::promote`]. Which keys are on a lease the keyspace knows.
//!
//! - `row`: how leases lie in the table `Meta`
//! - `timers`: what the leader keeps of time

mod row;
mod timers;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use base::{Histogram, Refused, Term, limits::LEASE_TTL_MAX};
use parking_lot::Mutex;
use proto::command::{LeaseNote, LeaseRevoke};

pub(crate) use self::row::{PREFIX, decode, encode, key};
use self::timers::Timers;

/// A lease, as replicated. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// As granted.
    pub ttl: i64,
    /// What was left when the leader last noted it down; 0: all.
    pub remaining: i64,
    /// The entry by which it was granted: another lease of the same id has another one.
    pub granted: u64,
}

impl Lease {
    /// The time to live with which a new leader begins.
    fn left(&self) -> i64 {
        if self.remaining > 0 { self.remaining } else { self.ttl }
    }
}

/// What comes of keeping a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It has its whole time to live again, so many seconds.
    Renewed(i64),
    NotFound,
    /// Its time is over, and it is on its way out: ask again until it is gone. (It may stay, with
    /// another leader.)
    Ending,
    /// A note of what is left would let it end early after a change of leaders: propose a checkpoint
    /// with this one, which takes it back, and ask again.
    Noted(LeaseNote),
    /// This member does not lead: ask the leader.
    NotPrimary,
}

/// How long a lease lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    /// In seconds.
    pub granted: i64,
    /// `None`: this member does not lead, and does not know. Zero where the time is over.
    pub left: Option<Duration>,
}

/// All leases.
#[derive(Debug, Default)]
pub struct Leases {
    inner: Mutex<Inner>,
    /// Some were granted that have no end yet.
    has_new: AtomicBool,
    counts: Counts,
}

/// What has happened to leases since the process began, as this member sees it.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub granted: AtomicU64,
    /// Times to live as granted.
    pub ttls: Histogram,
    pub revoked: AtomicU64,
    /// By this member, while it led.
    pub renewed: AtomicU64,
    /// Whose end this member has proposed, while it led.
    pub expired: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            granted: AtomicU64::default(),
            ttls: Histogram::doubling(Duration::from_secs(1), 24),
            revoked: AtomicU64::default(),
            renewed: AtomicU64::default(),
            expired: AtomicU64::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    leases: BTreeMap<i64, Lease>,
    /// Only where this member leads.
    timers: Option<Timers>,
}

/// What is replicated.
impl Leases {
    pub fn contains(&self, id: i64) -> bool {
        self.inner.lock().leases.contains_key(&id)
    }

    pub fn get(&self, id: i64) -> Option<Lease> {
        self.inner.lock().leases.get(&id).copied()
    }

    pub fn len(&self) -> usize {
        self.inner.lock().leases.len()
    }

    /// For metrics.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, as replicated.
    pub fn all(&self) -> BTreeMap<i64, Lease> {
        self.inner.lock().leases.clone()
    }

    /// Their ids: those that end first come first, where this member leads.
    pub fn ids(&self) -> Vec<i64> {
        let inner = self.inner.lock();
        let by_end = inner.timers.iter().flat_map(Timers::by_end);
        let mut ids: Vec<i64> = by_end.collect();
        if ids.len() < inner.leases.len() {
            let timed: std::collections::BTreeSet<i64> = ids.iter().copied().collect();
            ids.extend(inner.leases.keys().filter(|id| !timed.contains(id)));
        }
        ids
    }

    /// Takes over what was stored, in place of all that was there.
    pub(crate) fn load(&self, leases: BTreeMap<i64, Lease>) {
        *self.inner.lock() = Inner { leases, timers: None };
    }

    /// `granted`: the entry that does so.
    pub(crate) fn grant(&self, id: i64, ttl: i64, granted: u64) -> Result<Lease, Refused> {
        if id == 0 {
            return Err(Refused::LeaseNotFound);
        }
        if ttl > LEASE_TTL_MAX {
            return Err(Refused::LeaseTtlTooLarge);
        }
        let mut inner = self.inner.lock();
        if inner.leases.contains_key(&id) {
            return Err(Refused::LeaseExists);
        }
        let lease = Lease { ttl, remaining: 0, granted };
        inner.leases.insert(id, lease);
        self.counts.granted.fetch_add(1, Ordering::Relaxed);
        self.counts.ttls.record(Duration::from_secs(u64::try_from(ttl).unwrap_or(0)));
        if let Some(timers) = &mut inner.timers {
            timers.add(id);
            self.has_new.store(true, Ordering::Release);
        }
        Ok(lease)
    }

    pub(crate) fn revoke(&self, id: i64) {
        let mut inner = self.inner.lock();
        if inner.leases.remove(&id).is_some() {
            self.counts.revoked.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(timers) = &mut inner.timers {
            timers.remove(id);
        }
    }

    /// Notes down what is left; `None` if there is no such lease.
    pub(crate) fn checkpoint(&self, note: LeaseNote) -> Option<Lease> {
        let LeaseNote { id, remaining, granted } = note;
        let mut inner = self.inner.lock();
        let lease = inner.leases.get_mut(&id).filter(|lease| lease.granted == granted)?;
        lease.remaining = remaining;
        Some(*lease)
    }
}

/// What the leader does. `now` is a clock that never goes back.
impl Leases {
    /// This member leads in a term, and has applied all that former leaders have committed. Leases
    /// live on for what was noted down of them, or else their whole time, and `grace`: nobody could
    /// keep them while there was no leader. It notes down `every` so often what is left of those that
    /// live longer. Nothing changes if it was said before.
    pub fn promote(&self, term: Term, now: Duration, grace: Duration, every: Duration) {
        let mut inner = self.inner.lock();
        if inner.timers.as_ref().is_some_and(|timers| timers.term() == term) {
            return;
        }
        let mut timers = Timers::of(term, every);
        for (id, lease) in &inner.leases {
            timers.start(*id, lease, now, grace);
        }
        inner.timers = Some(timers);
    }

    /// In which term this member keeps their time, if it does.
    pub fn term(&self) -> Option<Term> {
        self.inner.lock().timers.as_ref().map(Timers::term)
    }

    /// This member does not lead any more: no lease ends by it.
    pub fn demote(&self) {
        self.inner.lock().timers = None;
    }

    /// Lets new leases begin now: whoever applies calls it right after, before anybody is answered,
    /// with a look at the clock that is newer than what was applied. (Nobody else does: its time might
    /// be an older one.) Costs nothing if there are none.
    pub fn look(&self, now: Duration) {
        if !self.has_new.swap(false, Ordering::AcqRel) {
            return;
        }
        let Inner { leases, timers: Some(timers) } = &mut *self.inner.lock() else { return };
        for id in timers.take_new() {
            if let Some(lease) = leases.get(&id) {
                timers.start(id, lease, now, Duration::ZERO);
            }
        }
    }

    /// Keeps a lease. Whoever asks makes sure before that this member still leads (a read index), and
    /// that it has applied what was committed by then.
    pub fn renew(&self, id: i64, now: Duration) -> Renewal {
        let mut inner = self.inner.lock();
        let Inner { leases, timers: Some(timers) } = &mut *inner else {
            return Renewal::NotPrimary;
        };
        let Some(lease) = leases.get(&id) else { return Renewal::NotFound };
        if timers.is_ending(id, now) {
            return Renewal::Ending;
        }
        if lease.remaining > 0 {
            return Renewal::Noted(LeaseNote { id, remaining: 0, granted: lease.granted });
        }
        timers.start(id, lease, now, Duration::ZERO);
        self.counts.renewed.fetch_add(1, Ordering::Relaxed);
        Renewal::Renewed(lease.ttl)
    }

    /// How long a lease lives; `None` if there is no such.
    pub fn time_to_live(&self, id: i64, now: Duration) -> Option<TimeToLive> {
        let inner = self.inner.lock();
        let lease = inner.leases.get(&id)?;
        let left = inner.timers.as_ref().map(|timers| timers.left(id, lease, now));
        Some(TimeToLive { granted: lease.ttl, left })
    }

    /// What ends leases whose time is over, at most `max`. So many in a second as etcd does.
    pub fn expired(&self, now: Duration, max: usize) -> Vec<LeaseRevoke> {
        let mut inner = self.inner.lock();
        let Inner { leases, timers: Some(timers) } = &mut *inner else { return Vec::new() };
        let expired = timers.expired(now, max).into_iter().filter_map(|id| {
            Some(LeaseRevoke { id, expired: true, granted: leases.get(&id)?.granted })
        });
        let expired: Vec<LeaseRevoke> = expired.collect();
        self.counts.expired.fetch_add(expired.len() as u64, Ordering::Relaxed);
        expired
    }

    /// Leases of which it is time to note down what is left, at most `max`.
    pub fn checkpoints(&self, now: Duration, max: usize) -> Vec<LeaseNote> {
        let mut inner = self.inner.lock();
        let Inner { leases, timers: Some(timers) } = &mut *inner else { return Vec::new() };
        timers.checkpoints(leases, now, max)
    }

    /// When the next of these two has something.
    pub fn next_due(&self) -> Option<Duration> {
        self.inner.lock().timers.as_ref().and_then(Timers::next_due)
    }
}

#[cfg(test)]
mod tests;
