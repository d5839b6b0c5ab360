//! Runs seeds: `sim [--seeds N] [--from SEED] [--seed SEED] [--sabotage NAME]`.
//!
//! `--seed` runs one with every step printed. A violation ends the run with the command that
//! replays it.

use std::process::ExitCode;

use sim::{Options, Report, Sabotage};

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]
fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!(
                "sim: {text}\nusage: sim [--seeds N] [--from SEED] [--seed SEED] [--sabotage acknowledge|cut|forget]"
            );
            return ExitCode::from(2);
        }
    };
    let mut total = Report::default();
    for seed in arguments.from..arguments.from + arguments.seeds {
        match sim::run(seed, arguments.options) {
            Ok(report) => add(&mut total, report),
            Err(violation) => {
                eprintln!("seed {seed}: {violation}");
                eprintln!("replay: cargo run --release -p sim -- --seed {seed}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{} seeds held: {} steps, {} writes sent, {} acknowledged, {} losses of power, {} cuts, \
         {} elections, {} changes of members, {} snapshots",
        arguments.seeds,
        total.steps,
        total.sent,
        total.acknowledged,
        total.crashes,
        total.cuts,
        total.elections,
        total.changes,
        total.installs
    );
    ExitCode::SUCCESS
}

struct Arguments {
    from: u64,
    seeds: u64,
    options: Options,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { from: 0, seeds: 1_000, options: Options::default() };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{flag} {value}: {error}"));
        match flag.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--from" => arguments.from = number()?,
            "--seed" => {
                (arguments.from, arguments.seeds) = (number()?, 1);
                arguments.options.trace = true;
            }
            "--sabotage" => arguments.options.sabotage = Some(sabotage(&value)?),
            _ => return Err(format!("no such flag: {flag}")),
        }
    }
    Ok(arguments)
}

fn sabotage(name: &str) -> Result<Sabotage, String> {
    match name {
        "acknowledge" => Ok(Sabotage::AcknowledgeBeforeSync),
        "cut" => Ok(Sabotage::CutBeforeFlush),
        "forget" => Ok(Sabotage::ForgetHardState),
        _ => Err(format!("no such sabotage: {name}")),
    }
}

fn add(total: &mut Report, report: Report) {
    total.steps += report.steps;
    total.sent += report.sent;
    total.acknowledged += report.acknowledged;
    total.crashes += report.crashes;
    total.cuts += report.cuts;
    total.elections += report.elections;
    total.changes += report.changes;
    total.installs += report.installs;
}
