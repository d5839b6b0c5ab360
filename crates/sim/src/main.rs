//! Runs seeds: `sim [--seeds N] [--from SEED] [--seed SEED] [--jobs N] [--minutes N]
//! [--sabotage NAME]`.
//!
//! `--seed` runs one with every step printed. A violation ends the run with the command that
//! replays it; and it fails if too many histories could not be judged. `--minutes` begins no seed after so
//! long, and says how many were run: with less than a tenth it fails.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use sim::{Options, Report, Sabotage, Violation};

const USAGE: &str = "usage: sim [--seeds N] [--from SEED] [--seed SEED] [--jobs N] [--minutes N] \
     [--sabotage NAME]";

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]
fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("sim: {text}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (held, total, failed) = run(&arguments);
    if let Some((seed, violation)) = failed {
        eprintln!("seed {seed}: {violation}");
        eprintln!("replay: cargo xtask sim --seed {seed}");
        return ExitCode::FAILURE;
    }
    println!("{held} seeds held of {}", arguments.seeds);
    for (name, count) in total.counts() {
        println!("{count:>12} {name}");
    }
    if let Some(why) = too_few(held, arguments.seeds) {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    let undecided_max = held / UNDECIDED_ONE_IN;
    if total.undecided > undecided_max {
        let undecided = total.undecided;
        eprintln!("{undecided} histories were left undecided, at most {undecided_max} may be");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Of so many seeds at least one must be run within the time that is given: on a machine that is slower
/// than that a run shows nothing, and would do so for ever.
const RUN_ONE_IN: u64 = 10;

/// Why what was run does not count, if it does not.
fn too_few(held: u64, seeds: u64) -> Option<String> {
    let least = seeds.div_ceil(RUN_ONE_IN).max(1);
    let why =
        format!("only {held} of {seeds} seeds were run in time, and at least {least} are to be");
    (held < least).then_some(why)
}

/// Of so many histories one may be left undecided by the judge of linearizability: what was not judged
/// might be anything.
const UNDECIDED_ONE_IN: u64 = 1_000;

/// Runs all seeds on several threads, each of which takes the next one. Returns how many held, what was
/// done, and the lowest seed that failed of those that were run.
#[expect(clippy::disallowed_methods, reason = "how long we take is no part of what is simulated")]
fn run(arguments: &Arguments) -> (u64, Report, Option<(u64, Violation)>) {
    let began = Instant::now();
    let is_late = || arguments.within.is_some_and(|within| within <= began.elapsed());
    let held = AtomicU64::new(0);
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let work = || {
        let mut total = Report::default();
        loop {
            let seed = next.fetch_add(1, SeqCst);
            if seed >= end || is_late() {
                return (total, None);
            }
            match sim::run(seed, arguments.options) {
                Ok(report) => {
                    total += report;
                    held.fetch_add(1, SeqCst);
                }
                Err(violation) => {
                    // Nobody begins another one.
                    next.store(end, SeqCst);
                    return (total, Some((seed, violation)));
                }
            }
        }
    };
    let mut total = Report::default();
    let mut failed: Vec<(u64, Violation)> = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.jobs).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok((report, violation)) => {
                    total += report;
                    failed.extend(violation);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    failed.sort_by_key(|(seed, _)| *seed);
    (held.into_inner(), total, failed.into_iter().next())
}

struct Arguments {
    from: u64,
    seeds: u64,
    jobs: usize,
    within: Option<Duration>,
    options: Options,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut arguments =
        Arguments { from: 0, seeds: 1_000, jobs, within: None, options: Options::default() };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{flag} {value}: {error}"));
        match flag.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--from" => arguments.from = number()?,
            "--jobs" => arguments.jobs = usize::try_from(number()?.clamp(1, 256)).unwrap_or(1),
            "--minutes" => {
                arguments.within = Some(Duration::from_secs(number()?.saturating_mul(60)));
            }
            "--seed" => {
                (arguments.from, arguments.seeds) = (number()?, 1);
                arguments.options.trace = true;
            }
            "--sabotage" => arguments.options.sabotage = Some(sabotage(&value)?),
            _ => return Err(format!("no such flag: {flag}")),
        }
    }
    Ok(arguments)
}

fn sabotage(name: &str) -> Result<Sabotage, String> {
    let is_it = |one: &Sabotage| format!("{one:?}") == name;
    Sabotage::ALL.into_iter().find(is_it).ok_or_else(|| {
        let names: Vec<_> = Sabotage::ALL.iter().map(|one| format!("{one:?}")).collect();
        format!("no such sabotage: {name}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_a_tenth_of_the_seeds_is_a_failure() {
        for (seeds, least) in [(0, 1), (1, 1), (10, 1), (11, 2), (2_000, 200), (2_001, 201)] {
            assert_eq!(too_few(least, seeds), None, "{seeds}");
            let why = too_few(least - 1, seeds).unwrap_or_default();
            assert!(why.starts_with(&format!("only {} of {seeds} seeds", least - 1)), "{why}");
        }
    }
}
