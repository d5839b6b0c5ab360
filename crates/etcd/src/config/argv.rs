//! The command line, by the grammar of Go's `flag` package.
//!
//! One dash or two; `-name value` or `-name=value`; a switch stands alone or with `=`; `--` ends
//! the flags; the last one of a name counts.

use std::ffi::OsString;

use super::{
    Refusal,
    given::{Given, Source},
    value,
};
use crate::flags::{self, Flag, Group, Kind};

/// A parsed command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) given: Given,
    /// What to do instead of starting a member.
    pub(super) asks: Option<Asks>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Help,
    Version,
}

pub(super) fn parse(arguments: &[OsString], groups: &'static [Group]) -> Result<Line, Refusal> {
    let mut line = Line::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let argument = text(argument)?;
        if argument == "--" {
            break;
        }
        let Some(body) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            return Err(stray(argument));
        };
        if body.is_empty() || body.starts_with(['-', '=']) {
            return Err(stray(argument));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        if let "help" | "h" = name {
            line.asks = Some(Asks::Help);
            return Ok(line);
        }
        let flag = find(groups, name)?;
        let value = match value {
            Some(value) => value,
            None if flag.stands_alone() => "true",
            None => text(rest.next().ok_or_else(|| needs_value(name))?)?,
        };
        set(&mut line.given, flag, value)?;
    }
    if let Some(argument) = rest.next() {
        return Err(stray(text(argument)?));
    }
    if line.given.switch("version") {
        line.asks = Some(Asks::Version);
    }
    Ok(line)
}

fn set(given: &mut Given, flag: &'static Flag, value: &str) -> Result<(), Refusal> {
    value::check(flag, value).map_err(|advice| {
        let value = base::url::shown(value);
        Refusal::Usage(format!("invalid value \"{value}\" for --{}: {advice}", flag.name))
    })?;
    let value = match given.get(flag.name) {
        Some((before, _)) if flag.kind == Kind::List => format!("{before},{value}"),
        Some(_) | None => value.to_owned(),
    };
    given.set(flag.name, value, Source::Line);
    Ok(())
}

fn find(groups: &'static [Group], name: &str) -> Result<&'static Flag, Refusal> {
    flags::find_in(groups, name).ok_or_else(|| {
        let hint = flags::nearest_in(groups, name).map(|near| format!(": did you mean --{near}?"));
        Refusal::Usage(format!("unknown flag --{name}{}", hint.unwrap_or_default()))
    })
}

fn needs_value(name: &str) -> Refusal {
    Refusal::Usage(format!("--{name} needs a value"))
}

fn stray(argument: &str) -> Refusal {
    Refusal::Stray(argument.to_owned())
}

fn text(argument: &OsString) -> Result<&str, Refusal> {
    argument.to_str().ok_or_else(|| {
        Refusal::Usage(format!("argument \"{}\" is no UTF-8", argument.to_string_lossy()))
    })
}
