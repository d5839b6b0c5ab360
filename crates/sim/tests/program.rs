//! How the program ends that runs seeds.

#![allow(clippy::expect_used, reason = "whatever fails is told by panicking")]

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("it can be started")
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

#[test]
fn a_run_for_which_there_was_no_time_fails_and_says_so() {
    let output = sim(&["--seeds", "30", "--minutes", "0"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let why = "only 0 of 30 seeds were run in time, and at least 3 are to be";
    assert!(said(&output).contains(why), "{output:?}");
}

#[test]
fn a_run_for_which_there_was_time_succeeds() {
    let output = sim(&["--seeds", "2", "--minutes", "60"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said(&output).starts_with("2 seeds held of 2\n"), "{output:?}");
}
