//! A lease does not end before its time, and does not stay long after it; and when the leader changes it has
//! left what was noted down.

use std::{collections::BTreeMap, time::Duration};

use base::{Index, UnixNanos};
use member::Applier;
use proto::{
    Message as _,
    command::{Command, LeaseNote, LeaseRevoke, Op},
    etcdserverpb::LeaseGrantRequest,
};
use state::lease::Leases;
use wal::Entry;

use crate::{Violation, history::History, running::LEASE_GRACE};

const NAME: &str = "leases";
const SECOND: i64 = 1_000_000_000;

/// What is promised to the keepers of leases, by id.
pub(crate) type Promised = BTreeMap<i64, Promise>;

/// A lease, as the log tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    /// The entry that has granted it.
    granted: u64,
    /// In seconds.
    ttl: i64,
    /// It does not end before.
    until: UnixNanos,
    /// What was left, in seconds, by the entry that noted it down.
    notes: BTreeMap<u64, i64>,
}

/// An entry is applied for the first time; how many leases it notes down.
pub(crate) fn apply(history: &mut History, entry: &Entry) -> Result<u64, Violation> {
    let now = history.now;
    let command = Command::decode(&*entry.data).ok().filter(|_| entry.kind == 0);
    match command.and_then(|command| command.op) {
        Some(Op::LeaseGrant(LeaseGrantRequest { id, ttl })) => {
            // One that is there already is left as it is.
            let until = UnixNanos(now.0 + ttl * SECOND);
            let (granted, notes) = (entry.index.0, BTreeMap::new());
            history.leases.entry(id).or_insert(Promise { granted, ttl, until, notes });
            Ok(0)
        }
        Some(Op::LeaseRevoke(LeaseRevoke { id, expired, granted })) => {
            let is_meant = |of: u64| granted == 0 || granted == of;
            let Some(promise) = history.leases.get(&id).filter(|one| is_meant(one.granted)) else {
                return Ok(0);
            };
            let until = promise.until;
            history.leases.remove(&id);
            if expired && until > now {
                let text = format!("{id} ended at {now:?}, promised until {until:?}");
                return Err(Violation::new(NAME, text));
            }
            Ok(0)
        }
        Some(Op::LeaseCheckpoint(checkpoint)) => {
            for note in &checkpoint.notes {
                noted(history, entry.index, note)?;
            }
            Ok(checkpoint.notes.len() as u64)
        }
        _ => Ok(0),
    }
}

/// A note is of less than was granted, and of no less than is promised.
fn noted(history: &mut History, index: Index, note: &LeaseNote) -> Result<(), Violation> {
    let now = history.now;
    let promise = history.leases.get_mut(&note.id).filter(|one| one.granted == note.granted);
    let Some(promise) = promise else { return Ok(()) };
    let is_enough = now.0 + note.remaining * SECOND >= promise.until.0;
    if !(1..promise.ttl).contains(&note.remaining) || !is_enough {
        return Err(Violation::new(NAME, format!("{note:?} at {now:?} of {promise:?}")));
    }
    promise.notes.insert(index.0, note.remaining);
    Ok(())
}

/// A member that has applied so much keeps the leases' time from now on: each has left what was last noted
/// down of it, or else all, and a grace. How many with a note.
pub(crate) fn resumed(
    history: &History,
    leases: &Leases,
    applied: Index,
    now: Duration,
) -> Result<u64, Violation> {
    let mut with_notes = 0;
    for (id, lease) in leases.all() {
        // Others may have applied what became of it later.
        let promise = history.leases.get(&id).filter(|one| one.granted == lease.granted);
        let left = leases.time_to_live(id, now).and_then(|lives| lives.left);
        let (Some(promise), Some(left)) = (promise, left) else { continue };
        let note = promise.notes.range(..=applied.0).next_back().map(|(_, remaining)| *remaining);
        with_notes += u64::from(note.is_some());
        let seconds = note.unwrap_or(promise.ttl).min(promise.ttl).unsigned_abs();
        let expected = Duration::from_secs(seconds) + LEASE_GRACE;
        if left != expected {
            let text = format!("{id} has {left:?} left with a new leader, of {promise:?}");
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(with_notes)
}

/// Whatever is over has gone, here too.
pub(crate) fn nothing_is_left(applier: &Applier) -> Result<(), Violation> {
    let leases = applier.state().reader().leases().all();
    if leases.is_empty() {
        return Ok(());
    }
    Err(Violation::new(NAME, format!("{leases:?} are left")))
}
