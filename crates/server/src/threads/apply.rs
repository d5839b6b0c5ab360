//! The apply thread: applies committed batches, answers, tells the watchers; and compacts when
//! there is time.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use base::limits;
use member::{Answer, Applier, Progress};
use parking_lot::{Condvar, Mutex};
use proto::{Message as _, command::Command};
use wal::Entry;

use crate::{applies::Stopwatch, failure::Failure, shared::Shared};

/// Entries that are applied before their askers are answered: so that the first of a long backlog
/// do not wait for the last.
const SLICE: usize = 256;
/// Entries up to which the raft thread applies by itself rather than wake the apply thread; and how
/// long, looking after each slice. What takes long by itself it leaves to the apply thread: it must
/// tell those whose time is over, and be heard by the other members.
const INLINE_ENTRIES_MAX: usize = 64;
const INLINE_SLICE: usize = 8;
const INLINE_TIME_MAX: Duration = Duration::from_millis(1);
/// Rows that one step of compaction removes while nothing waits to be applied.
const COMPACT_ROWS_IDLE: usize = 256;
/// And after a batch, for each of its entries: every write condemns one row at most, so that
/// compaction keeps up even if the apply thread is never idle.
const COMPACT_ROWS_PER_ENTRY: usize = 2;
/// Between two looks whether readers still hold compaction back; they can do so for a thousand.
const COMPACT_HELD_PAUSE: Duration = Duration::from_millis(50);

/// Committed entries on their way to the keyspace.
#[derive(Debug, Default)]
pub(crate) struct ApplyQueue {
    state: Mutex<State>,
    wake: Condvar,
    /// Of the batches that wait, and the one that is being applied.
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Vec<Entry>>,
    /// The apply thread has compaction to do.
    compacting: bool,
    /// Readers hold compaction back: then it is tried again.
    held_until: Option<Duration>,
    stopping: bool,
}

/// What the apply thread does next.
enum Next {
    Apply,
    Compact,
    Stop,
}

impl ApplyQueue {
    fn push(&self, entries: Vec<Entry>) {
        self.bytes.fetch_add(bytes(&entries), Relaxed);
        self.state.lock().batches.push_back(entries);
        self.wake.notify_one();
    }

    /// Bytes of the entries that wait to be applied.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Forgets what waits: a snapshot includes it. Returns the ids of the answers that will not be
    /// given. Whoever calls this holds the applier.
    pub(crate) fn clear(&self) -> Vec<u64> {
        let batches = std::mem::take(&mut self.state.lock().batches);
        self.bytes.fetch_sub(batches.iter().map(|entries| bytes(entries)).sum(), Relaxed);
        batches.iter().flatten().map(Answer::id_to).collect()
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.wake.notify_one();
    }

    fn next(&self, shared: &Shared) -> Next {
        let mut state = self.state.lock();
        loop {
            if !state.batches.is_empty() {
                return Next::Apply;
            }
            if state.stopping {
                return Next::Stop;
            }
            if state.compacting {
                return Next::Compact;
            }
            let Some(held_until) = state.held_until else {
                self.wake.wait(&mut state);
                continue;
            };
            let left = held_until.saturating_sub(shared.now());
            if left.is_zero() {
                state.held_until = None;
                return Next::Compact;
            }
            self.wake.wait_for(&mut state, left);
        }
    }

    fn pop(&self) -> Option<Vec<Entry>> {
        self.state.lock().batches.pop_front()
    }

    fn compact(&self) {
        let mut state = self.state.lock();
        if state.held_until.is_none() && !std::mem::replace(&mut state.compacting, true) {
            self.wake.notify_one();
        }
    }
}

/// The keyspace's writer, for whoever applies: the apply thread, or the raft thread when nothing
/// else waits.
///
/// Invariant: a batch is taken off the queue only by the holder of the lock, so batches are applied
/// in order.
pub(crate) type SharedApplier = Arc<Mutex<Applier>>;

/// The raft thread's end: applies here and now if `quiet`, as far as that takes little time, and hands
/// the rest over to the apply thread. Returns whether it has applied anything.
pub(crate) fn hand_over(
    shared: &Shared,
    applier: &SharedApplier,
    entries: Vec<Entry>,
    quiet: bool,
) -> Result<bool, Failure> {
    let room = shared.backend.tail_bytes() < limits::TAIL_BYTES_MAX / 2;
    let is_brief = |entry: &Entry| is_brief(shared, entry);
    if quiet && room && entries.len() <= INLINE_ENTRIES_MAX && entries.iter().all(is_brief) {
        let queue = shared.apply.state.lock();
        if queue.batches.is_empty()
            && let Some(mut applier) = applier.try_lock()
        {
            drop(queue);
            return apply_here(shared, &mut applier, entries).map(|()| true);
        }
    }
    shared.apply.push(entries);
    Ok(false)
}

/// Whether an entry is applied in a moment; one can delete a hundred thousand keys.
fn is_brief(shared: &Shared, entry: &Entry) -> bool {
    if entry.data.is_empty() || Command::is_put(&entry.data) {
        return true;
    }
    // Changes of the members are no commands, and brief.
    let command = Command::decode(entry.data.as_ref()).ok();
    command.and_then(|command| command.op).is_none_or(|op| shared.reader.is_brief(&op))
}

