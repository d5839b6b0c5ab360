//! What a client consists of, fetched once into `target/clients/NAME`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{rings, run};

/// The slowest package of all, on a slow line.
const LIMIT: Duration = Duration::from_mins(10);

/// What package managers say when they cannot reach a registry. All else that goes wrong, such as
/// a package that is not what its hash says, fails the test.
const OFFLINE: &[&str] = &[
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Name or service not known",
    "Network is unreachable",
    "Connection refused",
    "timed out",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "Could not resolve host",
    "failed to download from",
];

/// `target/clients/NAME`, filled by `fetch`, unless it has been for just this `pinned` before. None
/// where `ring` cannot run: no network, or what `fetch` says is missing.
pub(super) fn once(
    client: &str,
    ring: &str,
    pinned: &str,
    fetch: impl FnOnce(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    let me = std::env::current_exe().expect("the test knows its own path");
    let target = me.ancestors().nth(3).expect("tests are in target/<profile>/deps");
    let dir = target.join("clients").join(client);
    let stamp = dir.join("pinned");
    fs::create_dir_all(target.join("clients")).expect("target can be written");
    // Two runs of the tests may want it at the same time.
    let lock = fs::File::create(dir.with_extension("lock")).expect("target can be written");
    lock.lock().expect("a file can be locked");
    if !fs::read_to_string(&stamp).is_ok_and(|before| before == pinned) {
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("target can be written");
        }
        fs::create_dir(&dir).expect("target can be written");
        let fetched = fetch(&dir);
        let why_not = fetched.as_ref().err().cloned().unwrap_or_default();
        rings::can_run(ring, fetched.is_ok(), &why_not).then_some(())?;
        fs::write(stamp, pinned).expect("target can be written");
    }
    Some(dir)
}

/// Runs one step; what it printed, or why it cannot be taken on this machine.
pub(super) fn step(command: &mut Command, to_get_it: &str) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let there = Command::new("sh").args(["-c", "command -v \"$0\"", &program]).output();
    if !there.is_ok_and(|found| found.status.success()) {
        return Err(format!("{program} is not there: {to_get_it}"));
    }
    let shown = format!("{command:?}");
    let output = run::start(command, "").wait(LIMIT);
    if output.exit == Some(0) {
        return Ok(output.stdout);
    }
    let said = format!("{}{}", output.stdout, output.stderr);
    // The sign alone: what stands beside it is another each time, and a ring is counted once.
    match OFFLINE.iter().find(|sign| said.contains(*sign)) {
        Some(sign) => Err(format!("no registry: {sign}")),
        None => panic!("{shown}: {said}"),
    }
}
