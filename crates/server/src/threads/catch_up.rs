//! Writes what members lack that lag into files, beside the raft thread: a slow disk delays no
//! heartbeat, and no vote.
//!
//! It reads them itself: that is bounded for each tick, and most of it is still in memory. What has not
//! come to the disk yet is read here.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use bytes::Bytes;
use member::Files;
use parking_lot::{Condvar, Mutex};

use crate::shared::Shared;

/// What is on its way to the disk. Only what the log has on the same disk already comes here, and so
/// no faster than the disk takes it; one that falls behind by so much is too slow to be of use.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Files that are written to by a thread of their own, in order.
#[derive(Debug)]
pub(crate) struct CatchUp {
    files: Arc<dyn Files>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    work: VecDeque<Work>,
    /// By file and place, what is to be written there, or is being written.
    waiting: BTreeMap<(u64, u64), Bytes>,
    bytes: usize,
    /// Told by the next call.
    failure: Option<io::Error>,
    stopping: bool,
}

#[derive(Clone, Debug)]
enum Work {
    Write { file: u64, at: u64, data: Bytes },
    Remove(u64),
}

impl CatchUp {
    pub(crate) fn new(files: Arc<dyn Files>) -> Self {
        Self { files, state: Mutex::default(), wake: Condvar::new() }
    }

    /// What has not been carried out is left: nothing of it outlives the run.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        state.work.clear();
        drop(state);
        self.wake.notify_one();
    }

    /// The next thing to do; `None` when it is time to stop.
    fn take(&self) -> Option<Work> {
        let mut state = self.state.lock();
        while state.work.is_empty() && !state.stopping {
            self.wake.wait(&mut state);
        }
        state.work.pop_front()
    }

    fn carry_out(&self, work: Work) {
        let done = match &work {
            Work::Write { file, at, data } => self.files.write(*file, *at, data.to_vec()),
            Work::Remove(file) => self.files.remove(*file),
        };
        let mut state = self.state.lock();
        if let Work::Write { file, at, data } = work {
            state.bytes -= data.len();
            // Another one may be there by now, of a file that was begun anew.
            let is_it = |waiting: &Bytes| waiting.as_ptr() == data.as_ptr();
            if state.waiting.get(&(file, at)).is_some_and(is_it) {
                state.waiting.remove(&(file, at));
            }
        }
        if let Err(error) = done {
            state.failure.get_or_insert(error);
        }
    }
}

