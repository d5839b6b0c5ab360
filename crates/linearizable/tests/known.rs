//! Small histories of which everybody can see whether they can have happened.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use linearizable::{
    Action::{self, Change as Did, Read},
    Before,
    Change::{Create, Delete, DeleteIf, Swap, Write},
    Expected, Found, Operation,
    Outcome::{Done, Refused, Unknown},
    Refusal, Verdict, check, check_within,
};

fn history(operations: &[(u64, u64, Action)]) -> Vec<Operation> {
    let numbered = operations.iter().zip(1..);
    let operation = |((invoked, returned, action), client): (&(u64, u64, Action), u32)| Operation {
        client,
        key: "/k".to_owned(),
        invoked: *invoked,
        returned: *returned,
        action: action.clone(),
    };
    numbered.map(operation).collect()
}

fn passes(operations: &[(u64, u64, Action)]) {
    let verdict = check(&history(operations));
    assert_eq!(verdict, Verdict::Linearizable, "{verdict}");
}

/// Fails, with an explanation that names just the operations of these clients (counted from one).
fn fails(operations: &[(u64, u64, Action)], clients: &[u32]) {
    let verdict = check(&history(operations));
    let Verdict::Violated(violation) = &verdict else { panic!("it passes: {verdict}") };
    let named: Vec<_> = violation.operations().iter().map(|one| one.client).collect();
    assert_eq!(named, clients, "{verdict}");
    assert_eq!(violation.key(), "/k");
}

fn wrote(value: &str) -> Action {
    Did(Write(value.to_owned()), Done { index: None, before: Before::Untold })
}

fn wrote_as(value: &str, index: u64) -> Action {
    Did(Write(value.to_owned()), Done { index: Some(index), before: Before::Untold })
}

fn may_write(value: &str) -> Action {
    Did(Write(value.to_owned()), Unknown)
}

fn read(value: &str) -> Action {
    Read(Some(Found { value: value.to_owned(), index: None }))
}

fn read_as(value: &str, index: u64) -> Action {
    Read(Some(Found { value: value.to_owned(), index: Some(index) }))
}

fn is(value: &str) -> Expected {
    Expected { value: Some(value.to_owned()), index: None }
}

fn at(index: u64) -> Expected {
    Expected { value: None, index: Some(index) }
}

fn swapped(from: &str, to: &str) -> Action {
    Did(Swap(is(from), to.to_owned()), Done { index: None, before: Before::Untold })
}

fn differed(from: &str, to: &str, found: Option<&str>) -> Action {
    let found = found.map(str::to_owned);
    Did(Swap(is(from), to.to_owned()), Refused(Refusal::Compare { found }))
}

fn deleted() -> Action {
    Did(Delete, Done { index: None, before: Before::Untold })
}

fn created(value: &str) -> Action {
    Did(Create(value.to_owned()), Done { index: None, before: Before::Untold })
}

#[test]
fn an_empty_history_is_linearizable() {
    passes(&[]);
    passes(&[(1, 2, Read(None))]);
}

#[test]
fn operations_of_one_client_after_the_other_are_linearizable() {
    passes(&[
        (1, 2, created("a")),
        (3, 4, read("a")),
        (5, 6, swapped("a", "b")),
        (7, 8, differed("a", "c", Some("b"))),
        (9, 10, Did(Create("x".to_owned()), Refused(Refusal::Exists))),
        (11, 12, deleted()),
        (13, 14, Did(Delete, Refused(Refusal::NotFound))),
        (15, 16, Read(None)),
    ]);
}

#[test]
fn a_read_beside_a_write_may_see_either_value() {
    for seen in ["a", "b"] {
        passes(&[(1, 2, wrote("a")), (3, 8, wrote("b")), (4, 5, read(seen))]);
    }
}

#[test]
fn a_stale_read_is_found() {
    fails(&[(1, 2, wrote("a")), (3, 4, wrote("b")), (5, 6, read("a"))], &[2, 3]);
    fails(&[(1, 2, wrote_as("a", 3)), (3, 4, wrote_as("b", 5)), (5, 6, read_as("a", 3))], &[2, 3]);
    fails(&[(1, 2, wrote("a")), (3, 4, Read(None))], &[1, 2]);
}

