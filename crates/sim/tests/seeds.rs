//! Some hundred seeds hold, and in them everything happens that should.

#![allow(clippy::panic, reason = "whatever fails tells by which seed")]

use sim::{Options, Report, run, run_snapshots};

const SEEDS: u64 = 200;

/// What happens less than once in every seed, and how often it does at least.
const RARE: [(&str, u64); 23] = [
    ("cuts of one direction", 50),
    ("files with unsynced bytes lost", 100),
    ("files with torn writes", 50),
    ("moments tried one by one", 100),
    ("syncs that failed", 50),
    ("full disks", 10),
    ("disks that became slow", 100),
    ("clocks moved", 100),
    ("leases noted down", 30),
    ("leases taken over with a note", 4),
    ("leaders asked to hand over", 20),
    ("members added", 30),
    ("members removed", 10),
    ("learners promoted", 2),
    ("members moved", 10),
    ("members upgraded", 30),
    ("commands of the next version", 20),
    ("snapshots sent", 100),
    ("snapshots broken off", 30),
    ("snapshots installed", 50),
    ("snapshots asked for in place of what is there", 20),
    ("clusters forced to go on", 10),
    ("ticks to heal at most", 10),
];

fn held(seed: u64) -> Report {
    match run(seed, Options::default()) {
        Ok(report) => report,
        Err(violation) => {
            panic!("{violation}\nreplay: cargo xtask sim --seed {seed}")
        }
    }
}

#[test]
fn seeds_hold_and_in_them_everything_happens() {
    let mut total = Report::default();
    // Seed 2 is left to the next test but one.
    for seed in (0..=SEEDS).filter(|seed| *seed != 2) {
        total += held(seed);
    }
    // What was not judged might be anything.
    assert_eq!(total.undecided, 0);
    let too_few = total.counts().into_iter().filter(|(name, count)| {
        let rare = RARE.iter().find(|(rare, _)| rare == name);
        let least = rare.map_or(SEEDS, |(_, least)| *least);
        *count < least && !name.ends_with("undecided")
    });
    let too_few: Vec<_> = too_few.collect();
    assert!(too_few.is_empty(), "{too_few:?} of {total:?}");
}

#[test]
fn a_seed_runs_the_same_every_time() {
    for seed in [0, 3, 4, 7, 9] {
        assert_eq!(held(seed), held(seed), "seed {seed}");
    }
}

/// Every moment is tried in `cargo xtask sim`.
#[test]
fn a_snapshot_survives_the_end_of_either_side_at_any_moment() {
    let report = run_snapshots(1, 9, Options::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!(report.exhausted > 100 && report.torn > 10, "{report:?}");
}
