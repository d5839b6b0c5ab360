//! Random use of the log on a disk that forgets what was not synced, with the power failing
//! anywhere, against a model that knows what may be left.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::expect_used, clippy::print_stderr, reason = "tests")]

use std::{path::Path, sync::Arc};

use base::{ClusterId, Index, MemberId, Term, disk::MemDisk};
use bytes::Bytes;
use wal::{Entry, Error, Gone, HardState, Held, Identity, Looked, Options, Recovered, Wal};

const IDENTITY: Identity = Identity { cluster: ClusterId(1), member: MemberId(2) };

fn dir() -> &'static Path {
    Path::new("/m/wal")
}

/// What a log holds, as if nothing had ever been cut.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    hard_state: HardState,
    /// Entry `n` stands at `n - 1`.
    entries: Vec<Entry>,
}

impl State {
    fn truncate(&mut self, last: u64) {
        self.entries.truncate(usize::try_from(last).unwrap());
    }

    fn put(&mut self, entry: &Entry) {
        self.truncate(entry.index.0 - 1);
        assert_eq!(self.entries.len() as u64 + 1, entry.index.0, "the test appends in order");
        self.entries.push(entry.clone());
    }

    fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    fn term(&self, index: u64) -> u64 {
        let position = usize::try_from(index).unwrap().checked_sub(1);
        position.map_or(0, |position| self.entries[position].term.0)
    }

    /// Whether that is what opening found.
    fn is(&self, found: &Recovered) -> bool {
        let (before, term) = found.before;
        let commit = self.hard_state.commit.min(Index(self.last()));
        before.0 <= self.last()
            && term.0 == self.term(before.0)
            && found.entries == self.entries[usize::try_from(before.0).unwrap()..]
            && found.hard_state == HardState { commit, ..self.hard_state }
    }
}

