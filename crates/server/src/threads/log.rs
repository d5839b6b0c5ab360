//! The log: what is to be written gathers, and is synced at once.

use std::{mem, time::Duration};

use member::Append;
use parking_lot::Mutex;

use crate::{failure::Failure, shared::Shared};

/// A sync that takes longer is worth a line in the log (etcd: 1 s).
const SLOW: Duration = Duration::from_secs(1);

/// Batches on their way to the log. One thread writes at a time; what comes meanwhile gathers.
#[derive(Debug, Default)]
pub(crate) struct LogQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    batches: Vec<Append>,
    is_being_written: bool,
}

impl LogQueue {
    /// To be written by whoever looks next, this thread among them.
    pub(crate) fn push(&self, append: Append) {
        self.state.lock().batches.push(append);
    }

    /// All that waits, if there is something and nobody else writes: the caller does now, until
    /// [`end`](Self::end), and looks again behind that.
    pub(crate) fn begin(&self) -> Option<Vec<Append>> {
        let mut state = self.state.lock();
        if state.is_being_written || state.batches.is_empty() {
            return None;
        }
        state.is_being_written = true;
        Some(mem::take(&mut state.batches))
    }

    pub(crate) fn end(&self) {
        self.state.lock().is_being_written = false;
    }
}

/// Writes batches and syncs them, and counts what that took.
pub(crate) fn write(shared: &Shared, batches: &[Append]) -> Result<(), Failure> {
    let asked = shared.now();
    let wal = &mut *shared.wal.lock();
    let mut began = shared.now();
    for batch in batches {
        wal.append(batch.hard_state, &batch.entries)?;
        let now = shared.now();
        shared.counters.wal_write.record(now.saturating_sub(mem::replace(&mut began, now)));
    }
    wal.sync()?;
    let synced = shared.now();
    let took = synced.saturating_sub(began);
    shared.counters.wal_fsync.record(took);
    let in_all = synced.saturating_sub(asked);
    if took > SLOW {
        tracing::warn!(?took, expected_duration = ?SLOW, "slow fdatasync");
    } else if in_all > SLOW {
        // A write that the kernel holds up, or the log that is being cut meanwhile.
        tracing::warn!(took = ?in_all, expected_duration = ?SLOW, "slow write of the log");
    }
    shared.note_wal_bytes(wal);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use base::{ClusterId, Disk, MemberId, disk::MemDisk, limits};
    use member::{Bootstrap, Opened, Options, Paths, Proposal};

    use super::*;
    use crate::tests::{mem, mem_config, runtime, start_on};

    /// Three batches of a core whose log nobody writes.
    fn batches() -> Vec<Append> {
        let disk = MemDisk::new(1);
        disk.create_dir_all(Path::new("/m")).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let identity = wal::Identity { cluster: ClusterId(1), member: MemberId(1) };
        let member = proto::command::Member { id: 1, ..Default::default() };
        let bootstrap = Bootstrap { identity, members: vec![member] };
        let paths = Paths { wal: "/m/wal".into(), keyspace: "/m/keyspace".into() };
        let options = Options {
            wal: wal::Options::default(),
            backend: backend::Options { cache_bytes: 1 << 20 },
            core: member::Config {
                build: base::version::THIS,
                name: String::new(),
                client_urls: Vec::new(),
                election_ticks: 10,
                heartbeat_ticks: 1,
                answer_ticks: 70,
                run: 1,
                quota_bytes: limits::QUOTA_BYTES_DEFAULT,
                compacts: true,
                lease_grace: Duration::from_secs(1),
                lease_checkpoints: limits::LEASE_CHECKPOINT_INTERVAL,
                catch_up_entries: 5_000,
                catch_up_bytes: limits::CATCH_UP_BYTES_MAX,
            },
            force_new_cluster: false,
            peer_urls: Vec::new(),
        };
        let opened = member::open(&disk, &paths, &options, &|| Ok(bootstrap.clone())).unwrap();
        let Opened { mut core, mut applier, .. } = opened;
        let founding = core.step().unwrap().apply;
        core.applied(applier.apply(&founding).unwrap().progress).unwrap();
        let mut batches = Vec::new();
        for id in 1..=3 {
            batches.extend(core.step().unwrap().append);
            core.propose(vec![Proposal { id, data: vec![1].into() }]);
        }
        batches
    }

    #[test]
    fn what_has_gathered_is_taken_at_once_and_synced_once_by_one_thread_at_a_time() {
        let (_, disk) = mem();
        let handle = start_on(&disk, mem_config()).unwrap();
        runtime().block_on(handle.stop());
        let shared = &handle.shared;
        let syncs = shared.counters.wal_fsync.count();

        let queue = LogQueue::default();
        assert!(queue.begin().is_none());
        let mut batches = batches().into_iter();
        for batch in batches.by_ref().take(2) {
            queue.push(batch);
        }
        let taken = queue.begin().unwrap();
        batches.for_each(|batch| queue.push(batch));
        assert!(queue.begin().is_none(), "somebody else writes");
        write(shared, &taken).unwrap();
        queue.end();

        assert_eq!(shared.counters.wal_fsync.count(), syncs + 1);
        assert_eq!((taken.len(), queue.begin().unwrap().len()), (2, 1));
    }
}
