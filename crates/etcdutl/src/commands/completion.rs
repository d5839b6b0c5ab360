//! `completion`

use std::ffi::OsString;

use clap::{Args, CommandFactory as _};
use commandline::{Failure, output, scripts};

use crate::cli::Cli;

/// Print a script that completes commands and flags in a shell
#[derive(Args, Debug)]
#[command(
    override_usage = "etcdutl completion <bash|zsh|fish|powershell|elvish>",
    after_help = "Examples:\n  \
        source <(etcdutl completion bash)\n  \
        etcdutl completion bash > /etc/bash_completion.d/etcdutl\n  \
        etcdutl completion zsh > \"${fpath[1]}/_etcdutl\"\n  \
        etcdutl completion fish > ~/.config/fish/completions/etcdutl.fish"
)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_name = "SHELL", num_args = 0..)]
    arguments: Vec<OsString>,
}

impl Completion {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        Ok(output::write(&scripts::of("etcdutl", &Cli::command(), &self.arguments)?)?)
    }
}
