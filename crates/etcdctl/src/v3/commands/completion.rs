//! `completion`

use std::ffi::OsString;

use clap::{Args, CommandFactory as _};

use crate::{
    failure::Failure,
    v3::{cli::Cli, output},
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

impl Completion {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        Ok(output::write(&commandline::scripts::of("etcdctl", &Cli::command(), &self.arguments)?)?)
    }
}
