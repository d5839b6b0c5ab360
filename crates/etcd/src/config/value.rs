//! Values of flags: which are well-formed, which are the same.

use super::urls;
use crate::flags::{Flag, Kind};

/// Says what is wrong with a value of `flag`, if anything is.
pub(crate) fn check(flag: &Flag, value: &str) -> Result<(), String> {
    match flag.kind {
        Kind::Text => Ok(()),
        Kind::Switch => switch(value).map(drop).ok_or_else(|| "give true or false".to_owned()),
        Kind::Count => well_formed(value.parse::<u64>().is_ok(), "give a number"),
        Kind::Number => well_formed(value.parse::<i64>().is_ok(), "give a number"),
        Kind::OneOf(words) => {
            well_formed(words.contains(&value), &format!("give one of {}", words.join(", ")))
        }
        Kind::Urls => urls::parse_list(value).map(drop),
        Kind::Address => well_formed(value.parse::<std::net::SocketAddr>().is_ok(), "give IP:port"),
    }
}

fn well_formed(is: bool, advice: &str) -> Result<(), String> {
    if is { Ok(()) } else { Err(advice.to_owned()) }
}

/// Go's words for true and false.
pub(crate) fn switch(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whether a value says no more than the flag's default.
pub(crate) fn same(flag: &Flag, value: &str) -> bool {
    match flag.kind {
        Kind::Switch => switch(value) == switch(flag.default),
        Kind::Text | Kind::Count | Kind::Number | Kind::OneOf(_) | Kind::Urls | Kind::Address => {
            value == flag.default || value.is_empty()
        }
    }
}
