//! The grammar of the command line, and what is said of a line that has another.

use std::{ffi::OsString, time::Duration};

use clap::{ArgAction, Args, CommandFactory as _, Parser, error::ErrorKind};
use commandline::{Exit, Failure};

use crate::commands::Command;

/// A command line, read.
#[derive(Debug, Parser)]
#[command(
    name = "etcdutl",
    version = concat!("version ", env!("CARGO_PKG_VERSION"), " (retcd)"),
    about = "Works on etcd's files, where no server is asked.",
    override_usage = "etcdutl <COMMAND> [FLAGS] [ARGUMENTS]",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    infer_subcommands = true,
    args_override_self = true,
    max_term_width = 100,
    after_help = "Flags may stand before or after the command and its arguments. A command may be \
        shortened as long as it is clear which one is meant.\n\n\
        Examples:\n  \
        etcdutl snapshot status backup.db -w table\n  \
        etcdutl snapshot restore backup.db --data-dir /var/lib/etcd\n  \
        etcdutl help snapshot restore\n\n\
        Exit codes: 0 success, 1 refused or failed, 4 a value that a flag does not have, 128 wrong \
        arguments."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags that every command has.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Flags of every command")]
pub(crate) struct Globals {
    /// How to print answers
    #[arg(
        short = 'w',
        long,
        global = true,
        value_name = "fields|json|protobuf|simple|table",
        default_value = "simple",
        allow_hyphen_values = true
    )]
    pub(crate) write_out: String,
    /// How long to wait for data that another process has; 0 is for ever
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s",
        value_parser = base::duration::parse)]
    pub(crate) timeout: Duration,
    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// The whole grammar, built, so that it knows `--help` and `help` too.
pub(crate) fn grammar() -> clap::Command {
    let mut grammar = Cli::command();
    grammar.build();
    grammar
}

impl Cli {
    /// Reads arguments, the program's name first. An error may be a wish for help.
    pub(crate) fn read(arguments: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }
}

/// Prints help or the version, or says what is wrong with the arguments.
pub(crate) fn answer(outcome: &clap::Error) -> Result<(), Failure> {
    let asked_for = matches!(
        outcome.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !asked_for {
        return Err(Failure::new(Exit::Error, commandline::refusal("etcdutl", outcome)));
    }
    let text = outcome.render().to_string();
    Ok(commandline::output::write(format!("{}\n", text.trim_end()).as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split_whitespace().map(OsString::from).collect())
    }

    fn refused(line: &str) -> String {
        commandline::refusal("etcdutl", &read(line).expect_err(line))
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_the_original_is_known_wherever_it_stands() {
        for line in [
            "etcdutl snapshot status f -w json",
            "etcdutl -wjson snapshot status f",
            "etcdutl --write-out=json snapshot status f",
            "etcdutl snap stat f --timeout 3s",
            "etcdutl snapshot restore f --name n --initial-cluster n=http://a:1 \
             --initial-cluster-token t --initial-advertise-peer-urls http://a:1 --data-dir d \
             --wal-dir w --skip-hash-check --bump-revision 5 --mark-compacted \
             --initial-memory-map-size 0x10",
            "etcdutl snapshot restore --skip-hash-check=false --mark-compacted=true f",
            "etcdutl hashkv f --rev 5",
            "etcdutl hashkv --rev -1 f",
            "etcdutl defrag --data-dir d",
            "etcdutl migrate --data-dir d --target-version 3.5 --force",
            "etcdutl completion bash",
            "etcdutl version",
        ] {
            let refused = read(line).err().map(|outcome| outcome.to_string());
            assert_eq!(refused, None, "{line}");
        }
    }

    #[test]
    fn wrong_arguments_are_told_as_by_the_original() {
        for (line, said) in [
            ("etcdutl nonsense", "unknown command \"nonsense\" for \"etcdutl\""),
            ("etcdutl defrag --nonsense", "unknown flag: --nonsense"),
            ("etcdutl defrag", "required flag(s) \"data-dir\" not set"),
            ("etcdutl migrate", "required flag(s) \"data-dir\", \"target-version\" not set"),
            ("etcdutl hashkv f --rev", "flag needs an argument: --rev"),
            (
                "etcdutl hashkv f --rev x",
                "invalid argument \"x\" for \"--rev\" flag: strconv.ParseInt: parsing \"x\": invalid \
                 syntax",
            ),
        ] {
            let problem = refused(line);
            assert!(problem.contains(said), "{line}: {problem}");
        }
    }

    #[test]
    fn every_command_shows_an_example() {
        let grammar = grammar();
        let own = |command: &&clap::Command| command.get_name() != "help";
        let mut leaves = Vec::new();
        for command in grammar.get_subcommands().filter(own) {
            let below: Vec<_> = command.get_subcommands().filter(own).collect();
            leaves.extend(if below.is_empty() { vec![command] } else { below });
        }
        assert!(leaves.len() >= 8, "{}", leaves.len());
        for command in leaves {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Example"), "{}: {help}", command.get_name());
        }
    }
}
