//! Every invariant can fail: for each there is a fault, built in on purpose, that it finds.

#![allow(clippy::panic, reason = "whatever fails tells by which seed")]

use std::collections::BTreeSet;

use sim::{Options, Sabotage, Violation, run, run_snapshots};

/// Within so many seeds a fault must be found.
const SEEDS_TO_FIND: u64 = 400;
/// From this one on: among the first four hundred no vote that was forgotten comes to harm (it does in
/// seven of eight such stretches).
const FIRST_SEED: u64 = 1_000;

/// Seeds until this invariant finds the fault.
fn finds(invariant: &str, sabotage: Sabotage) {
    let options = Options { sabotage: Some(sabotage), ..Options::default() };
    let mut others = BTreeSet::new();
    for seed in FIRST_SEED..FIRST_SEED + SEEDS_TO_FIND {
        match run(seed, options) {
            Err(violation) if violation.invariant == invariant => return,
            Err(Violation { invariant, .. }) => drop(others.insert(invariant)),
            Ok(_) => {}
        }
    }
    panic!("{sabotage:?} is not found as {invariant}, but as {others:?}");
}

macro_rules! faults {
    ($($name:ident: $sabotage:ident is found as $invariant:literal,)*) => {
        $(#[test] fn $name() {
            finds($invariant, Sabotage::$sabotage);
        })*

        const FOUND: &[(Sabotage, &str)] = &[$((Sabotage::$sabotage, $invariant),)*];
    };
}

faults! {
    a_promise_before_the_sync: AcknowledgeBeforeSync is found as "leader completeness",
    an_answer_before_the_quorum: AnswerEarly is found as "no lost acknowledgement",
    an_entry_handed_out_otherwise: HandOutAltered is found as "apply agreement",
    an_entry_applied_otherwise: ApplyAltered is found as "indexes",
    a_change_passed_over: ForgetNames is found as "replay",
    an_entry_altered_on_its_way: AlterEntries is found as "log matching",
    a_refusal_taken_for_a_vote: TurnVotes is found as "election safety",
    a_vote_that_was_forgotten: ForgetVotes is found as "election safety",
    a_proposal_carried_twice: RepeatProposals is found as "only sent",
    a_log_cut_before_the_flush: CutBeforeFlush is found as "opening",
    a_flush_that_did_not_happen: ForgetFlushes is found as "durable",
    a_hard_state_that_was_forgotten: ForgetHardState is found as "terms",
    a_failed_sync_passed_over: IgnoreFailedSyncs is found as "failed sync",
    a_read_without_a_read_index: ReadAnything is found as "linearizability",
    a_read_at_a_deposed_leader: ReadAsDeposed is found as "linearizability",
    a_read_index_that_is_too_low: ReadBehind is found as "reads",
    an_expiry_before_its_time: ExpireEarly is found as "expiry",
    an_expiry_that_never_comes: ExpireNever is found as "expiry",
    a_lease_that_ends_too_soon: EndLeasesEarly is found as "leases",
    a_lease_that_lives_on_for_long: KeepLeasesLong is found as "leases",
    events_out_of_order: PublishBackwards is found as "watch order",
    a_watch_told_backwards: TellBackwards is found as "watch ordered",
    a_watch_told_twice: TellTwice is found as "watch unique",
    a_watch_told_in_parts: TellInParts is found as "watch atomic",
    a_watch_told_less: TellLess is found as "watch reliable",
    a_watch_resumed_too_late: ResumeLate is found as "watch resumable",
    a_fragment_that_is_lost: LoseParts is found as "watch atomic",
    a_bookmark_that_is_ahead: BookmarkAhead is found as "watch bookmarkable",
    a_watch_that_forgets_what_was_before: ForgetBefore is found as "watch prev kv",
    a_watch_that_forgets_creation: ForgetCreation is found as "watch is create",
    a_watch_without_its_filters: ForgetFilters is found as "watch filter",
    a_command_that_not_all_members_know: UseNewEarly is found as "faultless",
    a_removal_that_is_not_heard: StayRemoved is found as "membership",
    a_snapshot_whose_end_is_not_told: ForgetBrokenSnapshots is found as "healing",
}

#[test]
#[allow(clippy::disallowed_methods, reason = "looks into its own sources")]
fn every_invariant_has_a_fault_and_every_fault_is_found() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/invariants");
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let invariant = path.file_stem().unwrap().to_string_lossy().replace('_', " ");
        let is_shown = FOUND.iter().any(|(_, found)| *found == invariant);
        assert!(is_shown, "nothing is found by {invariant}");
    }
    // The last one is found by the test below.
    for sabotage in Sabotage::ALL.into_iter().filter(|one| *one != Sabotage::SwitchBeforeLog) {
        assert!(FOUND.iter().any(|(one, _)| *one == sabotage), "{sabotage:?}");
    }
}

/// Chance would take long to hit the moment.
#[test]
fn a_snapshot_ended_at_every_moment_finds_a_switch_in_the_wrong_order() {
    let options = Options { sabotage: Some(Sabotage::SwitchBeforeLog), ..Options::default() };
    let found = run_snapshots(1, 1, options).unwrap_err();
    assert_eq!(found.invariant, "opening", "{found}");
}
