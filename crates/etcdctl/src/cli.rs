//! The grammar of the command line: the flags that every command has, and the commands.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use base::duration;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, error::ErrorKind};

use crate::{argv, commands::Command, output::Format};

/// A command line, read.
#[derive(Debug, Parser)]
#[command(
    name = "etcdctl",
    version = concat!("version ", env!("CARGO_PKG_VERSION"), " (retcd)"),
    about = "Reads, writes and watches the keys of an etcd cluster (v2 API), and looks after it.",
    override_usage = "etcdctl [FLAGS] <COMMAND> [FLAGS] [ARGUMENTS]",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    args_override_self = true,
    max_term_width = 100,
    after_help = "Flags may stand before or after the command and its arguments, with one dash or \
        two. What follows -- is never a flag.\n\n\
        API 3 has commands of its own, which need nothing more than their names: put, del, txn, \
        lease, lock, elect, tree, endpoint, snapshot, check and others. What both APIs have (get, \
        ls, watch, member) is API 2, unless a flag says otherwise or ETCDCTL_API=3 is set: \
        ETCDCTL_API=3 etcdctl help lists all of API 3.\n\n\
        Examples:\n  \
        etcdctl set /message Hello\n  \
        etcdctl --endpoints http://10.0.0.1:2379,http://10.0.0.2:2379 get /message\n  \
        etcdctl help watch\n\n\
        Exit codes: 0 success, 1 wrong arguments, 2 no connection, 4 refused or failed by the \
        cluster, 5 cluster not healthy."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags that every command has.
#[derive(Args, Debug)]
#[allow(clippy::doc_markdown, reason = "these are the texts of --help")]
#[command(next_help_heading = "Flags of every command")]
pub(crate) struct Globals {
    /// The cluster's client URLs, separated by commas
    /// [default: http://127.0.0.1:2379,http://127.0.0.1:4001] [env: ETCDCTL_ENDPOINTS]
    #[arg(long, value_name = "URLS")]
    pub(crate) endpoints: Option<String>,
    /// Old name of --endpoints [env: ETCDCTL_ENDPOINT]
    #[arg(long, value_name = "URLS")]
    pub(crate) endpoint: Option<String>,
    /// Old name of --endpoints [env: ETCDCTL_PEERS]
    #[arg(short = 'C', long, value_name = "URLS")]
    pub(crate) peers: Option<String>,
    /// Use the endpoints as given, without asking the cluster for its members first
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// How to print answers about keys: simple, extended or json
    #[arg(short, long, value_name = "FORMAT", default_value = "simple")]
    pub(crate) output: Format,
    /// How long one endpoint may take to begin its answer: 500ms, 2s, 1m30s; 0 is no limit
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// How long a request may take with all endpoints together (watches excepted); 0 is no limit
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    pub(crate) total_timeout: Duration,
    /// User to act as, NAME:PASSWORD; asks for the password if it is left out
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Print each request as a curl command to stderr
    #[arg(long)]
    pub(crate) debug: bool,
    /// Domain whose SRV records (_etcd-client-ssl._tcp, _etcd-client._tcp) name the endpoints
    /// [env: ETCDCTL_DISCOVERY_SRV]
    #[arg(short = 'D', long, value_name = "DOMAIN")]
    pub(crate) discovery_srv: Option<String>,
    /// Ask for _etcd-client-ssl-NAME._tcp and _etcd-client-NAME._tcp instead
    /// [env: ETCDCTL_DISCOVERY_SRV_NAME]
    #[arg(long, value_name = "NAME")]
    pub(crate) discovery_srv_name: Option<String>,
    /// Take endpoints of SRV records without TLS too; false ignores them, and the others must be
    /// certified for the domain [default: true] [env: ETCDCTL_INSECURE_DISCOVERY]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = boolean
    )]
    pub(crate) insecure_discovery: Option<bool>,
    /// Client certificate for https [env: ETCDCTL_CERT_FILE]
    #[arg(long, visible_alias = "cert", value_name = "FILE")]
    pub(crate) cert_file: Option<OsString>,
    /// Key of the client certificate [env: ETCDCTL_KEY_FILE]
    #[arg(long, visible_alias = "key", value_name = "FILE")]
    pub(crate) key_file: Option<OsString>,
    /// Certificates of authorities to trust for https [default: the system's] [env: ETCDCTL_CA_FILE]
    #[arg(long, visible_alias = "cacert", value_name = "FILE")]
    pub(crate) ca_file: Option<OsString>,
    /// Take any https server for the one it says it is (for tests only)
    #[arg(long)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    argv::parse_bool(text.as_ref()).ok_or("write true or false")
}

/// The whole grammar, built, so that it knows `--help` and `help` too.
pub(crate) fn grammar() -> clap::Command {
    let mut grammar = Cli::command();
    grammar.build();
    grammar
}

impl Cli {
    /// Reads arguments that have been arranged. An error may be a wish for help.
    pub(crate) fn read(grammar: clap::Command, words: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&grammar.try_get_matches_from(words)?)
    }
}

/// Prints help, the version, or what is wrong with the arguments.
pub(crate) fn answer(outcome: &clap::Error) -> ExitCode {
    // A reader who left early is no failure of ours.
    if outcome.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // clap takes this for an error; the original prints its help and is content.
        crate::output::line(outcome.render().to_string().trim_end()).ok();
        return ExitCode::SUCCESS;
    }
    outcome.print().ok();
    // Not clap's 2, which means "no connection" here.
    if outcome.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        let grammar = grammar();
        let words = line.split_whitespace().map(OsString::from).collect();
        let words = argv::arrange(&grammar, words).words;
        Cli::read(grammar, words)
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        let cli =
            read("etcdctl --timeout 1s get --timeout=3s k --no-sync --no-sync").expect("reads");
        assert_eq!(cli.globals.timeout, Duration::from_secs(3));
        assert!(cli.globals.no_sync);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, named) in [
            ("etcdctl get --nonsense k", "--nonsense"),
            ("etcdctl nonsense", "nonsense"),
            ("etcdctl --timeout abc get k", "1m30s"),
            ("etcdctl set k v --ttl x", "whole number"),
            ("etcdctl set k v --ttl", "a value is required"),
            ("etcdctl ls --sort=maybe", "maybe"),
        ] {
            let problem = read(line).expect_err(line).to_string();
            assert!(problem.contains(named), "{line}: {problem}");
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
        assert_eq!(leaves.len(), 33);
        for command in leaves {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Example"), "{}: {help}", command.get_name());
        }
    }
}
