//! Histories that happened pass, histories that were tampered with do not, whatever the seed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

#[path = "generated/naive.rs"]
mod naive;
#[path = "generated/register.rs"]
mod register;

use linearizable::{Action, Change, Found, Operation, Outcome, Verdict, check, check_within};
use proptest::prelude::*;
use register::{Dice, Shape, history};

fn shapes() -> impl Strategy<Value = Shape> {
    let values = prop_oneof![Just(0_u64), 2_u64..5];
    (1_usize..400, 1_u32..12, 1_usize..4, 0_u64..30, values, any::<bool>()).prop_map(
        |(operations, clients, keys, unknown, values, with_indexes)| Shape {
            operations,
            clients,
            keys,
            unknown,
            values,
            with_indexes,
        },
    )
}

/// A value that was certainly overwritten, with the index of its write.
fn overwritten(history: &[Operation]) -> Option<(String, Found)> {
    let done = history.iter().filter_map(|one| match &one.action {
        Action::Change(Change::Write(value), Outcome::Done { index, .. }) => {
            Some((one, Found { value: value.clone(), index: *index }))
        }
        _ => None,
    });
    let done: Vec<_> = done.collect();
    let (first, found) = done.first()?;
    let over = done.iter().any(|(one, _)| one.key == first.key && first.returned < one.invoked);
    over.then(|| (first.key.clone(), found.clone()))
}

/// Gives some answer to another operation than the one it was for.
fn confuse(history: &mut [Operation], dice: &mut Dice) {
    let mut any = || usize::try_from(dice.below(history.len() as u64)).unwrap();
    let (one, other) = (any(), any());
    let (action, swapped) = (history[one].action.clone(), history[other].action.clone());
    (history[one].action, history[other].action) = (swapped, action);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_happened_is_linearizable(shape in shapes(), seed: u64) {
        let verdict = check(&history(&shape, seed));
        prop_assert_eq!(&verdict, &Verdict::Linearizable, "{}", verdict);
    }

    #[test]
    fn a_stale_read_is_found_in_any_history(shape in shapes(), seed: u64) {
        let shape = Shape { values: 0, operations: shape.operations + 50, ..shape };
        let mut history = history(&shape, seed);
        let Some((key, found)) = overwritten(&history) else { return Ok(()) };
        let end = history.iter().map(|one| one.returned).max().unwrap();
        let action = Action::Read(Some(found));
        history.push(Operation { client: 99, key, invoked: end + 1, returned: end + 2, action });
        let verdict = check_within(&history, 100_000);
        let Verdict::Violated(violation) = &verdict else { panic!("{verdict}") };
        prop_assert!(violation.operations().iter().any(|one| one.client == 99), "{}", verdict);
        prop_assert!(violation.operations().len() <= 3, "{}", verdict);
    }

    #[test]
    fn small_histories_are_judged_as_the_definition_says(seed: u64, operations in 1_usize..7) {
        let shape = Shape { operations, clients: 3, keys: 1, unknown: 30, values: 2, with_indexes: false };
        let mut history = history(&shape, seed);
        let mut dice = Dice::new(seed);
        history.iter_mut().for_each(forget_expected_index);
        for _ in 0..dice.below(3) {
            confuse(&mut history, &mut dice);
        }
        let expected = naive::is_linearizable(&history);
        let verdict = check(&history);
        prop_assert_eq!(verdict == Verdict::Linearizable, expected, "{:#?}", history);
    }
}

/// The definition as it is tried out here knows no indexes.
fn forget_expected_index(one: &mut Operation) {
    if let Action::Change(Change::Swap(expected, _) | Change::DeleteIf(expected), _) =
        &mut one.action
    {
        expected.index = None;
    }
}

#[test]
fn tens_of_thousands_of_operations_with_many_unknown_outcomes_are_decided() {
    for (values, with_indexes) in [(0, true), (0, false), (5, true)] {
        let shape =
            Shape { operations: 50_000, clients: 20, keys: 8, unknown: 5, values, with_indexes };
        let started = std::time::Instant::now();
        let verdict = check(&history(&shape, 1));
        println!("{values} values, indexes {with_indexes}: {:?}", started.elapsed());
        assert_eq!(verdict, Verdict::Linearizable, "{verdict}");
    }
}
