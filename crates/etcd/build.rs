//! Tells the program which commit and which compiler it was built from, for `--version`.

use std::{ffi::OsStr, path::Path, process::Command};

fn main() {
    let commit = first_line("git", &["rev-parse", "--short=9", "HEAD"]);
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiler = first_line(compiler, &["--version"]);
    let compiler = compiler.as_deref().and_then(|line| line.split(' ').nth(1));
    println!("cargo::rustc-env=RETCD_COMMIT={}", commit.as_deref().unwrap_or("not known"));
    println!("cargo::rustc-env=RETCD_COMPILER={}", compiler.unwrap_or("not known"));
    println!("cargo::rerun-if-changed=build.rs");
    // Grows with each commit; absent where the sources came without their history.
    let moves = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git/logs/HEAD");
    if moves.exists() {
        println!("cargo::rerun-if-changed={}", moves.display());
    }
}

fn first_line(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().filter(|_| output.status.success()).map(str::to_owned)
}