/// A log in use, and what may be left of it after a loss of power.
struct Run {
    disk: MemDisk,
    options: Options,
    wal: Option<Wal>,
    /// Cut off, and not removed yet.
    gone: Option<Gone>,
    rng: fastrand::Rng,
    now: State,
    /// Every state that the disk may hold: what was synced, and each step since.
    possible: Vec<State>,
    /// What was handed to `cut` so far, at most.
    cut: u64,
    /// What raft has committed: nothing up to here is replaced.
    fixed: u64,
    /// Numbers the entries, so that no two are alike.
    written: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            disk: MemDisk::new(seed),
            options: Options { segment_bytes: [600, 2000, 8000, 100_000][rng.usize(..4)] },
            wal: None,
            gone: None,
            rng,
            now: State::default(),
            possible: vec![State::default()],
            cut: 0,
            fixed: 0,
            written: 0,
        }
    }

    /// Does something at random; an error is the disk's, and the log is closed.
    fn step(&mut self) -> Result<(), Error> {
        let Some(wal) = &mut self.wal else {
            let disk = Arc::new(self.disk.clone());
            self.wal = Some(Wal::create(disk, dir(), IDENTITY, self.options)?);
            return Ok(());
        };
        if let Some(gone) = self.gone.take_if(|_| self.rng.u8(..3) == 0) {
            return gone.remove();
        }
        match self.rng.u8(..10) {
            0..=4 => self.append(),
            5..=7 => {
                wal.sync()?;
                self.synced();
                Ok(())
            }
            8 => {
                // Only what is synced is committed, only what is committed is cut.
                let synced = self.possible.iter().map(State::last).min().unwrap_or(0);
                self.fixed = self.rng.u64(self.fixed..=synced.max(self.fixed));
                self.cut = self.rng.u64(self.cut..=self.fixed);
                if self.rng.bool() {
                    return wal.cut(Index(self.cut));
                }
                self.gone = Some(wal.cut_off(Index(self.cut))?);
                Ok(())
            }
            _ => {
                // The process dies and comes back with the power on: nothing at all is lost.
                self.open()?;
                Ok(())
            }
        }
    }

    fn until_it_fails(&mut self) -> Error {
        loop {
            if let Err(error) = self.step() {
                return error;
            }
        }
    }

    fn append(&mut self) -> Result<(), Error> {
        let hard_state = self.rng.bool().then(|| HardState {
            term: Term(self.now.hard_state.term.0 + self.rng.u64(..2)),
            vote: MemberId(self.rng.u64(..3)),
            commit: Index(self.fixed),
        });
        let mut entries = Vec::new();
        let mut state = self.now.clone();
        for _ in 0..self.rng.usize(..6) {
            let entry = self.entry(&state);
            state.put(&entry);
            entries.push(entry);
        }
        // Before the first entry is there, those that are replaced may be gone already.
        let floor = entries.iter().map(|entry| entry.index.0 - 1).min();
        let mut truncated = self.now.clone();
        truncated.truncate(floor.unwrap_or(u64::MAX).min(self.now.last()));
        self.possible.push(truncated);
        // The hard state comes along with the first entry.
        self.now.hard_state = hard_state.unwrap_or(self.now.hard_state);
        if entries.is_empty() {
            self.possible.push(self.now.clone());
        }
        for entry in &entries {
            self.now.put(entry);
            self.possible.push(self.now.clone());
        }
        self.wal.as_mut().unwrap().append(hard_state, &entries)
    }

    /// The next entry; sometimes one that replaces others, as a new leader's does.
    fn entry(&mut self, state: &State) -> Entry {
        let last = state.last();
        let replaces = self.rng.u8(..12) == 0 && last > self.fixed;
        let index = if replaces { self.rng.u64(self.fixed + 1..=last) } else { last + 1 };
        self.written += 1;
        let term = state.term(last) + u64::from(replaces || self.rng.u8(..8) == 0);
        let mut data = self.written.to_le_bytes().to_vec();
        let length =
            if self.rng.u8(..4) == 0 { self.rng.usize(..3000) } else { self.rng.usize(..60) };
        data.resize(8 + length, self.rng.u8(..));
        Entry {
            index: Index(index),
            term: Term(term),
            kind: self.rng.u8(..3),
            data: data.into(),
            context: Bytes::from(vec![7; self.rng.usize(..3)]),
        }
    }

    fn synced(&mut self) {
        self.possible = vec![self.now.clone()];
    }

    /// Opens after the process has died with the power on, in the midst of nothing.
    fn open(&mut self) -> Result<(), Error> {
        (self.wal, self.gone) = (None, None);
        let found = try_open(&self.disk, self.options)?;
        let (wal, found) = found.expect("it was there before");
        assert!(self.now.is(&found), "{found:#?}\nis not\n{:#?}", self.now);
        self.wal = Some(wal);
        self.now.hard_state = found.hard_state;
        self.synced();
        Ok(())
    }

    /// The power was lost and is back. Opens, with the power failing again in each operation that
    /// opening does, and checks what was found.
    fn recover(&mut self, again: bool) {
        (self.wal, self.gone) = (None, None);
        self.disk.crash();
        for operations in 0.. {
            if !again || operations > 200 {
                break;
            }
            let disk = self.disk.fork(self.rng.u64(..));
            disk.fail_after(operations);
            let opened = try_open(&disk, self.options);
            if !disk.failed() {
                break;
            }
            drop(opened.unwrap_err());
            disk.crash();
            self.disk = disk;
        }
        let opened = try_open(&self.disk, self.options).unwrap();
        let Some((wal, found)) = opened else {
            assert!(self.possible.contains(&State::default()), "a synced log is gone");
            (self.now, self.wal) = (State::default(), None);
            return;
        };
        self.accept(wal, &found);
    }

    /// Goes on with what was found, if it is something that may be left.
    fn accept(&mut self, wal: Wal, found: &Recovered) {
        assert_eq!(wal.identity(), IDENTITY);
        assert!(found.before.0.0 <= self.cut, "{:?} is above what was cut", found.before);
        let state = self.possible.iter().find(|state| state.is(found));
        self.now = state.unwrap_or_else(|| self.explain(found)).clone();
        self.now.hard_state = found.hard_state;
        (self.wal, self.gone) = (Some(wal), None);
        self.synced();
    }

    fn explain(&self, found: &Recovered) -> ! {
        let brief = |entries: &[Entry]| -> Vec<_> {
            entries.iter().map(|entry| (entry.index.0, entry.term.0)).collect()
        };
        eprintln!("found {:?} {:?} {:?}", found.before, found.hard_state, brief(&found.entries));
        for state in &self.possible {
            eprintln!("possible {:?} {:?}", state.hard_state, brief(&state.entries));
        }
        panic!("what was found is none of what may be left");
    }
}

#[test]
fn what_was_synced_survives_the_power_failing_at_random() {
    for seed in 0..10_000 {
        let mut run = Run::new(seed);
        for _ in 0..2 {
            run.disk.fail_after(run.rng.u64(..40));
            let error = run.until_it_fails();
            assert!(run.disk.failed(), "seed {seed}: {error}");
            run.recover(seed % 8 == 0);
        }
    }
}

#[test]
fn what_was_synced_survives_the_power_failing_in_any_operation() {
    for seed in 0..40 {
        // What chance decides depends on nothing but the seed and the steps before, so each round
        // takes the same way, one operation further.
        for operations in 0..80 {
            let mut run = Run::new(seed);
            run.disk.fail_after(operations);
            let error = run.until_it_fails();
            assert!(run.disk.failed(), "seed {seed}: {error}");
            run.recover(true);
            // It can be used as ever.
            for _ in 0..5 {
                run.step().unwrap();
            }
            run.recover(false);
        }
    }
}

#[test]
fn what_opening_found_survives_after_the_process_was_killed_in_any_operation() {
    for seed in 0..40 {
        for operations in 0..80 {
            let mut run = Run::new(seed);
            run.disk.fail_after(operations);
            run.until_it_fails();
            // The power stays on: what was written is there, synced or not.
            run.disk = run.disk.fork(seed);
            let opened = try_open(&run.disk, run.options).unwrap();
            if let Some((wal, found)) = opened {
                run.accept(wal, &found);
                run.recover(false);
            }
        }
    }
}

