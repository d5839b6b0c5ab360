//! Tests that need more than cargo and a C compiler: skipped by name, except in CI.

use std::io::Write as _;

/// Says whether the test of ring `name` can run; if not, says so on stderr, in a line that the
/// test command counts. In CI (`CI=true`) nothing may be missing.
pub fn can_run(name: &str, available: bool, why_not: &str) -> bool {
    if !available {
        // Straight to the stream: libtest keeps what `eprintln!` says of a passing test to itself.
        let mut stderr = std::io::stderr().lock();
        writeln!(stderr, "skipped ring: {name} ({why_not})").expect("stderr takes a line");
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        assert!(!in_ci, "ring {name} was skipped in CI: {why_not}");
    }
    available
}