impl Files for CatchUp {
    fn write(&self, file: u64, at: u64, data: Vec<u8>) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        if state.bytes + data.len() > WAITING_BYTES_MAX {
            return Err(io::Error::other("the disk is too slow for it"));
        }
        let data = Bytes::from(data);
        state.bytes += data.len();
        state.waiting.insert((file, at), data.clone());
        state.work.push_back(Work::Write { file, at, data });
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn read(&self, file: u64, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let waiting = self.state.lock().waiting.get(&(file, at)).cloned();
        match waiting.as_deref().map(|data| data.get(..buffer.len())) {
            Some(Some(data)) => {
                buffer.copy_from_slice(data);
                Ok(())
            }
            Some(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            None => self.files.read(file, at, buffer),
        }
    }

    fn remove(&self, file: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        // What waits for this file need not be written any more.
        let State { work, waiting, bytes, .. } = &mut *state;
        work.retain(|work| match work {
            Work::Write { file: of, data, .. } if *of == file => {
                *bytes -= data.len();
                false
            }
            Work::Write { .. } | Work::Remove(_) => true,
        });
        waiting.retain(|(of, _), _| *of != file);
        work.push_back(Work::Remove(file));
        drop(state);
        self.wake.notify_one();
        Ok(())
    }
}

pub(crate) fn run(shared: &Shared, files: &CatchUp) {
    while let Some(work) = files.take() {
        if shared.has_failed() {
            break;
        }
        files.carry_out(work);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, SyncSender};

    use super::*;

    /// Files whose disk says when it begins, and waits until it may go on.
    #[derive(Debug)]
    struct Slow {
        begun: SyncSender<()>,
        goes_on: Mutex<Receiver<io::Result<()>>>,
        files: Mutex<BTreeMap<u64, Vec<u8>>>,
    }

    impl Slow {
        fn wait(&self) -> io::Result<()> {
            self.begun.send(()).unwrap();
            self.goes_on.lock().recv().unwrap_or(Ok(()))
        }
    }

    impl Files for Slow {
        fn write(&self, file: u64, at: u64, data: Vec<u8>) -> io::Result<()> {
            self.wait()?;
            let (mut files, at) = (self.files.lock(), usize::try_from(at).unwrap());
            let file = files.entry(file).or_default();
            file.resize(file.len().max(at + data.len()), 0);
            file[at..at + data.len()].copy_from_slice(&data);
            Ok(())
        }

        fn read(&self, file: u64, at: u64, buffer: &mut [u8]) -> io::Result<()> {
            let (files, at) = (self.files.lock(), usize::try_from(at).unwrap());
            let file = files.get(&file).ok_or(io::ErrorKind::NotFound)?;
            buffer.copy_from_slice(&file[at..at + buffer.len()]);
            Ok(())
        }

        fn remove(&self, file: u64) -> io::Result<()> {
            self.wait()?;
            self.files.lock().remove(&file);
            Ok(())
        }
    }

    /// What lets the disk go on, once it has begun with something.
    fn slow() -> (Arc<Slow>, impl FnMut(&CatchUp, io::Result<()>)) {
        let ((begun, has_begun), (go_on, goes_on)) = (mpsc::sync_channel(9), mpsc::sync_channel(9));
        let slow = Slow { begun, goes_on: Mutex::new(goes_on), files: Mutex::default() };
        let step = move |files: &CatchUp, how| {
            go_on.send(how).unwrap();
            let work = files.take().unwrap();
            files.carry_out(work);
            has_begun.recv().unwrap();
        };
        (Arc::new(slow), step)
    }

    fn read(files: &CatchUp, file: u64, at: u64) -> io::Result<String> {
        let mut buffer = [0; 3];
        files.read(file, at, &mut buffer)?;
        Ok(String::from_utf8(buffer.to_vec()).unwrap())
    }

    #[test]
    fn nobody_waits_for_the_disk_who_writes_and_what_is_on_its_way_is_read() {
        let (slow, mut step) = slow();
        let files = CatchUp::new(Arc::clone(&slow) as Arc<dyn Files>);
        files.write(1, 0, b"one".to_vec()).unwrap();
        files.write(1, 3, b"two".to_vec()).unwrap();
        assert_eq!(read(&files, 1, 3).unwrap(), "two");
        assert!(read(&files, 1, 6).is_err() && read(&files, 2, 0).is_err());
        step(&files, Ok(()));
        assert_eq!(slow.files.lock()[&1], b"one");
        assert_eq!(
            (read(&files, 1, 0).unwrap(), read(&files, 1, 3).unwrap()),
            ("one".into(), "two".into())
        );
        // Begun anew, while the old one is still to go.
        files.remove(1).unwrap();
        assert!(!files.state.lock().waiting.contains_key(&(1, 3)));
        files.write(1, 0, b"new".to_vec()).unwrap();
        assert_eq!(read(&files, 1, 0).unwrap(), "new");
        step(&files, Ok(()));
        step(&files, Ok(()));
        assert_eq!((slow.files.lock()[&1].as_slice(), files.state.lock().bytes), (&b"new"[..], 0));
        assert_eq!(read(&files, 1, 0).unwrap(), "new");
    }

    #[test]
    fn what_was_being_written_when_its_file_went_does_not_take_the_place_of_what_comes_next() {
        let (slow, mut step) = slow();
        let files = CatchUp::new(Arc::clone(&slow) as Arc<dyn Files>);
        files.write(1, 0, b"old".to_vec()).unwrap();
        let under_way = files.take().unwrap();
        files.remove(1).unwrap();
        files.write(1, 0, b"new".to_vec()).unwrap();
        files.state.lock().work.push_front(under_way);
        step(&files, Ok(()));
        assert_eq!(read(&files, 1, 0).unwrap(), "new");
        step(&files, Ok(()));
        step(&files, Ok(()));
        assert_eq!(slow.files.lock()[&1], b"new");
    }

    #[test]
    fn a_failure_is_told_by_the_next_write_and_a_disk_that_is_too_slow_is_one() {
        let (slow, mut step) = slow();
        let files = CatchUp::new(slow);
        files.write(1, 0, b"one".to_vec()).unwrap();
        step(&files, Err(io::ErrorKind::StorageFull.into()));
        let failed = files.write(1, 3, b"two".to_vec()).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        files.remove(1).unwrap();
        for at in 0..16 {
            files.write(2, at << 20, vec![0; 1 << 20]).unwrap();
        }
        files.write(2, 16 << 20, vec![0]).unwrap_err();
        files.remove(2).unwrap();
        files.write(2, 0, vec![0]).unwrap();
    }
}
