//! The flusher: makes the keyspace durable, and cuts the log behind it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use base::{
    Index, limits,
    version::{self, Minor},
};
use member::upkeep::{self, Cutter, ENTRIES_KEPT, flush_due};
use parking_lot::{Condvar, Mutex};
use wal::Wal;

use crate::{failure::Failure, shared::Shared};

/// A flush that takes longer is told: writes wait once what gathers behind it is too much.
const EXPECTED: Duration = Duration::from_secs(5);

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
    /// The flusher has been told that the tail is large.
    large: bool,
    stopping: bool,
}

impl State {
    /// The tail has changed. Returns whether the flusher must know.
    fn is_news(&mut self, large: bool, now: impl FnOnce() -> Duration) -> bool {
        let is_news = self.since.is_none() || (large && !self.large);
        if is_news {
            self.since.get_or_insert_with(now);
            self.large = large;
        }
        is_news
    }

    /// The flusher goes to sleep. The tail may have been large while an earlier part of it was
    /// still being written; when it is so again, the flusher must know again.
    fn sleeps(&mut self) {
        self.large = false;
    }
}

impl FlushSignal {
    /// The tail holds changes. Called after every batch.
    pub(crate) fn changed(&self, shared: &Shared) {
        let tail_bytes = shared.backend.tail_bytes();
        if !is_anything_to_flush(shared) {
            return;
        }
        let large = tail_bytes >= limits::TAIL_FLUSH_BYTES;
        if self.state.lock().is_news(large, || shared.now()) {
            self.wake.notify_one();
        }
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
            if !is_anything_to_flush(shared) {
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
            state.sleeps();
            self.wake.wait_for(&mut state, limits::FLUSH_INTERVAL.saturating_sub(waited));
        }
    }
}

fn is_anything_to_flush(shared: &Shared) -> bool {
    let (applied, durable) = (shared.backend.applied().index, shared.backend.durable().index);
    let every = shared.config.snapshot_count;
    upkeep::is_anything_to_flush(shared.backend.tail_bytes(), applied, durable, every)
}

pub(crate) fn run(shared: &Arc<Shared>) -> Result<(), Failure> {
    let first = shared.wal.lock().first();
    let mut cutter = Cutter::new(shared.config.snapshot_count, ENTRIES_KEPT, first);
    let mut copies = Copies::default();
    loop {
        let stopping = shared.flush.wait(shared);
        if shared.has_failed() {
            return Ok(());
        }
        flush(shared, &mut cutter, &mut copies)?;
        if is_anything_to_flush(shared) {
            shared.flush.changed(shared);
        } else if stopping {
            return Ok(());
        }
    }
}

/// Whoever copies the data while the member runs (a backup).
#[derive(Debug, Default)]
struct Copies {
    since: Option<Duration>,
    given_up: bool,
}

impl Copies {
    /// Whether care is to be taken of one now.
    fn heed(&mut self, shared: &Shared) -> bool {
        if !shared.backend.heed_copies() {
            *self = Self::default();
            return false;
        }
        if self.since.is_none() {
            tracing::info!("somebody copies the data (a backup): the log is not cut until then");
        }
        let since = *self.since.get_or_insert_with(|| shared.now());
        let copying = shared.now().saturating_sub(since);
        if upkeep::may_be_copied(copying, shared.counters.wal_bytes.load(Relaxed)) {
            return true;
        }
        shared.backend.ignore_copies();
        if !std::mem::replace(&mut self.given_up, true) {
            tracing::warn!(?copying, "whoever copies the data takes too long, and is ignored now");
        }
        false
    }
}

fn flush(shared: &Shared, cutter: &mut Cutter, copies: &mut Copies) -> Result<(), Failure> {
    if !is_anything_to_flush(shared) {
        return Ok(());
    }
    let is_copied = copies.heed(shared);
    let began = shared.now();
    let storage = shared.storage_version();
    let tail_bytes = shared.backend.tail_bytes();
    let durable = shared.backend.flush()?;
    tell_of_downgrade(shared, storage);
    let took = shared.now().saturating_sub(began);
    shared.counters.backend_commit.record(took);
    if took > EXPECTED {
        let waiting = shared.backend.tail_bytes();
        tracing::warn!(
            ?took,
            "expected-duration" = ?EXPECTED,
            "flushed-bytes" = tail_bytes,
            "waiting-bytes" = waiting,
            "slow keyspace flush"
        );
    }
    shared.flush.shrunk.notify_all();
    if is_copied {
        return Ok(());
    }
    if let Some(index) = cutter.due(durable.index, shared.counters.wal_bytes.load(Relaxed)) {
        cut(&shared.wal, index, |wal| shared.note_wal_bytes(wal))?;
        tracing::info!(up_to = index.0, durable = durable.index.0, "cut the raft log");
    }
    Ok(())
}

