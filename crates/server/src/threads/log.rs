//! The log writer: appends what has gathered and syncs once for all of it.

use std::{mem, sync::Arc};

use member::Append;
use parking_lot::{Condvar, Mutex};
use wal::Wal;

use crate::{failure::Failure, shared::Shared};

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

    /// All that waits; empty when it is time to stop.
    fn take(&self) -> Vec<Append> {
        let mut state = self.state.lock();
        while state.batches.is_empty() && !state.stopping {
            self.wake.wait(&mut state);
        }
        mem::take(&mut state.batches)
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
    loop {
        let batches = queue.take();
        let Some(last) = batches.last() else { return Ok(()) };
        write(shared, &mut shared.wal.lock(), &batches)?;
        shared.inbox.persisted(last.ticket);
    }
}
