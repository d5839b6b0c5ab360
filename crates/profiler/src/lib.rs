//! Where the processor's time goes: a profile of this process, in bounded memory that is given back.
//!
//! - `signal`: a timer's signal copies registers and a part of the stack, and does nothing else; the one
//!   place of the product with `unsafe`
//! - `unwind`: what is copied becomes a list of addresses, outside of any signal
//! - `names`: addresses become functions and lines, once the timer has stopped

#![deny(unsafe_code)]

mod names;
mod signal;
#[cfg(test)]
mod tests;
mod unwind;

use std::{
    collections::BTreeMap,
    io, thread,
    time::{Duration, Instant},
};

pub use names::Symbol;

/// Between two looks at what has been copied, and whether the profile is to end.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);
/// Stacks that differ; of what more there is only the number is kept.
const STACKS_MAX: usize = 16 * 1024;
/// Threads whose names are kept.
const THREADS_MAX: usize = 4096;

/// Where a thread was, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The thread's name.
    pub thread: String,
    /// Addresses, the innermost first.
    pub frames: Vec<u64>,
    pub times: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub stacks: Vec<Stack>,
    /// What is known of the addresses: of one several functions, where they are inlined, the innermost
    /// first.
    pub names: BTreeMap<u64, Vec<Symbol>>,
    /// Times that the timer went off and there was no room to say where that was.
    pub lost: u64,
}

/// Looks for so long, so often in a second of the processor's time, where threads are. Blocks.
///
/// Ends early once `is_over`. One at a time in a process ([`io::ErrorKind::ResourceBusy`]); elsewhere
/// than on Linux on `x86_64` and `aarch64` there is none.
pub fn take(
    time: Duration,
    frequency: u32,
    is_over: impl Fn() -> bool,
) -> Result<Report, io::Error> {
    let sampling = signal::Sampling::begin(frequency)?;
    let began = Instant::now();
    let mut seen = Seen::new()?;
    while began.elapsed() < time && !is_over() {
        let left = time.saturating_sub(began.elapsed());
        thread::sleep(left.min(DRAIN_INTERVAL));
        sampling.drain(|sample| seen.add(sample));
    }
    let lost = sampling.end(|sample| seen.add(sample)).saturating_add(seen.lost);
    let stacks = seen.into_stacks();
    let names = names::find(stacks.iter().flat_map(|stack| stack.frames.iter().copied()));
    Ok(Report { stacks, names, lost })
}

/// What was seen up to now.
struct Seen {
    unwinder: unwind::Unwinding,
    /// Their names, by their ids: a thread may be gone at the end.
    threads: BTreeMap<i32, String>,
    stacks: BTreeMap<(i32, Vec<u64>), u64>,
    lost: u64,
}

impl Seen {
    fn new() -> Result<Self, io::Error> {
        let unwinder = unwind::Unwinding::of_this_process()?;
        Ok(Self { unwinder, threads: BTreeMap::new(), stacks: BTreeMap::new(), lost: 0 })
    }

    fn add(&mut self, sample: &signal::Sample) {
        let thread = sample.thread();
        if !self.threads.contains_key(&thread) && self.threads.len() < THREADS_MAX {
            let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
            let name = name.map(|name| name.trim_end().to_owned()).unwrap_or_default();
            self.threads.insert(thread, name);
        }
        let key = (thread, self.unwinder.frames(sample));
        if let Some(times) = self.stacks.get_mut(&key) {
            *times += 1;
        } else if self.stacks.len() < STACKS_MAX {
            self.stacks.insert(key, 1);
        } else {
            self.lost += 1;
        }
    }

    fn into_stacks(self) -> Vec<Stack> {
        let Self { threads, stacks, .. } = self;
        let name = |thread| threads.get(&thread).cloned().unwrap_or_default();
        let stacks = stacks.into_iter();
        stacks
            .map(|((thread, frames), times)| Stack { thread: name(thread), frames, times })
            .collect()
    }
}
