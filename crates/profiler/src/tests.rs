//! Profiles of this very process.

use std::{
    hint::black_box,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::*;

/// There is one timer in a process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
const FREQUENCY: u32 = 100;

/// The processor's time goes into the C library, and is asked for by this function.
#[inline(never)]
fn fill_memory(stop: &AtomicBool) {
    let (mut to, from) = (vec![0_u8; 1 << 16], vec![1_u8; 1 << 16]);
    while !stop.load(Relaxed) {
        for _ in 0..1_000 {
            black_box(&mut to).copy_from_slice(black_box(&from));
        }
    }
}

/// A profile of a second while a thread fills memory, in which it was seen.
fn of_filling() -> Report {
    let _one = ONE_AT_A_TIME.lock();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("filling".to_owned());
        builder.spawn_scoped(scope, || fill_memory(&stop)).unwrap();
        let report = take(Duration::from_secs(1), FREQUENCY, || false);
        stop.store(true, Relaxed);
        report.unwrap()
    })
}

fn names<'a>(report: &'a Report, stack: &'a Stack) -> impl Iterator<Item = &'a str> {
    let symbols = stack.frames.iter().filter_map(|frame| report.names.get(frame));
    symbols.flatten().map(|symbol| symbol.name.as_str())
}

#[test]
fn time_within_the_c_library_is_seen_with_who_asked_for_it() {
    let report = of_filling();
    let filling: Vec<_> = report.stacks.iter().filter(|stack| stack.thread == "filling").collect();
    let all: u64 = filling.iter().map(|stack| stack.times).sum();
    let with = filling.iter().filter(|stack| {
        let mut names = names(&report, stack);
        names.any(|name| name.ends_with("fill_memory"))
    });
    let with: u64 = with.map(|stack| stack.times).sum();
    for stack in filling.iter().take(3) {
        eprintln!("{:x?} {:?}", stack.frames, names(&report, stack).collect::<Vec<_>>());
    }
    assert!(all > 0, "{report:?}");
    // Between two instructions of a prologue something may be amiss.
    assert!(with * 10 >= all * 9, "{with} of {all}");
    // To the very beginning of the thread.
    let is_whole =
        |stack: &&&Stack| names(&report, stack).any(|name| name.contains("thread_start"));
    let whole: u64 = filling.iter().filter(is_whole).map(|stack| stack.times).sum();
    assert!(whole * 10 >= all * 9, "{whole} of {all}");
}

#[test]
fn what_looks_is_not_what_is_seen() {
    let report = of_filling();
    for stack in report.stacks.iter().filter(|stack| stack.thread == "filling") {
        let found: Vec<_> = names(&report, stack).collect();
        assert!(!found.iter().any(|name| name.contains("signal::handle")), "{found:?}");
    }
}

#[test]
fn one_is_taken_at_a_time_and_it_ends_when_it_is_over() {
    let _one = ONE_AT_A_TIME.lock();
    let (is_over, has_begun) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            // Far longer than the test may take.
            take(Duration::from_hours(24), FREQUENCY, || {
                has_begun.store(true, Relaxed);
                is_over.load(Relaxed)
            })
        });
        while !has_begun.load(Relaxed) {
            thread::yield_now();
        }
        let busy = take(Duration::ZERO, FREQUENCY, || true).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        is_over.store(true, Relaxed);
        first.join().unwrap().unwrap();
    });
    take(Duration::ZERO, FREQUENCY, || true).unwrap();
}

/// What the process has of memory, used or not, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn what_a_profile_takes_is_given_back() {
    of_filling();
    let _one = ONE_AT_A_TIME.lock();
    let take = || take(Duration::from_millis(1), FREQUENCY, || false).unwrap();
    // What an allocator keeps to use it again is there after the first.
    take();
    let before = memory();
    for _ in 0..30 {
        take();
    }
    let after = memory();
    // The places for samples alone are 4 MB each time.
    assert!(after < before + (32 << 20), "{before} bytes, then {after}");
}
