//! What is wrong with a command line.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::go;

/// What is wrong, as the original's own reader of arguments says it.
pub fn refusal(program: &str, outcome: &clap::Error) -> String {
    let context = |kind| match outcome.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    // As clap shows it: with the name of its value.
    let flag = context(ContextKind::InvalidArg).map(|shown| {
        let end = shown.find([' ', '=', '[']).unwrap_or(shown.len());
        shown.get(..end).unwrap_or(shown)
    });
    match (outcome.kind(), flag, context(ContextKind::InvalidValue)) {
        (ErrorKind::InvalidSubcommand, ..) => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            unknown_command(program, name, context(ContextKind::SuggestedSubcommand))
        }
        (ErrorKind::UnknownArgument, Some(flag), _) => {
            let meant = context(ContextKind::SuggestedArg);
            let meant = meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
            format!("unknown flag: {flag}{meant}\nRun '{program} --help' for usage.")
        }
        (ErrorKind::InvalidValue, Some(flag), Some("")) => {
            format!("flag needs an argument: {flag}")
        }
        (
            ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::TooManyValues,
            Some(flag),
            Some(value),
        ) => {
            let why = std::error::Error::source(outcome).map(ToString::to_string);
            let why = why.or_else(|| go::flag_bool(value).err().filter(|_| is_of_bool(outcome)));
            let why = why.unwrap_or_else(|| "it is not one of those that there are".to_owned());
            format!("invalid argument {} for \"{flag}\" flag: {why}", go::quote(value.as_bytes()))
        }
        (ErrorKind::MissingRequiredArgument, ..) => required(outcome),
        _ => {
            let text = outcome.render().to_string();
            let text = text.trim_end();
            text.strip_prefix("error: ").unwrap_or(text).to_owned()
        }
    }
}

/// Whether it is about a flag that is on or off: it takes no value, or one of these two.
fn is_of_bool(outcome: &clap::Error) -> bool {
    match outcome.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => values.iter().eq(["true", "false"]),
        _ => outcome.kind() == ErrorKind::TooManyValues,
    }
}

/// Flags that are missing.
fn required(outcome: &clap::Error) -> String {
    let missing = match outcome.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(shown)) => shown.as_slice(),
        _ => &[],
    };
    let name = |shown: &String| {
        let shown = shown.trim_start_matches('-');
        let end = shown.find([' ', '=']).unwrap_or(shown.len());
        format!("\"{}\"", shown.get(..end).unwrap_or(shown))
    };
    let names: Vec<_> = missing.iter().map(name).collect();
    format!("required flag(s) {} not set", names.join(", "))
}

/// A command that there is not.
fn unknown_command(program: &str, name: &str, meant: Option<&str>) -> String {
    let name = go::quote(name.as_bytes());
    let meant = meant.map(|meant| format!("\n\nDid you mean this?\n\t{meant}\n"));
    let meant = meant.unwrap_or_default();
    format!("unknown command {name} for \"{program}\"{meant}\nRun '{program} --help' for usage.")
}