#[test]
fn what_opening_found_survives_a_sync_that_failed_before() {
    for seed in 0..500 {
        let mut run = Run::new(seed);
        for _ in 0..20 {
            run.step().unwrap();
        }
        run.disk.fail_next_sync();
        run.until_it_fails();
        run.wal = None;
        let (wal, found) = open(&run.disk).unwrap();
        run.accept(wal, &found);
        run.recover(false);
    }
}

/// The log as it was, or the one that starts anew, whichever operation the power fails in; and both
/// go on from there.
#[test]
fn a_log_that_starts_anew_behind_a_snapshot_is_the_old_one_or_the_new_one() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..40 {
        for operations in 0..40 {
            let mut run = Run::new(seed);
            for _ in 0..20 {
                run.step().unwrap();
            }
            run.wal.as_mut().unwrap().sync().unwrap();
            run.synced();
            // Behind all of it, or in the middle, where it went on differently.
            let index = run.rng.u64(1..run.now.last() + 20);
            let behind = (Index(index), Term(run.now.term(run.now.last()) + 1));
            let hard_state = HardState { term: behind.1, vote: MemberId(3), commit: behind.0 };
            run.disk.fail_after(operations);
            let restarted = run.wal.as_mut().unwrap().restart(behind, hard_state);
            run.wal = None;
            // The power is lost, or the process is killed.
            if seed % 2 == 0 {
                run.disk.crash();
            } else {
                run.disk = run.disk.fork(seed);
            }
            let (mut wal, found) = open(&run.disk).unwrap();
            if found.before == behind {
                assert!(found.entries.is_empty() && found.hard_state == hard_state);
                new += 1;
            } else {
                assert!(restarted.is_err() && run.now.is(&found), "{found:#?}");
                old += 1;
                continue;
            }
            let entry = Entry {
                index: Index(index + 1),
                term: behind.1,
                kind: 0,
                data: Bytes::from_static(b"next"),
                context: Bytes::new(),
            };
            wal.append(None, std::slice::from_ref(&entry)).unwrap();
            wal.sync().unwrap();
            wal.cut(behind.0).unwrap();
            assert_eq!(wal.first(), behind.0);
            drop(wal);
            run.disk.crash();
            let (_, found) = open(&run.disk).unwrap();
            assert_eq!((found.before, found.entries), (behind, vec![entry]));
        }
    }
    assert!(old > 100 && new > 100, "{old} {new}");
}

/// Flips bits all over a log. Opening notices, or gives what was written: all that is known to
/// have been synced, and perhaps less of what came after.
#[test]
fn rot_in_what_was_synced_is_never_taken_for_a_torn_end() {
    let mut noticed = 0;
    for seed in 0..60 {
        let mut run = Run::new(seed);
        for _ in 0..40 {
            run.step().unwrap();
        }
        run.wal.as_mut().unwrap().sync().unwrap();
        // This record's head says that all before it was synced.
        let before = run.now.last();
        run.now.hard_state.term.0 += 1;
        run.wal.as_mut().unwrap().append(Some(run.now.hard_state), &[]).unwrap();
        run.wal = None;
        let (_, whole) = open(&run.disk).unwrap();
        for _ in 0..60 {
            let disk = run.disk.fork(seed);
            let names = base::Disk::list(&disk, dir()).unwrap();
            let path = dir().join(&names[run.rng.usize(..names.len())]);
            let len = base::Disk::open(&disk, &path, base::Open::Read).unwrap().len().unwrap();
            let at = run.rng.u64(..len);
            disk.rot(&path, at, 1 << run.rng.u8(..8)).unwrap();
            let operations = disk.operations();
            match open(&disk) {
                Ok((_, found)) => {
                    assert_eq!(found.entries, whole.entries, "seed {seed}: {path:?} at {at}");
                    assert_eq!(
                        found.entries.last().map_or(found.before.0.0, |e| e.index.0),
                        before
                    );
                    assert_eq!(found.hard_state.vote, whole.hard_state.vote);
                }
                Err(Error::Rot { path: named, offset, .. }) => {
                    assert!(named == path && offset <= at, "seed {seed}: {path:?} at {at}");
                    assert_eq!(disk.operations(), operations, "nothing was touched");
                    noticed += 1;
                }
                Err(error) => panic!("seed {seed}: {path:?} at {at}: {error}"),
            }
        }
    }
    assert!(noticed > 500, "{noticed}");
}

fn open(disk: &MemDisk) -> Result<(Wal, Recovered), Error> {
    try_open(disk, Options { segment_bytes: 600 }).map(Option::unwrap)
}

fn try_open(disk: &MemDisk, options: Options) -> Result<Option<(Wal, Recovered)>, Error> {
    let looked = Looked::look(Arc::new(disk.clone()), dir(), Held::NOTHING)?;
    looked.map(|looked| looked.open(options)).transpose()
}
