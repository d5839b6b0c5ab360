//! The flusher: makes the keyspace durable, and cuts the log behind it.

use std::{sync::Arc, time::Duration};

use base::limits;
use member::upkeep::{Cutter, ENTRIES_KEPT, flush_due};
use parking_lot::{Condvar, Mutex};

use crate::{failure::Failure, shared::Shared};

/// By this the apply thread and the flusher speak to one another.
#[derive(Debug, Default)]
pub(crate) struct FlushSignal {
    state: Mutex<State>,
    /// To the flusher.
    wake: Condvar,
    /// From the flusher: the tail has shrunk.
    shrunk: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// When the oldest change came that is not being flushed.
    since: Option<Duration>,
    large: bool,
    stopping: bool,
}

impl FlushSignal {
    /// The tail holds changes. Called after every batch.
    pub(crate) fn changed(&self, shared: &Shared) {
        let large = shared.backend.tail_bytes() >= limits::TAIL_FLUSH_BYTES;
        let mut state = self.state.lock();
        let news = state.since.is_none() || (large && !state.large);
        if !news {
            return;
        }
        state.since.get_or_insert_with(|| shared.now());
        state.large = large;
        self.wake.notify_one();
    }

    /// Waits until the tail has room.
    pub(crate) fn wait_for_room(&self, shared: &Shared) {
        let mut state = self.state.lock();
        while shared.backend.tail_bytes() >= limits::TAIL_BYTES_MAX && !shared.has_failed() {
            // Also looks now and then by itself, in case the flusher has failed meanwhile.
            self.shrunk.wait_for(&mut state, Duration::from_millis(100));
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_one();
    }

    /// Waits until it is time to flush; true when it is time to stop.
    fn wait(&self, shared: &Shared) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return true;
            }
            let Some(since) = state.since else {
                self.wake.wait(&mut state);
                continue;
            };
            if shared.backend.tail_bytes() == 0 {
                // A former flush took it along.
                state.since = None;
                continue;
            }
            let waited = shared.now().saturating_sub(since);
            if flush_due(shared.backend.tail_bytes(), waited) {
                state.since = None;
                state.large = false;
                return false;
            }
            self.wake.wait_for(&mut state, limits::FLUSH_INTERVAL.saturating_sub(waited));
        }
    }
}

pub(crate) fn run(shared: &Arc<Shared>) -> Result<(), Failure> {
    let durable = shared.backend.durable().index;
    let mut cutter = Cutter::new(shared.config.snapshot_count, ENTRIES_KEPT, durable);
    loop {
        let stopping = shared.flush.wait(shared);
        if shared.has_failed() {
            return Ok(());
        }
        flush(shared, &mut cutter)?;
        if shared.backend.tail_bytes() > 0 {
            shared.flush.changed(shared);
        } else if stopping {
            return Ok(());
        }
    }
}

fn flush(shared: &Shared, cutter: &mut Cutter) -> Result<(), Failure> {
    if shared.backend.tail_bytes() == 0 {
        return Ok(());
    }
    let began = shared.now();
    let durable = shared.backend.flush()?;
    shared.counters.backend_commit.record(shared.now().saturating_sub(began));
    shared.flush.shrunk.notify_all();
    if let Some(index) = cutter.due(durable.index) {
        let mut wal = shared.wal.lock();
        wal.cut(index)?;
        shared.note_wal_bytes(&wal);
        tracing::info!(up_to = index.0, durable = durable.index.0, "cut the raft log");
    }
    Ok(())
}
