//! `options`

use clap::Args;

use crate::{
    failure::Failure,
    v3::{cli, output},
};

/// Print the flags that every command has
#[derive(Args, Debug)]
#[command(override_usage = "etcdctl options", after_help = "Example:\n  etcdctl options")]
pub(crate) struct Options {
    #[arg(hide = true, num_args = 0..)]
    ignored: Vec<std::ffi::OsString>,
}

impl Options {
    pub(crate) fn run() -> Result<(), Failure> {
        let mut grammar = cli::grammar().help_template("{all-args}");
        let names: Vec<_> =
            grammar.get_subcommands().map(|one| one.get_name().to_owned()).collect();
        for name in names {
            grammar = grammar.mut_subcommand(name, |one| one.hide(true));
        }
        let help = grammar.render_help().to_string();
        let text =
            format!("The following options can be passed to any command:\n\n{}\n", help.trim());
        Ok(output::write(text.as_bytes())?)
    }
}
