//! What the leader keeps of time.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::Duration,
};

use base::{Term, limits::LEASE_REVOCATIONS_PER_SECOND_MAX};
use proto::command::LeaseNote;

use super::Lease;

const SECOND: Duration = Duration::from_secs(1);

/// When leases end, and when it is to be noted down what is left of them.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// In which this member leads.
    term: Term,
    /// How often what is left is noted down.
    every: Duration,
    by_id: BTreeMap<i64, Timer>,
    by_end: BTreeSet<(Duration, i64)>,
    by_note: BTreeSet<(Duration, i64)>,
    /// Granted, and not begun yet: whoever applies has no clock.
    new: Vec<i64>,
    /// The second that runs, and how many have been given out to be revoked in it.
    second: (Duration, usize),
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    end: Duration,
    note: Option<Duration>,
    /// It was given out to be revoked: whoever keeps it now comes too late, even if the clock that
    /// he has looked at says otherwise.
    is_ending: bool,
}

impl Timers {
    pub(super) fn of(term: Term, every: Duration) -> Self {
        Self { term, every, ..Self::default() }
    }

    pub(super) fn term(&self) -> Term {
        self.term
    }

    pub(super) fn add(&mut self, id: i64) {
        self.new.push(id);
    }

    pub(super) fn take_new(&mut self) -> Vec<i64> {
        mem::take(&mut self.new)
    }

    /// The lease has all that is left of it from `now` on, and `grace`.
    pub(super) fn start(&mut self, id: i64, lease: &Lease, now: Duration, grace: Duration) {
        let left = left(lease);
        let end = now.saturating_add(left).saturating_add(grace);
        let note = self.by_id.get(&id).and_then(|timer| timer.note);
        let note = note.or_else(|| self.next_note(left, now));
        self.set(id, Some(Timer { end, note, is_ending: false }));
    }

    /// When it is to be noted down next, if so much is left that it matters.
    fn next_note(&self, left: Duration, now: Duration) -> Option<Duration> {
        (left > self.every).then(|| now.saturating_add(self.every))
    }

    pub(super) fn remove(&mut self, id: i64) {
        self.set(id, None);
    }

    fn set(&mut self, id: i64, timer: Option<Timer>) {
        let old = match timer {
            Some(timer) => self.by_id.insert(id, timer),
            None => self.by_id.remove(&id),
        };
        if let Some(Timer { end, note, .. }) = old {
            self.by_end.remove(&(end, id));
            note.map(|note| self.by_note.remove(&(note, id)));
        }
        if let Some(Timer { end, note, .. }) = timer {
            self.by_end.insert((end, id));
            note.map(|note| self.by_note.insert((note, id)));
        }
    }

    pub(super) fn is_ending(&self, id: i64, now: Duration) -> bool {
        self.by_id.get(&id).is_some_and(|timer| timer.is_ending || timer.end <= now)
    }

    /// What is left of a lease; all, if it has not begun yet.
    pub(super) fn left(&self, id: i64, lease: &Lease, now: Duration) -> Duration {
        self.by_id.get(&id).map_or(left(lease), |timer| timer.end.saturating_sub(now))
    }

    pub(super) fn by_end(&self) -> impl Iterator<Item = i64> {
        self.by_end.iter().map(|(_, id)| *id)
    }

    pub(super) fn expired(&mut self, now: Duration, max: usize) -> Vec<i64> {
        let (since, given) = &mut self.second;
        if now >= *since + SECOND {
            (*since, *given) = (now, 0);
        }
        let max = max.min(LEASE_REVOCATIONS_PER_SECOND_MAX - *given);
        let due = self.by_end.iter().take_while(|(end, _)| *end <= now).take(max);
        let ids: Vec<i64> = due.map(|(_, id)| *id).collect();
        *given += ids.len();
        for id in &ids {
            if let Some(timer) = self.by_id.get_mut(id) {
                timer.is_ending = true;
            }
        }
        ids
    }

    /// What is noted down is due again later, if enough is left. A lease that has all its time needs
    /// no note.
    pub(super) fn checkpoints(
        &mut self,
        leases: &BTreeMap<i64, Lease>,
        now: Duration,
        max: usize,
    ) -> Vec<LeaseNote> {
        let mut notes = Vec::new();
        while notes.len() < max
            && let Some((_, id)) = self.by_note.first().filter(|(due, _)| *due <= now).copied()
        {
            let Some(timer) = self.by_id.get(&id).copied() else { break };
            let left = timer.end.saturating_sub(now);
            let note = self.next_note(left, now);
            self.set(id, Some(Timer { note, ..timer }));
            let remaining = i64::try_from(ceil_secs(left)).unwrap_or(i64::MAX);
            let lease = leases.get(&id).filter(|lease| remaining < lease.ttl && remaining > 0);
            notes.extend(lease.map(|lease| LeaseNote { id, remaining, granted: lease.granted }));
        }
        notes
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        let (since, given) = self.second;
        let spent = given >= LEASE_REVOCATIONS_PER_SECOND_MAX;
        let end = self.by_end.first().map(|(end, _)| *end);
        let end = end.map(|end| if spent { end.max(since + SECOND) } else { end });
        let note = self.by_note.first().map(|(due, _)| *due);
        end.into_iter().chain(note).min()
    }
}

fn left(lease: &Lease) -> Duration {
    Duration::from_secs(u64::try_from(lease.left()).unwrap_or(0))
}

fn ceil_secs(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
