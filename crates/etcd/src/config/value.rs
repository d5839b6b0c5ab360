//! Values of flags: which are well-formed, which are the same.

use base::url;

use crate::flags::{Flag, Kind, gates};

/// Says what is wrong with a value of `flag`, if anything is.
pub(crate) fn check(flag: &Flag, value: &str) -> Result<(), String> {
    match flag.kind {
        Kind::Text | Kind::List => Ok(()),
        Kind::Switch => switch(value).map(drop).ok_or_else(|| "give true or false".to_owned()),
        Kind::Count => well_formed(value.parse::<u64>().is_ok(), "give a number"),
        Kind::Number => well_formed(value.parse::<i64>().is_ok(), "give a number"),
        Kind::OneOf(words) => {
            well_formed(words.contains(&value), &format!("give one of {}", words.join(", ")))
        }
        Kind::Urls => url::parse_list(value).map(drop),
        Kind::ClientUrls => url::parse_list_for_clients(value).map(drop),
        Kind::Origins => origins(value).map(drop),
        Kind::Duration => base::duration::parse(value).map(drop),
        Kind::Gates => gates::parse(value).map(drop),
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

/// Origins with commas between. What could never match an `Origin` header is refused.
pub(crate) fn origins(value: &str) -> Result<Vec<String>, String> {
    let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
    let checked = parts.map(|part| {
        let advice =
            format!("\"{part}\" is no origin: write * or, for example, http://example.com");
        is_origin(part).then(|| part.to_owned()).ok_or(advice)
    });
    checked.collect()
}

/// `*`, `null` (which browsers send for files), or `scheme://host[:port]` and nothing more.
fn is_origin(part: &str) -> bool {
    let Some((scheme, rest)) = part.split_once("://") else { return matches!(part, "*" | "null") };
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let in_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@".contains(&byte);
    let is_all = |text: &str, is: fn(u8) -> bool| !text.is_empty() && text.bytes().all(is);
    is_all(scheme, in_scheme) && is_all(rest, in_host)
}

/// Whether a value says no more than the flag's default.
pub(crate) fn same(flag: &Flag, value: &str) -> bool {
    match flag.kind {
        Kind::Switch => switch(value) == switch(flag.default),
        Kind::Duration => {
            let parsed = |text: &str| base::duration::parse(text).unwrap_or_default();
            value.is_empty() || parsed(value) == parsed(flag.default)
        }
        Kind::Text
        | Kind::Count
        | Kind::Number
        | Kind::OneOf(_)
        | Kind::Urls
        | Kind::ClientUrls
        | Kind::Origins
        | Kind::Gates
        | Kind::List
        | Kind::Address => value == flag.default || value.is_empty(),
    }
}
