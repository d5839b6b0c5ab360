//! `ETCD_*` variables: they count where the command line says nothing.

use std::collections::BTreeMap;

use super::{
    Refusal,
    given::{Given, Source},
    value,
};
use crate::flags;

/// What a variable's name has in it whose value is not to be shown.
const SECRETS: [&str; 3] = ["PASSWORD", "SECRET", "TOKEN"];

/// Adds what the environment has to what the command line has.
pub(super) fn add(
    mut given: Given,
    environment: &BTreeMap<String, String>,
) -> Result<Given, Refusal> {
    let mut known = BTreeMap::new();
    for flag in flags::all() {
        known.insert(flag.variable(), flag);
    }
    for (variable, value) in environment {
        match known.get(variable) {
            // The original, too, leaves this one alone: a script's own ETCD_VERSION is common.
            Some(flag) if flag.name == "version" => {
                given.warn(format!("environment variable {variable} is not used"));
            }
            Some(_) if value.is_empty() => {}
            Some(flag) if given.is_set(flag.name) => given.warn(format!(
                "recognized environment variable {variable}, but unused: --{} is given",
                flag.name
            )),
            Some(flag) => {
                value::check(flag, value).map_err(|advice| {
                    let value = base::url::shown(value);
                    Refusal::Conflict(format!("invalid value \"{value}\" for {variable}: {advice}"))
                })?;
                given.set(flag.name, value.clone(), Source::Environment);
            }
            // Images of others are told the password of root so, which is nobody's business.
            None if SECRETS.iter().any(|word| variable.contains(word)) => {
                given.warn(format!("unrecognized environment variable {variable}"));
            }
            None => given.warn(format!(
                "unrecognized environment variable {variable}={}",
                base::url::shown(value)
            )),
        }
    }
    Ok(given)
}
