//! Fuzzing: libFuzzer looks for inputs that `fuzz/targets` cannot take.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo::{cargo, run};

/// All of them.
const TARGETS: [&str; 6] = ["form", "json", "messages", "log", "bbolt", "directory"];
const DIR: &str = "target/fuzz";
const SECONDS: u64 = 60;
/// What tells libFuzzer where a run has been: as cargo-fuzz gives it, without a sanitizer, of which code
/// without `unsafe` has no need.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// `[--seconds N] [--corpus DIR] [TARGET…]`: runs each for so long, and fails with how to replay what
/// was found.
pub(crate) fn fuzz(rest: &[String]) -> Result<()> {
    let (mut seconds, mut kept, mut named) = (SECONDS, Path::new(DIR).join("corpus"), rest);
    while let [flag, value, behind @ ..] = named {
        match flag.as_str() {
            "--seconds" => seconds = value.parse().context("--seconds takes a number")?,
            "--corpus" => kept = value.into(),
            _ => break,
        }
        named = behind;
    }
    for name in named {
        ensure!(TARGETS.contains(&&**name), "there is no target {name}: there are {TARGETS:?}");
    }
    let host = host()?;
    let mut build = cargo(["build", "--release", "--quiet", "--manifest-path", "fuzz/Cargo.toml"]);
    build.args(["--target-dir", DIR, "--target", &host]).env("RUSTFLAGS", FLAGS);
    run(build).context("it takes a C++ compiler")?;
    let programs = Path::new(DIR).join(host).join("release");
    let is_meant = |target: &&&str| named.is_empty() || named.iter().any(|name| name == **target);
    let mut broken = Vec::new();
    for target in TARGETS.iter().filter(is_meant) {
        // What was found worth keeping goes on from there the next time.
        let corpus = kept.join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;
        println!("fuzz {target}: {seconds} s");
        let program = programs.join(target);
        let mut command = Command::new(&program);
        command.args([&format!("-max_total_time={seconds}"), "-timeout=20", "-rss_limit_mb=2048"]);
        command.args(["-verbosity=0", "-print_final_stats=1", "-max_len=8192", "-len_control=10"]);
        command.arg(format!("-artifact_prefix={DIR}/{target}-")).arg(&corpus);
        if let Err(error) = run(command) {
            println!("{error}: replay it with {} {DIR}/{target}-…", program.display());
            broken.push(*target);
        }
    }
    if broken.is_empty() { Ok(()) } else { bail!("inputs were found for {}", broken.join(", ")) }
}

/// As rustc names this machine.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names its host")?.to_owned())
}