/// Under the lock until the rest is handed over: what the apply thread does comes after this, and raft
/// must hear of it after this.
fn apply_here(
    shared: &Shared,
    applier: &mut Applier,
    mut entries: Vec<Entry>,
) -> Result<(), Failure> {
    let began = shared.now();
    let mut applied = 0;
    for slice in entries.chunks(INLINE_SLICE) {
        let progress = apply(shared, applier, slice)?;
        // This thread looks by itself.
        shared.inbox.progress(progress, false);
        applied += slice.len();
        if shared.now().saturating_sub(began) > INLINE_TIME_MAX {
            break;
        }
    }
    entries.drain(..applied);
    if !entries.is_empty() {
        shared.apply.push(entries);
    }
    Ok(())
}

pub(crate) fn run(shared: &Arc<Shared>, applier: &SharedApplier) -> Result<(), Failure> {
    // What a former run has left undone.
    shared.apply.compact();
    loop {
        let next = shared.apply.next(shared);
        if shared.has_failed() {
            return Ok(());
        }
        match next {
            Next::Stop => return Ok(()),
            Next::Compact => compact(shared, applier, COMPACT_ROWS_IDLE)?,
            Next::Apply => {
                let entries = apply_next(shared, applier)?;
                if shared.apply.state.lock().compacting {
                    compact(shared, applier, entries * COMPACT_ROWS_PER_ENTRY)?;
                }
            }
        }
    }
}

/// Applies the next batch; returns how many entries it had.
fn apply_next(shared: &Shared, applier: &SharedApplier) -> Result<usize, Failure> {
    shared.flush.wait_for_room(shared);
    let mut applier = applier.lock();
    let Some(entries) = shared.apply.pop() else { return Ok(0) };
    for slice in entries.chunks(SLICE) {
        let progress = apply(shared, &mut applier, slice)?;
        let urgent = is_urgent(shared, &progress);
        shared.inbox.progress(progress, urgent);
    }
    shared.apply.bytes.fetch_sub(bytes(&entries), Relaxed);
    Ok(entries.len())
}

/// About what entries take in memory.
fn bytes(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| size_of::<Entry>() + entry.data.len()).sum()
}

/// Applies, answers, then tells the watchers.
fn apply(shared: &Shared, applier: &mut Applier, entries: &[Entry]) -> Result<Progress, Failure> {
    let mut stopwatch = Stopwatch::start(shared);
    let batch =
        applier.apply_seen(entries, |entry, response| stopwatch.applied(entry, response))?;
    if shared.has_failed() {
        return Err(Failure("the member has failed".to_owned()));
    }
    let applied = batch.progress.applied.index;
    shared.set_applied(applied);
    shared.counters.proposals_applied.fetch_add(batch.answers.len() as u64, Relaxed);
    shared.counters.writes.count(&batch.commits);
    // Before anybody is told what this member has.
    shared.look_for_fence();
    // Before anybody knows of new ones.
    shared.reader.leases().look(shared.now());
    shared.reader.tokens().look(shared.now());
    shared.waiters.answer(batch.answers);
    shared.barriers.applied(applied);
    shared.reader.store().publish(&batch.commits);
    shared.flush.changed(shared);
    if shared.reader.store().is_compacting() {
        shared.apply.compact();
    }
    Ok(batch.progress)
}

/// Whether the raft thread waits for this, or would sleep past an expiry that is new.
fn is_urgent(shared: &Shared, progress: &Progress) -> bool {
    let standing = &shared.standing;
    let planned = standing.expiry_planned.load(Relaxed);
    progress.is_urgent()
        || progress.applied.index.0 >= standing.awaited.load(Relaxed)
        || shared.reader.next_expiry().is_some_and(|expiry| expiry.0 < planned)
}

fn compact(shared: &Shared, applier: &SharedApplier, rows: usize) -> Result<(), Failure> {
    {
        let mut applier = applier.lock();
        let more = compact_step(shared, &mut applier, rows)?;
        // Under the applier's lock: whoever applies the next compaction says so after this.
        let is_held = !more && shared.reader.store().is_compacting();
        let mut state = shared.apply.state.lock();
        state.compacting = more;
        state.held_until = is_held.then(|| shared.now() + COMPACT_HELD_PAUSE);
    }
    if shared.backend.tail_bytes() > 0 {
        shared.flush.changed(shared);
    }
    shared.flush.wait_for_room(shared);
    Ok(())
}

fn compact_step(shared: &Shared, applier: &mut Applier, rows: usize) -> Result<bool, Failure> {
    let counters = &shared.counters.compaction;
    let store = shared.reader.store();
    let (was_compacting, swept, began) = (store.is_compacting(), store.swept_rows(), shared.now());
    let more = applier.compact_step(rows)?;
    let now = shared.now();
    counters.rows.fetch_add(store.swept_rows().saturating_sub(swept), Relaxed);
    if more {
        counters.pauses.record(now.saturating_sub(began));
    }
    if was_compacting {
        counters.step(began, (!store.is_compacting()).then(|| (now, shared.clock.wall())));
    }
    Ok(more)
}

#[cfg(test)]
mod tests {
    use base::{Index, Term};
    use bytes::Bytes;
    use proto::command::{KeysWrite, Op};

    use super::*;

    #[test]
    fn what_a_snapshot_takes_the_place_of_is_known_to_be_unanswered() {
        let queue = ApplyQueue::default();
        let entry = |index, data| Entry {
            index: Index(index),
            term: Term(1),
            kind: 0,
            data,
            context: Bytes::new(),
        };
        let command = |id| Command::new(id, Op::Keys(KeysWrite::default())).encode_to_vec().into();
        queue.push(vec![entry(1, Bytes::new()), entry(2, command(7))]);
        queue.push(vec![entry(3, command(9))]);
        assert_eq!(queue.clear(), [0, 7, 9], "0 is nobody's");
        assert_eq!(queue.bytes(), 0);
        assert!(queue.pop().is_none());
    }
}
