//! Running cargo and other programs.

use std::{ffi::OsStr, process::Command};

use anyhow::{Context as _, Result, ensure};

/// The cargo that runs this.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs to the end, with our own input and output; fails if it fails.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = show(&command);
    let status = command.status().with_context(|| format!("start {shown}"))?;
    ensure!(status.success(), "{shown}: {status}");
    Ok(())
}

/// The command line, for messages.
pub(crate) fn show(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    // The program's directory says nothing to a reader.
    let line = words.join(" ");
    line.rsplit_once("/cargo ").map_or(line.clone(), |(_, rest)| format!("cargo {rest}"))
}
