//! The test command: builds everything, runs all tests, counts them, and names what could not run.
//!
//! `cargo test` and not nextest, though that is quicker: it is there wherever cargo is, and a test
//! that skips itself must be able to say so past the harness that captures its output.

use std::{
    collections::BTreeSet,
    fmt,
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo::{cargo, run, show};

/// What a test prints that needs more than this machine has, before the ring's name.
const SKIPPED: &str = "skipped ring: ";

/// Runs all tests. In CI a ring that cannot run is a failure.
pub(crate) fn test(rest: &[String], in_ci: bool) -> Result<()> {
    let in_ci = in_ci || std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    // The tests through the binaries find these beside themselves.
    let mut build = cargo(["build", "--workspace", "--bins"]);
    if rest.iter().any(|word| word == "--release") {
        build.arg("--release");
    }
    run(build)?;
    let mut tests = cargo(["test", "--workspace", "--no-fail-fast"]);
    tests.args(rest);
    if in_ci {
        tests.env("CI", "true");
    }
    let (tally, passed) = watch(tests)?;
    println!("\n{tally}");
    ensure!(passed && tally.failed == 0, "tests failed");
    ensure!(tally.passed > 0, "no test ran");
    if in_ci && !tally.skipped.is_empty() {
        bail!("in CI every ring must run");
    }
    Ok(())
}

/// Shows what the tests print as it comes, and counts.
fn watch(mut tests: Command) -> Result<(Tally, bool)> {
    let shown = show(&tests);
    tests.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tests.spawn().with_context(|| format!("start {shown}"))?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let stderr = child.stderr.take().context("stderr is piped")?;
    // Skipped rings are told on stderr, results on stdout.
    let on_stderr = thread::spawn(move || echo(stderr, |line| eprintln!("{line}")));
    let mut tally = echo(stdout, |line| println!("{line}"))?;
    let told = on_stderr.join().ok().context("read what the tests say")??;
    tally.add(told);
    let status = child.wait().with_context(|| format!("wait for {shown}"))?;
    Ok((tally, status.success()))
}

fn echo(stream: impl Read, print: impl Fn(&str)) -> Result<Tally> {
    let mut tally = Tally::default();
    for line in BufReader::new(stream).split(b'\n') {
        let line = line.context("read what the tests say")?;
        let line = String::from_utf8_lossy(&line);
        print(&line);
        tally.note(&line);
    }
    std::io::stdout().flush().context("write to stdout")?;
    Ok(tally)
}

/// What has run and what has not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Rings that could not run, with the reasons.
    skipped: BTreeSet<String>,
}

impl Tally {
    fn note(&mut self, line: &str) {
        if let Some((_, ring)) = line.split_once(SKIPPED) {
            self.skipped.insert(ring.trim().to_owned());
        }
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        // `ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
        let words: Vec<&str> = counts.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let [count, what] = pair else { continue };
            let count: u64 = count.parse().unwrap_or(0);
            match *what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped.extend(other.skipped);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, ignored, skipped } = self;
        for ring in skipped {
            writeln!(f, "skipped ring: {ring}")?;
        }
        let rings = skipped.len();
        write!(
            f,
            "tests: {passed} passed, {failed} failed, {ignored} ignored, {rings} rings skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_binaries_add_up_and_rings_are_named_once() {
        let said = "running 3 tests\n\
            skipped ring: real-etcd (not installed)\n\
            skipped ring: real-etcd (not installed)\n\
            test a ... skipped ring: docker (no daemon)\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
            test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let tally = echo(said.as_bytes(), |_| {}).unwrap();
        assert_eq!(
            tally.to_string(),
            "skipped ring: docker (no daemon)\nskipped ring: real-etcd (not installed)\n\
             tests: 5 passed, 1 failed, 1 ignored, 2 rings skipped"
        );
    }
}
