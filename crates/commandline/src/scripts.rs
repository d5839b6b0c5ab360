//! Scripts that complete commands and flags in a shell.

use std::ffi::OsString;

use clap_complete::{Generator as _, Shell};

use crate::{Exit, Failure, go};

/// The script for the shell that the only argument names.
pub fn of(
    program: &'static str,
    grammar: &clap::Command,
    arguments: &[OsString],
) -> Result<Vec<u8>, Failure> {
    let [shell] = arguments else {
        let count = arguments.len();
        return Err(Failure::new(Exit::Error, format_args!("accepts 1 arg(s), received {count}")));
    };
    let shell = match shell.to_str() {
        Some("bash") => Shell::Bash,
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        Some("powershell") => Shell::PowerShell,
        Some("elvish") => Shell::Elvish,
        _ => {
            let name = go::quote(shell.as_encoded_bytes());
            let why = format!("invalid argument {name} for \"{program} completion\"");
            return Err(Failure::new(Exit::Error, why));
        }
    };
    let mut script = Vec::new();
    shell.generate(&visible(program, grammar), &mut script);
    Ok(script)
}

/// What users are to know of the grammar: scripts would offer hidden commands too.
fn visible(program: &'static str, all: &clap::Command) -> clap::Command {
    let commands = all.get_subcommands().filter(|one| !one.is_hide_set()).cloned();
    let mut grammar = clap::Command::new(program)
        .version(base::version::PRODUCT)
        .disable_version_flag(true)
        .args(all.get_arguments().cloned())
        .subcommands(commands);
    grammar.set_bin_name(program);
    grammar.build();
    grammar
}