#[test]
fn reads_that_go_back_are_found() {
    let write = (1, 20, wrote("b"));
    let reads = |first, second| {
        [(0, 0, wrote("a")), write.clone(), (3, 4, read(first)), (5, 6, read(second))]
    };
    passes(&reads("a", "b"));
    fails(&reads("b", "a"), &[3, 4]);
    let unknown =
        [(0, 0, wrote("a")), (1, 0, may_write("b")), (3, 4, read("b")), (5, 6, read("a"))];
    fails(&unknown, &[3, 4]);
}

#[test]
fn a_lost_update_is_found() {
    fails(&[(1, 2, wrote("a")), (3, 4, swapped("a", "b")), (5, 6, read("a"))], &[2, 3]);
    fails(&[(1, 2, wrote("a")), (3, 4, Did(Delete, Refused(Refusal::NotFound)))], &[1, 2]);
}

#[test]
fn two_swaps_from_one_value_are_found() {
    let start = (1, 2, created("a"));
    let both = [start.clone(), (3, 9, swapped("a", "b")), (4, 8, swapped("a", "c"))];
    fails(&both, &[2, 3]);
    passes(&[start.clone(), (3, 9, swapped("a", "b")), (4, 8, differed("a", "c", Some("b")))]);
    // One of them gave the value back.
    passes(&[
        start,
        (3, 9, swapped("a", "b")),
        (4, 8, swapped("a", "c")),
        (5, 6, swapped("b", "a")),
    ]);
}

#[test]
fn two_swaps_from_one_index_are_found() {
    let swap = |index| {
        let done = Done { index: Some(index), before: Before::Untold };
        Did(Swap(at(3), format!("by {index}")), done)
    };
    let start = (1, 2, wrote_as("a", 3));
    passes(&[start.clone(), (3, 9, swap(4))]);
    fails(&[start.clone(), (3, 9, swap(4)), (4, 8, swap(5))], &[2, 3]);
    let other = (4, 8, Did(Swap(at(3), "x".to_owned()), Refused(Refusal::Compare { found: None })));
    passes(&[start.clone(), (3, 9, swap(4)), other.clone()]);
    fails(&[start, other], &[1, 2]);
}

#[test]
fn a_value_that_nobody_wrote_is_found() {
    fails(&[(1, 2, wrote("a")), (1, 9, may_write("b")), (3, 4, read("c"))], &[1, 3]);
    fails(&[(1, 2, read("c"))], &[1]);
}

#[test]
fn a_key_that_rises_from_its_deletion_is_found() {
    fails(&[(1, 2, wrote("a")), (3, 4, deleted()), (5, 6, read("a"))], &[2, 3]);
    fails(
        &[
            (1, 2, wrote("a")),
            (3, 4, deleted()),
            (5, 6, Did(Create("b".to_owned()), Refused(Refusal::Exists))),
        ],
        &[2, 3],
    );
    passes(&[
        (1, 2, wrote("a")),
        (3, 4, Did(Delete, Unknown)),
        (5, 6, read("a")),
        (7, 8, Read(None)),
    ]);
}

#[test]
fn a_write_of_unknown_outcome_is_seen_later_or_never() {
    let unknown = (3, 0, may_write("b"));
    let start = (1, 2, wrote("a"));
    passes(&[start.clone(), unknown.clone(), (100, 101, read("a"))]);
    passes(&[start.clone(), unknown.clone(), (5, 6, read("a")), (100, 101, read("b"))]);
    let twice =
        [start.clone(), unknown.clone(), (5, 6, read("b")), (7, 8, wrote("c")), (9, 10, read("b"))];
    fails(&twice, &[3, 4, 5]);
    // Not before it was called.
    fails(&[start, (2, 2, read("b")), unknown], &[2]);
}

