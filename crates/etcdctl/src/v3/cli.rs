//! The grammar of the command line with API 3, and what is said of a line that has another.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{
    ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, error::ErrorKind,
    parser::ValueSource,
};

use super::{commands::Command, go};
use crate::{
    argv::{Arranged, Environment},
    failure::{Exit, Failure},
};

/// A command line, read.
#[derive(Debug, Parser)]
#[command(
    name = "etcdctl",
    version = concat!("version ", env!("CARGO_PKG_VERSION"), " (retcd)"),
    about = "Reads, writes and watches the keys of an etcd cluster (v3 API), and looks after it.",
    override_usage = "etcdctl [FLAGS] <COMMAND> [FLAGS] [ARGUMENTS]",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    args_override_self = true,
    max_term_width = 100,
    after_help = "Flags may stand before or after the command and its arguments. What follows -- \
        is never a flag. A command may be shortened as long as it is clear which one is meant. \
        Each flag of every command has a variable too: ETCDCTL_ENDPOINTS for --endpoints.\n\n\
        Examples:\n  \
        etcdctl put message Hello\n  \
        etcdctl --endpoints 10.0.0.1:2379,10.0.0.2:2379 get --prefix services/\n  \
        etcdctl help watch\n\n\
        Exit codes: 0 success, 1 refused or failed, 2 no connection, 3 input that cannot be read, \
        4 a value that a flag does not have, 5 interrupted, 128 wrong arguments."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How many arguments stood before `--`.
    #[arg(skip)]
    pub(crate) separated: Option<usize>,
}

/// The flags that every command has.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown, reason = "these are the texts of --help")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(next_help_heading = "Flags of every command")]
pub(crate) struct Globals {
    /// Where the cluster is reached, separated by commas: URLs or HOST:PORT
    #[arg(long, value_name = "ENDPOINTS", default_value = "127.0.0.1:2379", action = ArgAction::Append)]
    pub(crate) endpoints: Vec<String>,
    /// How to print answers
    #[arg(
        short = 'w',
        long,
        value_name = "fields|json|protobuf|simple|table",
        default_value = "simple",
        hide_possible_values = true
    )]
    pub(crate) write_out: String,
    /// Print bytes and ids in hexadecimal
    #[arg(long)]
    pub(crate) hex: bool,
    /// How long a command may take; those that go on by nature have no limit
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = base::duration::parse)]
    pub(crate) command_timeout: Duration,
    /// How long connecting to an endpoint may take
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = base::duration::parse)]
    pub(crate) dial_timeout: Duration,
    /// Ask a connection for a sign of life after so much silence
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = base::duration::parse)]
    pub(crate) keepalive_time: Duration,
    /// Give a connection up that does not give it in time
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = base::duration::parse)]
    pub(crate) keepalive_timeout: Duration,
    /// The largest request to send, in bytes; 0 is 2 MiB
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = go::flag_int)]
    pub(crate) max_request_bytes: i64,
    /// The largest answer to take, in bytes; 0 is 2 GiB
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = go::flag_int)]
    pub(crate) max_recv_bytes: i64,
    /// Without TLS, where an endpoint has no scheme and no certificate is given
    #[arg(long, value_name = "true|false", default_value = "true", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_possible_values = true)]
    pub(crate) insecure_transport: bool,
    /// Take endpoints without TLS from SRV records
    #[arg(long, value_name = "true|false", default_value = "true", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_possible_values = true)]
    pub(crate) insecure_discovery: bool,
    /// Take any server for the one it says it is (for tests only)
    #[arg(long)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Client certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<String>,
    /// Key of the client certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<String>,
    /// Certificates of authorities to trust [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<String>,
    /// User to act as; asks for the password if it is left out
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    pub(crate) user: Option<String>,
    /// The user's password
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
    /// A JWT to act with, instead of user and password
    #[arg(long, value_name = "TOKEN")]
    pub(crate) auth_jwt_token: Option<String>,
    /// Domain whose SRV records name the endpoints
    #[arg(short = 'd', long, value_name = "DOMAIN")]
    pub(crate) discovery_srv: Option<String>,
    /// Service name in those records
    #[arg(long, value_name = "NAME")]
    pub(crate) discovery_srv_name: Option<String>,
    /// Tell what happens to connections on stderr
    #[arg(long)]
    pub(crate) debug: bool,
    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    /// Whether the command's timeout was given.
    #[arg(skip)]
    pub(crate) command_timeout_given: bool,
}

/// The whole grammar, built, so that it knows `--help` and `help` too.
pub(crate) fn grammar() -> clap::Command {
    let mut grammar = Cli::command();
    grammar.build();
    grammar
}

/// Variables that are not flags of every command.
const OTHER_VARIABLES: [&str; 3] = ["ETCDCTL_API", "ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"];
/// Names that API 2 has for what API 3 has too.
const OLD_VARIABLES: [(&str, &str); 5] = [
    ("ETCDCTL_ENDPOINT", "endpoints"),
    ("ETCDCTL_PEERS", "endpoints"),
    ("ETCDCTL_CERT_FILE", "cert"),
    ("ETCDCTL_KEY_FILE", "key"),
    ("ETCDCTL_CA_FILE", "cacert"),
];

