//! The log writer: appends what has gathered and syncs once for all of it.

use std::{mem, sync::Arc, time::Duration};

use member::Append;
use parking_lot::{Condvar, Mutex};
use wal::Wal;

use crate::{failure::Failure, shared::Shared};

/// How often this thread looks for requests whose time is over. The raft thread does so more
/// often, unless a disk that hangs holds it up; then this thread is free.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Batches on their way to the log.
#[derive(Debug, Default)]
pub(crate) struct LogQueue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: Vec<Append>,
    stopping: bool,
}

impl LogQueue {
    pub(crate) fn push(&self, append: Append) {
        self.state.lock().batches.push(append);
        self.wake.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_one();
    }

    /// All that waits, after a while perhaps nothing; `None` when it is time to stop.
    fn take(&self) -> Option<Vec<Append>> {
        let mut state = self.state.lock();
        if state.batches.is_empty() && !state.stopping {
            self.wake.wait_for(&mut state, LOOK_EVERY);
        }
        let batches = mem::take(&mut state.batches);
        (!batches.is_empty() || !state.stopping).then_some(batches)
    }
}

/// Writes batches and syncs them, and counts what that took.
pub(crate) fn write(shared: &Shared, wal: &mut Wal, batches: &[Append]) -> Result<(), Failure> {
    for batch in batches {
        wal.append(batch.hard_state, &batch.entries)?;
    }
    let began = shared.now();
    wal.sync()?;
    shared.counters.wal_fsync.record(shared.now().saturating_sub(began));
    shared.note_wal_bytes(wal);
    Ok(())
}

pub(crate) fn run(shared: &Arc<Shared>, queue: &LogQueue) -> Result<(), Failure> {
    while let Some(batches) = queue.take() {
        match batches.last() {
            Some(last) => {
                write(shared, &mut shared.wal.lock(), &batches)?;
                shared.inbox.persisted(last.ticket);
            }
            None => shared.refuse_late(shared.now()),
        }
    }
    Ok(())
}
