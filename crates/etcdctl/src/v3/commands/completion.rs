//! `completion`

use std::ffi::OsString;

use clap::{Args, CommandFactory as _};
use clap_complete::{Generator, Shell};

use super::text;
use crate::{
    failure::{Exit, Failure},
    v3::{cli::Cli, output, refuse},
};

/// Print a script that completes commands and flags in a shell
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdctl completion <bash|zsh|fish|powershell|elvish>",
    after_help = "Examples:\n  \
        source <(etcdctl completion bash)\n  \
        etcdctl completion bash > /etc/bash_completion.d/etcdctl\n  \
        etcdctl completion zsh > \"${fpath[1]}/_etcdctl\"\n  \
        etcdctl completion fish > ~/.config/fish/completions/etcdctl.fish"
)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_name = "SHELL", num_args = 0..)]
    arguments: Vec<OsString>,
}

/// What users are to know of the grammar: scripts would offer hidden commands too.
fn visible() -> clap::Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|one| !one.is_hide_set()).cloned();
    let mut grammar = clap::Command::new("etcdctl")
        .version(base::version::PRODUCT)
        .disable_version_flag(true)
        .args(all.get_arguments().cloned())
        .subcommands(commands);
    grammar.set_bin_name("etcdctl");
    grammar.build();
    grammar
}

impl Completion {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let [shell] = &self.arguments[..] else {
            let count = self.arguments.len();
            return refuse(Exit::Error, format!("accepts 1 arg(s), received {count}"));
        };
        let name = text(shell)?;
        let shell = match name {
            "bash" => Shell::Bash,
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            "powershell" => Shell::PowerShell,
            "elvish" => Shell::Elvish,
            _ => {
                return refuse(
                    Exit::Error,
                    format!("invalid argument {name:?} for \"etcdctl completion\""),
                );
            }
        };
        let mut script = Vec::new();
        shell.generate(&visible(), &mut script);
        Ok(output::write(&script)?)
    }
}