/// What the environment gives for flags, in the order in which it is to be overridden.
pub(crate) fn environment(
    grammar: &clap::Command,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Environment {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let flags = grammar.get_arguments().filter_map(clap::Arg::get_long);
    let flags = flags.filter(|flag| !["help", "version"].contains(flag));
    let old = |flag: &str| {
        OLD_VARIABLES.iter().filter(|(_, of)| *of == flag).find_map(|(name, _)| given(name))
    };
    flags
        .filter_map(|flag| Some((flag.to_owned(), given(&name(flag)).or_else(|| old(flag))?)))
        .collect()
}

fn name(flag: &str) -> String {
    format!("ETCDCTL_{}", flag.replace('-', "_").to_uppercase())
}

/// Variables that look as if they were for us and mean nothing.
pub(crate) fn strange_variables(grammar: &clap::Command) -> Vec<String> {
    let flags: Vec<_> = grammar.get_arguments().filter_map(clap::Arg::get_long).map(name).collect();
    let known = |found: &str| {
        flags.iter().map(String::as_str).chain(OTHER_VARIABLES).any(|name| name == found)
            || OLD_VARIABLES.iter().any(|(name, _)| *name == found)
            // Of API 2; a shell may well have both.
            || ["ETCDCTL_USERNAME", "ETCDCTL_CLUSTER"].contains(&found)
    };
    let all = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    all.filter(|name| name.starts_with("ETCDCTL_") && !known(name)).collect()
}

impl Cli {
    /// Reads arguments that have been arranged. An error may be a wish for help.
    pub(crate) fn read(grammar: clap::Command, arranged: Arranged) -> Result<Self, clap::Error> {
        let matches = grammar.try_get_matches_from(arranged.words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let source = matches.value_source("command_timeout");
        cli.globals.command_timeout_given = source == Some(ValueSource::CommandLine);
        cli.separated = arranged.separated;
        Ok(cli)
    }

    /// Carries the command out.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        super::commands::run(self).await
    }
}

/// Prints help or the version, or says what is wrong with the arguments.
pub(crate) fn answer(outcome: &clap::Error) -> Result<ExitCode, Failure> {
    let asked_for = matches!(
        outcome.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if !asked_for {
        return Err(Failure::v3(Exit::Error, commandline::refusal("etcdctl", outcome)));
    }
    crate::output::line(outcome.render().to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::argv;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        let grammar = grammar();
        let words = line.split_whitespace().map(OsString::from).collect();
        let arranged = argv::arrange_v3(&grammar, words, Vec::new());
        Cli::read(grammar, arranged)
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_arguments_are_told_as_by_the_original() {
        for (line, said) in [
            (
                "etcdctl nonsense",
                "unknown command \"nonsense\" for \"etcdctl\"\nRun 'etcdctl --help' for usage.",
            ),
            ("etcdctl putt a b", "Did you mean this?\n\tput\n"),
            ("etcdctl get k --nonsense", "unknown flag: --nonsense"),
            ("etcdctl get k --prefx", "(did you mean --prefix?)"),
            ("etcdctl get k --limit", "flag needs an argument: --limit"),
            (
                "etcdctl get k --limit x",
                "invalid argument \"x\" for \"--limit\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                "etcdctl --command-timeout 5 get k",
                "for \"--command-timeout\" flag: a duration like",
            ),
            (
                "etcdctl user add u --interactive=maybe",
                "invalid argument \"maybe\" for \"--interactive\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "etcdctl put --prev-kv=maybe a b",
                "invalid argument \"maybe\" for \"--prev-kv\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            let problem = commandline::refusal("etcdctl", &read(line).expect_err(line));
            assert!(problem.contains(said), "{line}: {problem}");
        }
    }

    #[test]
    fn every_flag_of_every_command_of_the_original_is_known() {
        let rows = include_str!("cli/original.txt").lines().filter(|row| !row.starts_with('#'));
        let mut count = 0;
        for (command, flags) in rows.filter_map(|row| row.split_once(": ")) {
            for flag in flags.split(' ') {
                let line = format!("etcdctl {command} --{flag}");
                if let Err(outcome) = read(&line) {
                    panic!("{line}: {}", commandline::refusal("etcdctl", &outcome));
                }
                count += 1;
            }
        }
        assert!(count > 80, "{count}");
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
        assert_eq!(leaves.len(), 56);
        for command in leaves {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Example"), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn old_names_of_variables_count_where_there_is_no_new_one() {
        let found = |variables: &'static [(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let flags = environment(&grammar(), variable);
            let shown =
                |(flag, value): (String, OsString)| format!("{flag}={}", value.to_string_lossy());
            flags.into_iter().map(shown).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found(&[("ETCDCTL_ENDPOINT", "old")]), "endpoints=old");
        assert_eq!(
            found(&[("ETCDCTL_ENDPOINT", "old"), ("ETCDCTL_ENDPOINTS", "new")]),
            "endpoints=new"
        );
        assert_eq!(found(&[("ETCDCTL_CA_FILE", "ca"), ("ETCDCTL_USER", "")]), "cacert=ca");
    }
}
