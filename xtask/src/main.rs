//! Repository chores: `cargo xtask` lists them. They need nothing but cargo and a C compiler.

mod cargo;
mod cluster;
mod deb;
mod fuzz;
mod image;
mod suite;
mod tidy;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use cargo::{cargo, run};

const USAGE: &str = "\
cargo xtask <chore>

  verify               formatting, lints, rows, sizes; writes nothing
  fix                  formats, and carries out what clippy proposes
  test [ARGS]          builds and runs all tests (ARGS as for cargo test)
  tidy                 rows of crates, owners of dependencies, sizes, documents
  sim [SEED]           simulates 1,000 seeds (--seeds N), or one with every step printed
  bench [--against DIR] [ARGS]
                       measures ours, the etcd in DIR (of several the better one counts) and ceilings in turn:
                       docs/performance/yardstick.md; --quick, --only, --rounds; or `bench COMMAND`
  instructions [--accept]
                       counts the instructions of requests under callgrind, and compares them with those known
  cluster [ETCD]       starts three members on this machine, until Ctrl-C
  deb [--dev]          builds a Debian package, with completions and manual pages
  fuzz [--seconds N] [--corpus DIR] [TARGET]
                       looks for inputs that parsers cannot take, a minute for each
  image [--dev] [NAME] builds static binaries, and a container image of them
  ci                   verify and test; a test that cannot run fails
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = match arguments.split_first() {
        Some((chore, rest)) => (chore.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    match carry_out(chore, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {chore}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(chore: &str, rest: &[String]) -> Result<()> {
    std::env::set_current_dir(root()?).context("enter the repository")?;
    match chore {
        "verify" => verify(),
        "fix" => fix(),
        "test" => suite::test(rest, false),
        "tidy" => tidy::check(),
        "sim" => sim(rest),
        "bench" => bench(rest),
        "instructions" => instructions(rest),
        "cluster" => cluster::start(rest),
        cluster::MEMBER => cluster::become_member(rest),
        "deb" => deb::build(rest),
        "fuzz" => fuzz::fuzz(rest),
        "image" => image::build(rest),
        "ci" => verify().and_then(|()| suite::test(rest, true)),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("there is no such chore\n{USAGE}"),
    }
}

fn root() -> Result<&'static std::path::Path> {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the repository")
}

/// All that can be said without running the product. The quickest comes first.
fn verify() -> Result<()> {
    tidy::check()?;
    run(cargo(["fmt", "--all", "--check"])).context("cargo xtask fix formats")?;
    run(cargo(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    // What only the build has that says to be a version on.
    let next = ["--package", "etcd", "--features", "next-version"];
    run(cargo([&["clippy", "--quiet"], &next[..], &["--", "-D", "warnings"]].concat()))
}

fn fix() -> Result<()> {
    run(cargo(["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty"]))?;
    run(cargo(["fmt", "--all"]))?;
    tidy::check()
}

fn sim(rest: &[String]) -> Result<()> {
    let mut command = cargo(["run", "--profile", "sim", "--quiet", "--package", "sim", "--"]);
    match rest {
        // A seed alone replays it.
        [seed] if seed.parse::<u64>().is_ok() => command.args(["--seed", seed]),
        rest => command.args(rest),
    };
    run(command)
}

fn bench(rest: &[String]) -> Result<()> {
    run(cargo(["build", "--release", "--package", "etcd", "--package", "bench"]))?;
    let mut command = cargo(["run", "--release", "--quiet", "--package", "bench", "--"]);
    // What is no command of the load generator is meant for the yardstick.
    if rest.first().is_none_or(|first| first.starts_with('-')) {
        command.arg("yardstick");
    }
    command.args(rest);
    run(command)
}

/// The server is built as the simulation is: optimised, and soon enough for CI.
fn instructions(rest: &[String]) -> Result<()> {
    run(cargo(["build", "--profile", "sim", "--package", "etcd", "--bin", "etcd"]))?;
    let mut command = cargo(["run", "--quiet", "--package", "bench", "--", "instructions"]);
    command.args(rest);
    run(command)
}