/// Cuts the log. It can be written to while the segments are removed, which may take long.
fn cut(wal: &Mutex<Wal>, index: Index, cut_off: impl FnOnce(&Wal)) -> Result<(), wal::Error> {
    let gone = {
        let mut wal = wal.lock();
        let gone = wal.cut_off(index)?;
        cut_off(&wal);
        gone
    };
    gone.remove()
}

/// Says when an older build can open what is on disk. `before`: the version that it was of.
fn tell_of_downgrade(shared: &Shared, before: Option<Minor>) {
    let target = shared.reader.versions().downgrade;
    if let Some(target) = target.filter(|_| before != target)
        && shared.storage_version() == Some(target)
    {
        let server = version::SERVER;
        tracing::info!(
            "The server is ready to downgrade: this build is {server}, one of {target} can take \
             its place"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        path::Path,
        sync::mpsc::{self, Receiver, SyncSender},
    };

    use base::{ClusterId, Disk, File, MemberId, Open, Term, disk::MemDisk};
    use wal::Entry;

    use super::*;

    /// A disk on which removing a file waits.
    #[derive(Debug)]
    struct Slow {
        disk: MemDisk,
        begun: SyncSender<()>,
        goes_on: Mutex<Receiver<()>>,
    }

    impl Disk for Slow {
        fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
            self.disk.create_dir_all(dir)
        }

        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            self.disk.list(dir)
        }

        fn exists(&self, path: &Path) -> io::Result<bool> {
            self.disk.exists(path)
        }

        fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
            self.disk.open(path, how)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.disk.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.begun.send(()).unwrap();
            self.goes_on.lock().recv().unwrap();
            self.disk.remove(path)
        }

        fn remove_dir(&self, dir: &Path) -> io::Result<()> {
            self.disk.remove_dir(dir)
        }

        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            self.disk.sync_dir(dir)
        }

        fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
            self.disk.free_bytes(dir)
        }

        fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
            self.disk.lock(path)
        }

        fn share(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
            self.disk.share(path)
        }
    }

    #[test]
    fn the_log_is_written_to_while_what_is_cut_off_is_removed() {
        let (disk, dir) = (MemDisk::new(1), Path::new("/wal"));
        let ((begun, has_begun), (go_on, goes_on)) = (mpsc::sync_channel(1), mpsc::sync_channel(2));
        let slow = Slow { disk: disk.clone(), begun, goes_on: Mutex::new(goes_on) };
        let identity = wal::Identity { cluster: ClusterId(1), member: MemberId(1) };
        let options = wal::Options { segment_bytes: 2048 };
        let wal = Mutex::new(Wal::create(Arc::new(slow), dir, identity, options).unwrap());
        let append = |wal: &mut Wal, index| {
            let (data, context) = (vec![b'x'; 1000].into(), Vec::new().into());
            let entry = Entry { index: Index(index), term: Term(1), kind: 0, data, context };
            wal.append(None, &[entry]).unwrap();
            wal.sync().unwrap();
        };
        (1..=5).for_each(|index| append(&mut wal.lock(), index));
        assert_eq!(disk.list(dir).unwrap().len(), 5);
        let was_free = std::thread::scope(|scope| {
            scope.spawn(|| cut(&wal, Index(2), |wal| assert_eq!(wal.first(), Index(2))).unwrap());
            [6, 7].map(|index| {
                has_begun.recv().unwrap();
                let held = wal.try_lock_for(Duration::from_secs(5));
                let is_free = held.map(|mut wal| append(&mut wal, index)).is_some();
                go_on.send(()).unwrap();
                is_free
            })
        });
        assert_eq!(was_free, [true; 2], "the log is free while a segment is removed");
        assert_eq!(disk.list(dir).unwrap().len(), 5);
    }

    #[test]
    fn a_sleeping_flusher_hears_of_each_time_that_the_tail_becomes_large() {
        let mut state = State::default();
        let mut is_news = |large| state.is_news(large, || Duration::from_secs(1));
        assert!(is_news(false), "the first change");
        assert!(!is_news(false));
        assert!(is_news(true));
        assert!(!is_news(true), "it knows");
        state.sleeps();
        assert!(state.is_news(true, Duration::default), "it has slept since");
        assert_eq!(state.since, Some(Duration::from_secs(1)), "the oldest change counts");
    }
}
