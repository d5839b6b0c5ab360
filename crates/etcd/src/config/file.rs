//! `--config-file`: YAML with the names of the flags as keys, as etcd 3 has it.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    Refusal,
    given::{Given, Source},
    value,
};
use crate::flags::{self, Kind};

/// Sections of the file have keys of their own; here are the flags that these stand for.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("ca-file", "ca-file"),
            ("crl-file", "client-crl-file"),
            ("auto-tls", "auto-tls"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("ca-file", "peer-ca-file"),
            ("crl-file", "peer-crl-file"),
            ("auto-tls", "peer-auto-tls"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("skip-client-san-verification", "peer-skip-client-san-verification"),
        ],
    ),
    (
        "socket-options",
        &[("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")],
    ),
    (
        "discovery-config",
        &[
            ("token", "discovery-token"),
            ("client.endpoints", "discovery-endpoints"),
            ("client.dial-timeout", "discovery-dial-timeout"),
            ("client.request-timeout", "discovery-request-timeout"),
            ("client.keepalive-time", "discovery-keepalive-time"),
            ("client.keepalive-timeout", "discovery-keepalive-timeout"),
            ("client.secure.cert", "discovery-cert"),
            ("client.secure.key", "discovery-key"),
            ("client.secure.cacert", "discovery-cacert"),
            ("client.secure.insecure-transport", "discovery-insecure-transport"),
            ("client.secure.insecure-skip-tls-verify", "discovery-insecure-skip-tls-verify"),
            ("client.auth.username", "discovery-user"),
            ("client.auth.password", "discovery-password"),
        ],
    ),
];

pub(super) fn read(path: &Path) -> Result<Given, Refusal> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Refusal::Conflict(format!("read --config-file {}: {error}", path.display()))
    })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Given, Refusal> {
    let mut given = Given::default();
    for (key, value) in mapping(text, path)? {
        let section = SECTIONS.iter().find(|(name, _)| *name == key);
        match (section, value) {
            (Some(_), Value::Null) => {}
            (Some((name, keys)), Value::Object(inner)) => {
                for (key, value) in flattened(inner) {
                    let flag = keys.iter().find(|(inside, _)| *inside == key);
                    let written = format!("{name}.{key}");
                    set(&mut given, path, (&written, flag.map(|(_, flag)| *flag)), &value)?;
                }
            }
            (Some(_), _) => return Err(refuse(path, &key, "give keys and values")),
            (None, value) => set(&mut given, path, (&key, Some(&key)), &value)?,
        }
    }
    Ok(given)
}

/// What lies in sections of a section, with their names in front.
fn flattened(section: Map<String, Value>) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (key, value) in section {
        if let Value::Object(inner) = value {
            let inner = flattened(inner).into_iter();
            flat.extend(inner.map(|(inside, value)| (format!("{key}.{inside}"), value)));
        } else {
            flat.push((key, value));
        }
    }
    flat
}

fn mapping(text: &str, path: &Path) -> Result<Map<String, Value>, Refusal> {
    let refuse =
        |what: &str| Refusal::Conflict(format!("read --config-file {}: {what}", path.display()));
    // Of the words for true and false only two are taken as such: `y` may be somebody's name.
    let options = serde_saphyr::options! { strict_booleans: true };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(Value::Object(mapping)) => Ok(mapping),
        // A file of comments only.
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(refuse("it is no mapping: write lines of the form `name: value`")),
        Err(error) => {
            let text = error.to_string();
            // What follows is advice to programmers.
            let end = text.find(['\n', ',', ';']).unwrap_or(text.len());
            let what = text.get(..end).unwrap_or(&text);
            Err(refuse(what.strip_prefix("error: ").unwrap_or(what)))
        }
    }
}

/// Takes one value. Keys that no flag has are left out with a warning, since the original skips
/// them.
fn set(
    given: &mut Given,
    path: &Path,
    (written, name): (&str, Option<&str>),
    value: &Value,
) -> Result<(), Refusal> {
    let Some(flag) = name.and_then(flags::find) else {
        let hint = flags::nearest(written).map(|near| format!(": did you mean {near}?"));
        let hint = hint.unwrap_or_default();
        given.warn(format!("unrecognized key {written} in {}{hint}", path.display()));
        return Ok(());
    };
    let Some(text) = scalar(value) else {
        return Err(refuse(path, written, "give one value, or a list of values"));
    };
    let text = match (flag.kind, text.to_ascii_lowercase().as_str()) {
        (Kind::Switch, "yes" | "on" | "y") => "true".to_owned(),
        (Kind::Switch, "no" | "off" | "n") => "false".to_owned(),
        // In a file of the original a duration is a number of nanoseconds.
        (Kind::Duration, digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{digits}ns")
        }
        _ => text,
    };
    // `data-dir:` and `data-dir: ""` mean the default.
    if text.is_empty() {
        return Ok(());
    }
    value::check(flag, &text).map_err(|advice| {
        refuse(path, written, &format!("\"{text}\" is no value for it: {advice}"))
    })?;
    given.set(flag.name, text, Source::File(path.to_owned()));
    Ok(())
}

/// A value as it would stand on the command line; a list with commas between.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        Value::Array(values) => {
            let values: Option<Vec<_>> = values.iter().map(scalar).collect();
            values.map(|values| values.join(","))
        }
        Value::Object(_) => None,
    }
}

fn refuse(path: &Path, key: &str, advice: &str) -> Refusal {
    Refusal::Conflict(format!("{key} in {}: {advice}", path.display()))
}

#[cfg(test)]
mod tests;
