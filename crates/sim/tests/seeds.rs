//! Some hundred seeds hold; and the simulation finds the faults that are built in on purpose.

use sim::{Options, Sabotage, Violation, run};

const SEEDS: u64 = 200;
/// Enough to find a fault that is built in.
const SEEDS_TO_FIND: u64 = 100;

#[test]
fn seeds_hold() {
    let (mut crashes, mut cuts, mut acknowledged, mut elections) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        match run(seed, Options::default()) {
            Ok(report) => {
                crashes += report.crashes;
                cuts += report.cuts;
                acknowledged += report.acknowledged;
                elections += report.elections;
            }
            Err(violation) => {
                panic!("{violation}\nreplay: cargo run --release -p sim -- --seed {seed}")
            }
        }
    }
    // Or it would prove nothing.
    assert!(crashes > SEEDS && cuts > SEEDS / 4);
    assert!(acknowledged > SEEDS * 20 && elections > SEEDS * 2);
}

/// The violations that a fault leads to within some seeds.
fn found(sabotage: Sabotage) -> Vec<Violation> {
    let options = Options { sabotage: Some(sabotage), ..Options::default() };
    (0..SEEDS_TO_FIND).filter_map(|seed| run(seed, options).err()).collect()
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    let found = found(Sabotage::AcknowledgeBeforeSync);
    assert!(found.len() > 10, "{found:?}");
    // Where there are several members, somebody leads who does not have it.
    let incomplete = found.iter().any(|one| one.invariant == "leader completeness");
    assert!(incomplete, "{found:?}");
}

#[test]
fn a_log_cut_before_the_flush_is_found() {
    assert!(!found(Sabotage::CutBeforeFlush).is_empty());
}

#[test]
fn a_forgotten_hard_state_is_found() {
    let found = found(Sabotage::ForgetHardState);
    assert!(found.iter().any(|violation| violation.invariant == "terms"), "{found:?}");
}

#[test]
fn a_seed_runs_the_same_every_time() {
    for seed in 0..5 {
        let (first, second) = (run(seed, Options::default()), run(seed, Options::default()));
        let of =
            |report: Result<sim::Report, Violation>| report.map(|r| (r.steps, r.crashes, r.sent));
        assert_eq!(of(first), of(second));
    }
}
