//! A lease does not end before its time, and does not stay long after it.

use std::collections::BTreeMap;

use base::UnixNanos;
use member::Applier;
use proto::{
    Message as _,
    command::{Command, LeaseRevoke, Op},
    etcdserverpb::LeaseGrantRequest,
};
use wal::Entry;

use crate::{Violation, history::History};

const NAME: &str = "leases";
const SECOND: i64 = 1_000_000_000;

/// Until when leases are promised to their keepers, by id; and which entries granted them.
pub(crate) type Promised = BTreeMap<i64, (u64, UnixNanos)>;

/// An entry is applied for the first time.
pub(crate) fn apply(history: &mut History, entry: &Entry) -> Result<(), Violation> {
    let now = history.now;
    let command = Command::decode(&*entry.data).ok().filter(|_| entry.kind == 0);
    match command.and_then(|command| command.op) {
        Some(Op::LeaseGrant(LeaseGrantRequest { id, ttl })) => {
            // One that is there already is left as it is.
            let until = UnixNanos(now.0 + ttl * SECOND);
            history.leases.entry(id).or_insert((entry.index.0, until));
        }
        Some(Op::LeaseRevoke(LeaseRevoke { id, expired, granted })) => {
            let is_meant = |of: u64| granted == 0 || granted == of;
            let Some((_, until)) = history.leases.get(&id).filter(|(of, _)| is_meant(*of)) else {
                return Ok(());
            };
            let until = *until;
            history.leases.remove(&id);
            if expired && until > now {
                let text = format!("{id} ended at {now:?}, promised until {until:?}");
                return Err(Violation::new(NAME, text));
            }
        }
        Some(Op::LeaseCheckpoint(checkpoint)) => {
            // So short a lease needs no note.
            return Err(Violation::new(NAME, format!("{checkpoint:?}")));
        }
        _ => {}
    }
    Ok(())
}

/// Whatever is over has gone, here too.
pub(crate) fn nothing_is_left(applier: &Applier) -> Result<(), Violation> {
    let leases = applier.state().reader().leases().all();
    if leases.is_empty() {
        return Ok(());
    }
    Err(Violation::new(NAME, format!("{leases:?} are left")))
}