#[test]
fn changes_of_unknown_outcome_explain_one_another() {
    let swap = Did(Swap(is("b"), "c".to_owned()), Unknown);
    passes(&[(1, 2, wrote("a")), (3, 0, swap.clone()), (3, 0, may_write("b")), (9, 10, read("c"))]);
    fails(&[(1, 2, wrote("a")), (3, 0, swap), (9, 10, read("c"))], &[1, 3]);
    let other = differed("a", "x", None);
    passes(&[(1, 2, wrote("a")), (3, 0, may_write("b")), (4, 5, other.clone()), (6, 7, read("b"))]);
    fails(
        &[(1, 2, wrote("a")), (3, 0, may_write("b")), (4, 5, other), (6, 7, read("a"))],
        &[1, 3, 4],
    );
}

#[test]
fn what_an_answer_says_of_the_value_before_must_fit() {
    let before = |value: &str| Before::Present(Found { value: value.to_owned(), index: None });
    let told = |value: &str, before| Did(Write(value.to_owned()), Done { index: None, before });
    passes(&[(1, 2, told("a", Before::Absent)), (3, 4, told("b", before("a")))]);
    fails(&[(1, 2, wrote("a")), (3, 4, wrote("b")), (5, 6, told("c", before("a")))], &[2, 3]);
    fails(&[(1, 2, wrote("a")), (3, 4, told("b", Before::Absent))], &[1, 2]);
    let nonsense = Did(Swap(is("a"), "b".to_owned()), Done { index: None, before: before("x") });
    fails(&[(1, 2, wrote("a")), (3, 4, nonsense)], &[2]);
}

#[test]
fn indexes_out_of_order_are_found() {
    fails(&[(1, 2, wrote_as("a", 5)), (3, 4, wrote_as("b", 4))], &[1, 2]);
    passes(&[(1, 4, wrote_as("a", 5)), (2, 3, wrote_as("b", 4)), (5, 6, read_as("a", 5))]);
    fails(&[(1, 4, wrote_as("a", 5)), (2, 3, wrote_as("b", 4)), (5, 6, read_as("b", 4))], &[1, 3]);
    fails(&[(1, 4, wrote_as("a", 5)), (2, 3, wrote_as("b", 5))], &[1, 2]);
    fails(&[(1, 2, wrote_as("a", 5)), (3, 4, read_as("a", 6))], &[1, 2]);
}

#[test]
fn indexes_of_different_keys_agree_with_time() {
    let mut two = history(&[(1, 2, wrote_as("a", 5)), (3, 4, wrote_as("b", 4))]);
    two[0].key = "/other".to_owned();
    let Verdict::Violated(violation) = check(&two) else { panic!("it passes") };
    assert_eq!(violation.operations(), two);
    two[1].invoked = 2;
    assert_eq!(check(&two), Verdict::Linearizable);
}

#[test]
fn a_conditional_deletion_needs_its_condition() {
    let gone = |from: &str| Did(DeleteIf(is(from)), Done { index: None, before: Before::Untold });
    passes(&[(1, 2, wrote("a")), (3, 4, gone("a")), (5, 6, Read(None))]);
    fails(&[(1, 2, wrote("a")), (3, 4, gone("b"))], &[1, 2]);
}

#[test]
fn an_explanation_reads_well() {
    let mut long: Vec<_> = (0..500).map(|n| (n * 2, n * 2 + 1, wrote(&format!("v{n}")))).collect();
    long.insert(300, (900, 0, may_write("u")));
    long.push((1_000, 1_001, read("v42")));
    long.push((1_002, 1_003, read("v499")));
    let Verdict::Violated(violation) = check(&history(&long)) else { panic!("it passes") };
    assert_eq!(
        violation.to_string(),
        "not linearizable: /k, from whatever it held on, cannot have done\n  \
         [998..999] client 501: write \"v499\" -> done\n  \
         [1000..1001] client 502: read -> \"v42\"\n  \
         nor do 1 changes of unknown outcome explain it"
    );
}

#[test]
fn past_its_bound_a_check_says_that_it_does_not_know() {
    let operations: Vec<_> = (0..40).map(|n| (1, 99, wrote(&n.to_string()))).collect();
    let verdict = check_within(&history(&operations), 10);
    assert!(matches!(verdict, Verdict::Undecided { operations: 40, .. }), "{verdict}");
}
