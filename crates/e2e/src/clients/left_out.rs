//! The tests of a suite that are not held against us, each with its reason: `left-out.txt`.
//!
//! A line is `TEST | FAILS AGAINST | REASON`. Who it fails against is `etcd` (3.4.23), `retcd` or
//! both, and then it is run and must fail; `not run` is not. One that `proves nothing` passes whatever
//! the server does: it is run, and not counted among those that pass.

use std::fs;

use super::folder;
use crate::binaries;

/// The tests of a client that must fail, those that are not run at all, and those that cannot fail.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    pub(super) fail: Vec<String>,
    pub(super) not_run: Vec<String>,
    pub(super) proves_nothing: Vec<String>,
}

pub(super) fn of(client: &str) -> LeftOut {
    let path = folder(client).join("left-out.txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|problem| {
        panic!("{}: {problem}", path.display());
    });
    let against = if binaries::is_original() { "etcd" } else { "retcd" };
    let mut left_out = LeftOut::default();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let fields: Vec<_> = line.splitn(3, '|').map(str::trim).collect();
        let [test, who, reason] = fields[..] else { panic!("{}: {line}", path.display()) };
        assert!(!reason.is_empty(), "{}: {test} is left out without a reason", path.display());
        match who {
            "not run" => left_out.not_run.push(test.to_owned()),
            "proves nothing" => left_out.proves_nothing.push(test.to_owned()),
            _ => {
                let known = who.split(", ").all(|one| ["etcd", "retcd"].contains(&one));
                assert!(known, "{}: who is {who:?}?", path.display());
                if who.split(", ").any(|one| one == against) {
                    left_out.fail.push(test.to_owned());
                }
            }
        }
    }
    left_out
}

impl LeftOut {
    /// Those that lie in one of these folders and files.
    pub(super) fn within(mut self, places: &[&str]) -> Self {
        for tests in [&mut self.fail, &mut self.not_run, &mut self.proves_nothing] {
            tests.retain(|test| places.iter().any(|place| test.starts_with(place)));
        }
        self
    }
}
